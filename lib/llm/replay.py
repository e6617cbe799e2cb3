"""Recordings of what a model answered: made once with ``Recorder``, packed, and read anywhere with ``Replay``.

A recording is a folder with ``replies.jsonl.xz`` (one or several ``replies*.jsonl.xz``; one reply a line, sorted by the
key of its prompt) and ``provenance.json`` (what ``model`` it is and how the recording was made).

>>> folder = Path("lib/tasks/shop/recordings")
>>> recorder = Recorder(backend, Path("runs/replies.jsonl"))                             # doctest: +SKIP
>>> replies = recorder.complete(prompts)                                                 # doctest: +SKIP
>>> pack(Path("runs/replies.jsonl"), folder, {"model": recorder.model, "seed": 1})       # doctest: +SKIP
Packed(rows=240, errors=2, left_out=0, rejected=[])
>>> Replay(folder).complete(prompts) == replies                                          # doctest: +SKIP
True

A prompt that failed for good is part of a recording too: its reply has the reason and no detail, so that whatever dealt
with the failure while recording does the same in a replay.
"""

from __future__ import annotations

import json
import logging
import lzma
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lib.core.files import write_json, write_xz
from lib.llm.rows import read_rows, to_line
from lib.llm.types import Backend, BackendError, Prompt, Reply

REPLIES = "replies.jsonl.xz"
PROVENANCE = "provenance.json"
REMEDY = "record again: make record BACKEND=openai:MODEL@URL (or gguf:FILE, torch:FOLDER)"

log = logging.getLogger(__name__)


class ReplayMiss(BackendError):
    """Prompts that a recording does not hold: ``missing`` of ``total``."""

    def __init__(self, missing: int, total: int, model: str, folder: Path) -> None:
        super().__init__(
            f"{missing} of {total} prompts are not in the recording {_short(folder)} of '{model}': the prompts, or the "
            f"data or parameters that they are made from, changed since it was recorded; {REMEDY}"
        )
        self.missing, self.total = missing, total


@dataclass
class Counts:
    """What became of prompts: ``asked`` of the model, ``recorded`` (answered without), failures by reason."""

    asked: int = 0
    recorded: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Recorder:
    """A Backend that asks ``backend`` once for each prompt and keeps the replies in ``path``, a plain JSON-lines file.

    Replies are appended ``chunk`` prompts at a time, so that an interruption loses at most these. Failed ones are kept
    with their error, returned, and asked again by the next run. ``counts`` says what happened, ``used`` holds the keys
    of all prompts answered so far, from the record or not.
    """

    def __init__(self, backend: Backend, path: Path, chunk: int = 512) -> None:
        self.model, self.backend, self.path, self.chunk = backend.model, backend, path, chunk
        self.counts = Counts()
        self.used: set[str] = set()
        self._replies = self._earlier()

    def _earlier(self) -> dict[str, Reply]:
        """Answers from earlier runs; a last line that was cut off is removed from the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(0)
            whole = file.read().rpartition(b"\n")
            file.truncate(len(whole[0]) + len(whole[1]))
        rows, rejected = read_rows(whole[0].split(b"\n"), self.path.name)
        _warn(rejected)
        return {key: reply for key, reply in rows if not reply.error}

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. Raises what the inner backend raises; replies of finished chunks are kept."""
        keys = [prompt.key(self.model) for prompt in prompts]
        wanted = {key: p for key, p in zip(keys, prompts, strict=True) if key not in self._replies}
        self.counts.recorded += len(prompts) - len(wanted)
        self.used.update(keys)
        failed = self._ask(list(wanted.items())) if wanted else {}
        return [self._replies.get(key) or failed[key] for key in keys]

    def _ask(self, wanted: list[tuple[str, Prompt]]) -> dict[str, Reply]:
        """Asks for prompts by key, keeps the answers, and gives back what failed."""
        failed: dict[str, Reply] = {}
        with tqdm(total=len(wanted), desc="recording", unit=" prompts", disable=None) as bar:
            for start in range(0, len(wanted), self.chunk):
                part = wanted[start : start + self.chunk]
                replies = self.backend.complete([prompt for _, prompt in part])
                answers = [(key, reply) for (key, _), reply in zip(part, replies, strict=True)]
                self._append(answers)
                failed.update((key, reply) for key, reply in answers if reply.error)
                bar.update(len(part))
        return failed

    def _append(self, answers: list[tuple[str, Reply]]) -> None:
        with self.path.open("ab") as file:
            file.write("".join(to_line(key, reply) for key, reply in answers).encode("utf-8", "replace"))
        self._replies.update((key, reply) for key, reply in answers if not reply.error)
        self.counts.asked += len(answers)
        self.counts.errors.update(_reason(reply) for _, reply in answers if reply.error)


