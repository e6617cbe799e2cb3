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
from typing import Any, Literal

from pydantic import NonNegativeInt
from tqdm.auto import trange

from lib.core.files import Amount, Line, RecordError, Row, lines, read_json, tolerant, write_json, write_xz
from lib.core.params import validated
from lib.llm.types import Backend, BackendError, Prompt, Reply

REPLIES, PROVENANCE = "replies.jsonl.xz", "provenance.json"
REMEDY = "restore it or record again: make record BACKEND=openai:MODEL@URL (or gguf:FILE, torch:FOLDER)"

log = logging.getLogger(__name__)


class _Line(Line):
    key: str
    text: str
    model: str
    prompt_tokens: NonNegativeInt
    cached_tokens: NonNegativeInt
    new_tokens: NonNegativeInt
    latency_s: Amount
    finish: Literal["stop", "length", "error"]
    error: str = ""


def to_line(key: str, reply: Reply) -> str:
    """A reply as one compact line of JSON; ``error`` is there only if it failed."""
    row = {k: v for k, v in {"key": key, **asdict(reply)}.items() if k != "error" or v}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_replies(path: Path, model: str = "") -> tuple[dict[str, Reply], list[str]]:
    """Replies by key, plain or .xz, and for each bad line file, number and reason.

    Of several replies to one prompt an answer counts before a failure, and the last before earlier ones. With
    ``model``, lines of others are bad. Raises RecordError for a file that cannot be read.
    """

    def read(row: Row) -> tuple[str, Reply]:
        line = validated(_Line, row).model_dump()
        if (line["finish"] == "error") != bool(line["error"]):
            raise ValueError("a failed reply has finish 'error' and an error")
        if model not in ("", line["model"]):
            raise ValueError(f"a reply of '{line['model']}', not of '{model}'")
        return line.pop("key"), Reply(**line)

    rows, rejected = tolerant(list(lines(path)), read)
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
        keys, failed = [prompt.key(self.model) for prompt in prompts], dict[str, Reply]()
        wanted = [(k, p) for k, p in dict(zip(keys, prompts, strict=True)).items() if k not in self._replies]
        self.used.update(keys)
        for start in trange(0, len(wanted), self.chunk, desc="recording", unit=" chunks", disable=None):
            part = dict(wanted[start : start + self.chunk])
            replies = dict(zip(part, self.backend.complete(list(part.values())), strict=True))
            with self.path.open("ab") as file:
                file.write("".join(to_line(*row) for row in replies.items()).encode("utf-8", "replace"))
            for key, reply in replies.items():
                (failed if reply.error else self._replies)[key] = reply
        return [self._replies.get(key) or failed[key] for key in keys]


class Replay:
    """A Backend that answers from a recording alone; what failed when it was made fails again, with the same reason.

    ``rejected``: lines that are no replies, each with what is wrong. ``model``: whose recording it must be, if named.
    """

    def __init__(self, folder: Path | str, model: str = "") -> None:
        """Raises BackendError for what cannot be read, or a recording of another model."""
        folder = Path(folder)
        self._short = "/".join(folder.parts[-3:])
        try:
            self.provenance = read_json(folder / PROVENANCE)
            made_by = self.provenance.get("model")
            if not isinstance(made_by, str) or model not in ("", made_by):
                raise RecordError(f"{PROVENANCE}: a recording of {made_by!r}, not of {model or 'a named model'!r}")
            self.model = made_by
            self._replies, self.rejected = read_replies(folder / REPLIES, self.model)
        except RecordError as error:
            raise BackendError(f"{self._short}: {error}; {REMEDY}") from error

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. Raises BackendError, with how many, if the recording lacks any."""
        keys = [prompt.key(self.model) for prompt in prompts]
        if missing := {key for key in keys if key not in self._replies}:
            raise BackendError(
                f"{len(missing)} of {len(set(keys))} prompts are not in the recording {self._short} of "
                f"'{self.model}': prompts, data or parameters changed since it was recorded; {REMEDY}"
            )
        return [self._replies[key] for key in keys]


def pack(plain: Path, folder: Path, provenance: Mapping[str, Any], keep: Collection[str] | None = None) -> None:
    """Writes a Recorder's file as a recording into ``folder``; equal input gives equal bytes.

    Of a failed reply only the reason is written, and only where no other attempt at its prompt was answered.
    ``keep``: keys of the replies to write, None for all. Raises RecordError for a file that cannot be read.
    """
    replies, _ = read_replies(plain)
    chosen = {key: _brief(replies[key]) for key in sorted(replies) if keep is None or key in keep}
    write_xz(folder / REPLIES, "".join(to_line(*row) for row in chosen.items()))
    write_json(folder / PROVENANCE, dict(provenance))


def _brief(reply: Reply) -> Reply:
    """A failed reply without the details."""
    return replace(reply, error=reply.error.partition(":")[0].strip() or "failed") if reply.error else reply
