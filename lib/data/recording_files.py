"""The files of a recording: taking up the one that is there, and replacing it whole.

>>> take_up(task.recordings, work / "replies.jsonl", backend)                            # doctest: +SKIP
"""

from __future__ import annotations

import logging
import lzma
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib.core import provenance
from lib.core.files import digest, write_text
from lib.data.recording import LABELS, PREDICTIONS, PROMPTS, READINGS, Recording, write_rows, write_set
from lib.llm.replay import REPLIES, Recorder, read_provenance
from lib.llm.replay import pack as pack_replies
from lib.llm.rows import read_rows
from lib.llm.types import Backend, BackendError
from lib.teacher.contract import TeacherSet, TeacherTask

log = logging.getLogger(__name__)


def take_up(folder: Path, started: Path, backend: Backend) -> None:
    """Starts a Recorder's file from the recording in ``folder``, if that is of the same model and nothing was begun."""
    if started.exists() or not (folder / REPLIES).exists():
        return
    try:
        if _same_model(folder, backend):
            write_text(started, lzma.decompress((folder / REPLIES).read_bytes()).decode())
    except (BackendError, lzma.LZMAError, EOFError) as error:
        log.warning("the recording that is there cannot be extended: %s", error)


def pack(
    task: TeacherTask,
    teacher_set: TeacherSet,
    readings: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    replies: Recorder,
    parameters: Mapping[str, Any],
    backend: Backend,
    readers: Mapping[str, str],
) -> None:
    """Writes a recording beside the task's folder, reads it back, and puts it in place; hand labels are kept.

    ``readers``: the SHA-256 of each student that read, by its name.
    """
    folder = task.recordings
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write_set(part, teacher_set)
    write_rows(part / READINGS, (dict(row) for row in readings))
    write_rows(part / PREDICTIONS, (dict(row) for row in predictions))
    facts = {**_facts(folder, replies, parameters, backend), "readers": dict(readers)}
    pack_replies(replies.path, part, facts, keep=replies.used)
    shutil.copy(task.writer().prompts, part / PROMPTS)
    for name in (LABELS, *(() if predictions else (PREDICTIONS,))):
        if (folder / name).exists():
            shutil.copy(folder / name, part / name)
    Recording.read(task, part).candidates()
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def session_facts(backend: Backend) -> dict[str, Any]:
    """What a session that asks ``backend`` on this machine, now, adds to the provenance."""
    hardware = provenance.hardware()
    local = ", ".join(hardware["gpu"]) or f"{hardware['cores']} cores of {hardware['cpu']}"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": "an endpoint" if hasattr(backend, "base_url") else local,
        "model_sha256": getattr(backend, "sha256", ""),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }


def _facts(folder: Path, replies: Recorder, parameters: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """The provenance: what was asked of whom, and every session that added replies.

    A backend that stands for work done elsewhere brings its ``session``.
    """
    added = len(replies.used - _answered(folder, backend))
    session = {**(getattr(backend, "session", None) or session_facts(backend)), "replies": added}
    sessions = [*_earlier(folder, backend), session]
    return {
        "model": replies.model,
        "model_sha256": session["model_sha256"] or next((s["model_sha256"] for s in sessions if s["model_sha256"]), ""),
        "date": session["date"],
        "hardware_name": "; ".join(dict.fromkeys(s["hardware"] for s in sessions)),
        "parameters": dict(parameters),
        "prompts": digest(sorted(replies.used)),
        "sessions": sessions,
    }


def _same_model(folder: Path, backend: Backend) -> bool:
    """Whether the recording in ``folder`` is of this model. Raises BackendError if its provenance cannot be read."""
    facts = read_provenance(folder)
    known = {facts.get("model_sha256", ""), getattr(backend, "sha256", "")} - {""}
    return bool(facts["model"] == backend.model) and len(known) < 2


def _earlier(folder: Path, backend: Backend) -> list[dict[str, Any]]:
    """The sessions of the recording that is there, if it is of this model."""
    try:
        return list(read_provenance(folder).get("sessions", [])) if _same_model(folder, backend) else []
    except BackendError:
        return []


def _answered(folder: Path, backend: Backend) -> set[str]:
    """Keys of the prompts that the recording which is there has answers to; none if it is not of this model."""
    try:
        if not _same_model(folder, backend):
            return set()
        lines = lzma.decompress((folder / REPLIES).read_bytes()).split(b"\n")
    except (BackendError, OSError, lzma.LZMAError, EOFError):
        return set()
    return {key for key, reply in read_rows(lines, REPLIES)[0] if not reply.error}
