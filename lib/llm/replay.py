"""Recordings of what a model answered: made once with ``Recorder``, packed, and read anywhere with ``Replay``.

A recording is a folder with ``replies.jsonl.xz`` (a reply a line, sorted by the key of its prompt) and
``provenance.json`` (whose replies they are and how they were made). A prompt that failed for good is part of it: its
reply has the reason without details, so that what dealt with the failure while recording does the same in a replay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import NonNegativeInt, model_validator
from tqdm.auto import trange

from lib.core.files import Amount, Line, RecordError, Row, lines, parse_object, tolerant, write_json, write_xz
from lib.core.params import validated
from lib.llm.types import Backend, BackendError, Prompt, Reply

REPLIES, PROVENANCE = "replies.jsonl.xz", "provenance.json"
REMEDY = "restore it or record again: make record BACKEND=openai:MODEL@URL (or gguf:FILE, torch:FOLDER)"

log = logging.getLogger(__name__)


class _Line(Line):
    """A reply as a line of a recording, with its prompt's key; ``error`` is there only if it failed."""

    key: str
    text: str
    model: str
    prompt_tokens: NonNegativeInt
    cached_tokens: NonNegativeInt
    new_tokens: NonNegativeInt
    latency_s: Amount
    finish: Literal["stop", "length", "error"]
    error: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.finish == "error") != bool(self.error):
            raise ValueError(f"finish '{self.finish}' with error '{self.error:.40}': an error needs both")
        return self


def to_line(key: str, reply: Reply) -> str:
    """A reply as one compact line of JSON."""
    row = {k: v for k, v in {"key": key, **asdict(reply)}.items() if k != "error" or v}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_replies(path: Path, model: str = "") -> tuple[dict[str, Reply], list[str]]:
    """Replies by key, plain or .xz, and for each bad line file, number and reason.

    Of several replies to one prompt an answer counts before a failure, and the last before earlier ones. With
    ``model``, lines of others are bad. Raises BackendError for a file that cannot be read.
    """

    def read(row: Row) -> tuple[str, Reply]:
        line = validated(_Line, row).model_dump()
        if model not in ("", line["model"]):
            raise ValueError(f"a reply of '{line['model']}', not of '{model}'")
        return line.pop("key"), Reply(**line)

    try:
        rows, rejected = tolerant(list(lines(path)), read)
    except RecordError as error:
        raise BackendError(f"{error}; {REMEDY}") from error
    if rejected:
        log.warning("%d lines of a recording rejected, the first: %s", len(rejected), rejected[0])
    return {key: r for key, r in rows if r.error} | {key: r for key, r in rows if not r.error}, rejected


class Recorder:
    """A Backend that asks ``backend`` once for each prompt and keeps the replies in ``path``, a plain JSON-lines file.

    Replies are appended ``chunk`` prompts at a time, so that an interruption loses at most these. Failed ones are kept
    with their error, returned, and asked again by the next run. ``used``: keys of all prompts that were answered.
    """

    def __init__(self, backend: Backend, path: Path, chunk: int = 512) -> None:
        self.model, self.backend, self.path, self.chunk = backend.model, backend, path, chunk
        self.used: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:  # a last line that was cut off goes
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        self._replies = {key: reply for key, reply in read_replies(path)[0].items() if not reply.error}

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. Raises what the inner backend raises; replies of finished chunks are kept."""
        keys = [prompt.key(self.model) for prompt in prompts]
        wanted = {key: p for key, p in zip(keys, prompts, strict=True) if key not in self._replies}
        self.used.update(keys)
        failed = self._ask(list(wanted.items())) if wanted else {}
        return [self._replies.get(key) or failed[key] for key in keys]

    def _ask(self, wanted: list[tuple[str, Prompt]]) -> dict[str, Reply]:
        """Asks for prompts by key, keeps the replies, and gives back what failed."""
        failed: dict[str, Reply] = {}
        for start in trange(0, len(wanted), self.chunk, desc="recording", unit=" chunks", disable=None):
            part = dict(wanted[start : start + self.chunk])
            replies = dict(zip(part, self.backend.complete(list(part.values())), strict=True))
            with self.path.open("ab") as file:
                file.write("".join(to_line(*row) for row in replies.items()).encode("utf-8", "replace"))
            failed |= {key: reply for key, reply in replies.items() if reply.error}
            self._replies |= {key: reply for key, reply in replies.items() if not reply.error}
        return failed


class Replay:
    """A Backend that answers from a recording alone; what failed when it was made fails again, with the same reason.

    ``rejected``: lines that are no replies, each with what is wrong. ``model``: whose recording it must be, if named.
    """

    def __init__(self, folder: Path | str, model: str = "") -> None:
        """Raises BackendError for what cannot be read, or a recording of another model."""
        self.folder, self.provenance = Path(folder), read_provenance(Path(folder))
        self.model = str(self.provenance["model"])
        if model not in ("", self.model):
            raise BackendError(f"{_short(self.folder)}: a recording of '{self.model}', not of '{model}': name that")
        self._replies, self.rejected = read_replies(self.folder / REPLIES, self.model)

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. Raises BackendError, with how many, if the recording lacks any."""
        keys = [prompt.key(self.model) for prompt in prompts]
        if missing := {key for key in keys if key not in self._replies}:
            raise BackendError(
                f"{len(missing)} of {len(set(keys))} prompts are not in the recording {_short(self.folder)} of "
                f"'{self.model}': prompts, data or parameters changed since it was recorded; {REMEDY}"
            )
        return [self._replies[key] for key in keys]


def pack(plain: Path, folder: Path, provenance: Mapping[str, Any], keep: Collection[str] | None = None) -> None:
    """Writes a Recorder's file as a recording into ``folder``; equal input gives equal bytes.

    Of a failed reply only the reason is written, and only where no other attempt at its prompt was answered.
    ``keep``: keys of the replies to write, None for all. Raises BackendError unless all are of provenance's model.
    """
    replies = read_replies(plain)[0]
    chosen = {key: replies[key] for key in sorted(replies) if keep is None or key in keep}
    if others := {reply.model for reply in chosen.values()} - {provenance.get("model")}:
        named = ", ".join(sorted(others))
        raise BackendError(f"{plain.name}: replies of {named}; the provenance names {provenance.get('model')!r}")
    write_xz(folder / REPLIES, "".join(to_line(key, _brief(reply)) for key, reply in chosen.items()))
    write_json(folder / PROVENANCE, dict(provenance))


def _brief(reply: Reply) -> Reply:
    """A failed reply without the details."""
    return replace(reply, error=reply.error.partition(":")[0].strip() or "failed") if reply.error else reply


def read_provenance(folder: Path) -> dict[str, Any]:
    """Raises BackendError unless it is there and names a model."""
    try:
        value = parse_object((folder / PROVENANCE).read_bytes())
        if not isinstance(value.get("model"), str):
            raise ValueError("it names no model")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise BackendError(f"{_short(folder)}/{PROVENANCE}: cannot be read ({said}): {REMEDY}") from error
    return value


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])
