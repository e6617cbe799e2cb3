"""The student: a base model with a cut vocabulary, control tokens and as many of its layers as asked for.

A student is a folder that transformers can read and ``student.json``: the task, its controls, the layers kept and the
SHA-256 of what it was built from. It is the first, cheapest compression of *From Large to Super-Tiny* (arXiv
2504.13471): fewer tokens, fewer layers.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tqdm.auto import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from lib.core.files import replacing, sha256
from lib.core.task import Task
from lib.model.base import WHEEL, Base, load_base
from lib.model.codec import FORMAT
from lib.model.codec import StudentError as StudentError
from lib.model.codec import check_task as check_task
from lib.model.feed_forward import FILE, Experts, share
from lib.model.gguf_read import GgufFile
from lib.model.vocabulary import Trimmed, Vocabulary, trim

NOISE = 0.3  # spread of the noise added to a new token's embedding, in standard deviations of the base's embeddings


@dataclass
class Student:
    """fp32 model, vocabulary, and ``info``, the content of student.json."""

    model: LlamaForCausalLM
    vocabulary: Vocabulary
    info: dict[str, Any]


def weights_digest(model: LlamaForCausalLM) -> str:
    """SHA-256 of all weights in fp32."""
    digest = hashlib.sha256()
    for weights in model.parameters():
        digest.update(weights.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a student's or a base's file or folder without the log of its training, which holds times."""
    return sha256(path, "run.json", "*.csv")


def build(
    task: Task, base: str | Base = WHEEL, vocab_size: int = 4096, layers: int | Sequence[int] = 30, seed: int = 0
) -> Student:
    """A student for ``task``: ``layers`` is how many of the base's to keep, evenly spaced, or the list of them.

    Raises StudentError for layers that the base does not have, BaseError for a base that cannot be had.
    """
    base = load_base(base) if isinstance(base, str) else base
    kept = keep_layers(layers, base.model.config.num_hidden_layers)
    cut = trim(base.tokenizer, task.controls(), task.corpus(), vocab_size)
    layers_kept = torch.nn.ModuleList(base.model.model.layers[i] for i in kept)
    state = {"model.norm.weight": base.model.model.norm.weight, **layers_kept.state_dict(prefix="model.layers.")}
    state["model.embed_tokens.weight"] = state["lm_head.weight"] = _embeddings(base, cut, seed)
    info = {"format": FORMAT, "task": task.name, "controls": list(cut.vocabulary.controls), "layers": kept}
    info |= {"vocabulary": cut.report, "source": base.source}
    known = [*base.tokenizer["model"]["vocab"].values(), *(t["id"] for t in base.tokenizer.get("added_tokens", []))]
    if (padding := base.model.config.vocab_size - max(known) - 1) > 0:
        info["padding"] = padding
        tqdm.write(f"{base.source.get('name')}: {padding:,} rows of its embedding have no token and are dropped")
    shape = {"vocab_size": len(cut.vocabulary), "num_hidden_layers": len(kept), "tie_word_embeddings": True}
    group = getattr(base.model.config, "ffn_group", 1) if len(kept) == base.model.config.num_hidden_layers else 1
    shape |= {"ffn_group": group} if hasattr(base.model.config, "ffn_group") else {}
    marks = {"bos_token_id": cut.vocabulary.start, "eos_token_id": cut.vocabulary.end}
    marks["pad_token_id"] = cut.vocabulary.end
    model = LlamaForCausalLM(LlamaConfig.from_dict({**base.model.config.to_dict(), **shape, **marks}))
    model.load_state_dict(state)
    share(model, group)
    model.generation_config = GenerationConfig(**marks)
    return Student(model.eval(), cut.vocabulary, info)


def keep_layers(layers: int | Sequence[int], depth: int) -> list[int]:
    """Which layers of ``depth`` to keep; the first and the last always stay when a number is given."""
    if isinstance(layers, int):
        if not 1 <= layers <= depth:
            raise StudentError(f"layers: {layers} of {depth}; use 1 to {depth}, or a list of layer numbers from 0")
        return sorted({round(i * (depth - 1) / max(layers - 1, 1)) for i in range(layers)})
    kept = [int(i) for i in layers]
    if not kept or kept != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= depth:
        raise StudentError(f"layers: {kept}; use rising layer numbers from 0 to {depth - 1}")
    return kept


def _embeddings(base: Base, cut: Trimmed, seed: int) -> torch.Tensor:
    """The student's embedding (tokens x hidden): the base's rows, and for new tokens the mean of their words' rows.

    Words that many controls share count less; noise tells apart controls of the same words (``=12`` and ``=21``).
    """
    old = base.model.model.embed_tokens.weight.detach().float()
    noise = torch.Generator().manual_seed(seed)
    spread = NOISE * float(old.std())
    encoder = Tokenizer.from_str(json.dumps({**base.tokenizer, "added_tokens": []}))
    of_id = {number: text for text, number in cut.vocabulary.controls.items()}
    words = {i: _words(of_id[i]) if i in of_id else [] for i, source in enumerate(cut.kept) if source < 0}
    shared = Counter(word for found in words.values() for word in found)
    rows = torch.empty(len(cut.kept), old.shape[1])
    for new, source in enumerate(cut.kept):
        random = spread * torch.randn(old.shape[1], generator=noise) if source < 0 else 0
        rows[new] = old[source] if source >= 0 else _mean(old, encoder, words[new], shared) + random
    return rows