class Replay:
    """A Backend that answers from a recording alone; what failed when it was made fails again, with the same reason.

    ``rejected``: lines that are no replies, each with what is wrong.
    ``model`` says whose recording it must be; None takes the one that its provenance names.
    """

    def __init__(self, folder: Path | str, model: str | None = None) -> None:
        """Raises BackendError for a folder or file that cannot be read, or a recording of another model."""
        folder = Path(folder)
        self.folder, self.provenance = folder, read_provenance(folder)
        self.model = str(self.provenance["model"])
        if model not in (None, self.model):
            raise BackendError(
                f"{_short(folder)}: a recording of '{self.model}', not of '{model}': name that or {REMEDY}"
            )
        self.rejected: list[str] = []
        self._replies: dict[str, Reply] = {}
        files = sorted(folder.glob("replies*.jsonl.xz"))
        if not files:
            raise BackendError(f"{_short(folder)}: holds no {REPLIES}: restore it or {REMEDY}")
        for path in files:
            self._read(path)
        _warn(self.rejected)

    def _read(self, path: Path) -> None:
        rows, rejected = read_rows(_unpack(path).split(b"\n"), path.name, self.model)
        self.rejected += rejected
        self._replies = _final([*self._replies.items(), *rows])

    def __len__(self) -> int:
        return len(self._replies)

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. Raises ReplayMiss, with how many, if the recording lacks any."""
        keys = [prompt.key(self.model) for prompt in prompts]
        missing = len({key for key in keys if key not in self._replies})
        if missing:
            raise ReplayMiss(missing, len(set(keys)), self.model, self.folder)
        return [self._replies[key] for key in keys]


@dataclass(frozen=True)
class Packed:
    """Replies written, failures among them, others left out because they are not to be kept, and lines rejected."""

    rows: int
    errors: int
    left_out: int
    rejected: list[str]


def pack(plain: Path, folder: Path, provenance: Mapping[str, Any], keep: Collection[str] | None = None) -> Packed:
    """Writes a Recorder's file as a recording into ``folder``; equal input gives equal bytes.

    Of a failed reply only the reason is written, and only where no other attempt at its prompt was answered.
    ``keep``: keys of the replies to write, None for all. Raises BackendError unless all are of provenance's model.
    """
    try:
        rows, rejected = read_rows(plain.read_bytes().split(b"\n"), plain.name)
    except OSError as error:
        raise BackendError(f"{plain}: cannot be read ({error.strerror}): record first (make record)") from error
    answers = _final(rows)
    chosen = {key: answers[key] for key in sorted(answers) if keep is None or key in keep}
    others = {reply.model for reply in chosen.values()} - {provenance.get("model")}
    if others or not provenance.get("model"):
        named = ", ".join(sorted(others)) or "no model"
        raise BackendError(
            f"{plain.name}: replies of {named}; the provenance names {provenance.get('model')!r}: give one"
        )
    text = "".join(to_line(key, replace(r, error=r.error and _reason(r))) for key, r in chosen.items())
    write_xz(folder / REPLIES, text)
    write_json(folder / PROVENANCE, dict(provenance))
    failed = sum(bool(reply.error) for reply in chosen.values())
    return Packed(len(chosen), failed, len(answers) - len(chosen), rejected)


def _final(rows: Iterable[tuple[str, Reply]]) -> dict[str, Reply]:
    """What each key came to: its last answer, or its last failure if it was never answered."""
    rows = list(rows)
    return {key: r for key, r in rows if r.error} | {key: r for key, r in rows if not r.error}


def _reason(reply: Reply) -> str:
    """Why a reply failed, without the details."""
    return reply.error.partition(":")[0].strip() or "failed"


def read_provenance(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        if not isinstance(value, dict) or not isinstance(value.get("model"), str):
            raise ValueError("it names no model")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise BackendError(f"{_short(folder)}/{PROVENANCE}: cannot be read ({said}): restore it or {REMEDY}") from error
    return value


def _unpack(path: Path) -> bytes:
    try:
        return lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise BackendError(f"{_short(path)}: damaged or cut off ({error}): restore it or {REMEDY}") from error


def _warn(rejected: list[str]) -> None:
    if rejected:
        log.warning("%d lines of a recording rejected, the first: %s", len(rejected), rejected[0])


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])