def _words(control: str) -> list[str]:
    """The words and digits in a control: ``"SetTimer("`` -> set, timer; the text itself if there are none."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d", control)
    return [word if word.isdigit() else f" {word.lower()}" for word in found] or [control]


def _mean(old: torch.Tensor, encoder: Tokenizer, words: list[str], shared: Counter[str]) -> torch.Tensor:
    ids = [(i, 1 / shared[w]) for w in words for i in encoder.encode(w, add_special_tokens=False).ids]
    if not ids:
        return old.mean(0)
    weights = torch.tensor([weight for _, weight in ids])
    return (old[[i for i, _ in ids]] * weights[:, None]).sum(0) / weights.sum()


def save(student: Student, folder: Path) -> Path:
    """Writes the student as ``folder``, whole or not at all, replacing what was there."""
    with replacing(folder) as part:
        part.mkdir()
        write(student, part)
    return folder


def write(student: Student, folder: Path) -> None:
    """Writes a student's files into an existing folder; fp32 weights become fp16, in ``student`` as well."""
    if student.model.dtype == torch.float32:
        tied = dict(student.model._tied_weights_keys or {})
        weights = {n: w.half() for n, w in student.model.state_dict().items() if n not in tied}
        student.model.load_state_dict(weights, strict=False)
        student.model.save_pretrained(folder, state_dict=weights)
    else:
        student.model.save_pretrained(folder)
    student.vocabulary.save(folder)
    if experts := getattr(student.model, "experts", None):
        experts.save(folder)
    (folder / "student.json").write_text(json.dumps(student.info, indent=1, ensure_ascii=False), encoding="utf-8")


def is_student(source: str) -> bool:
    """Whether ``source`` is a student's folder or GGUF, rather than a base model."""
    path = Path(source)
    if path.suffix == ".gguf" and path.is_file():
        return GgufFile(path).is_student
    return (path / "student.json").is_file()


def load(path: Path) -> Student:
    """A student from its folder or its GGUF (dequantised to fp32). Raises StudentError or GgufError."""
    if path.suffix == ".gguf":
        info = GgufFile(path).student
        base = load_base(str(path))
        return Student(base.model.eval(), Vocabulary(base.tokenizer, info["controls"]), info)
    try:
        info = json.loads((path / "student.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary(json.loads((path / "tokenizer.json").read_text(encoding="utf-8")), info["controls"])
        model = _read(path)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        where = path / "model.safetensors" if isinstance(error, SafetensorError) else path
        raise StudentError(f"{where}: not a whole student ({error}); train it again or give another folder") from error
    return Student(model.eval(), vocabulary, info)


def _read(path: Path) -> LlamaForCausalLM:
    """The fp32 model of a folder. Raises OSError, ValueError or SafetensorError."""
    config = LlamaConfig.from_pretrained(path)
    if (group := getattr(config, "ffn_group", 1)) > 1:  # transformers would report what the file has once as missing
        model = LlamaForCausalLM(config)
        share(model, group)
        found = model.load_state_dict(load_file(path / "model.safetensors"), strict=False)
        if lacking := {*found.missing_keys} - {*dict(model._tied_weights_keys or {})}:
            raise ValueError(f"it lacks {min(lacking)}")
        model.generation_config = GenerationConfig.from_pretrained(path)
    else:
        model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)
    if (path / FILE).is_file():
        Experts.read(path).attach(model)
    return model


def updated(student: Student, task: Task) -> Student:
    """The student with all controls of its task: those that it lacks become tokens of their own, as in ``build``.

    One with experts stays as it is, since its router knows its own tokens alone.
    """
    if set(task.controls()) <= set(student.info["controls"]) or hasattr(student.model, "experts"):
        return student
    return rebuilt(student, task, sys.maxsize)


def rebuilt(student: Student, task: Task, vocab_size: int) -> Student:
    """The student with about ``vocab_size`` tokens, as in ``build``; all that the corpus uses stay."""
    base = Base(student.model, student.vocabulary.json, student.info.get("source", {}))
    made = build(task, base, vocab_size, student.model.config.num_hidden_layers)
    return replace(made, info={**student.info, "controls": made.info["controls"]})


def start(task: Task, source: str, vocab_size: int, layers: int | Sequence[int], seed: int = 0) -> Student:
    """Where a training starts: the student of ``task`` at ``source``, or one built from the base model there."""
    if not is_student(source):
        return build(task, source, vocab_size, layers, seed)
    student = updated(load(Path(source)), task)
    check_task(student.info, task, source)
    return student
