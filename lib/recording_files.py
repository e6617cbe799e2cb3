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

from lib import provenance
from lib.llm import Backend, BackendError
from lib.llm.replay import REPLIES, Recorder, read_provenance
from lib.llm.replay import pack as pack_replies
from lib.recording import LABELS, PREDICTIONS, READINGS, Recording, write_rows, write_set
from lib.records import digest, write_text
from lib.teacher import TeacherSet, TeacherTask

log = logging.getLogger(__name__)


def take_up(folder: Path, started: Path, backend: Backend) -> None:
    """Starts a Recorder's file from the recording in ``folder``, if that is of the same model and nothing was begun."""
    if started.exists() or not (folder / REPLIES).exists():
        return
    try:
        facts = read_provenance(folder)
        known = {facts.get("model_sha256", ""), getattr(backend, "sha256", "")} - {""}
        if facts["model"] == backend.model and len(known) < 2:
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
) -> None:
    """Writes a recording beside the task's folder, reads it back, and puts it in place; hand labels are kept."""
    folder = task.recordings
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write_set(part, teacher_set)
    write_rows(part / READINGS, (dict(row) for row in readings))
    write_rows(part / PREDICTIONS, (dict(row) for row in predictions))
    facts = _facts(folder, replies, parameters, backend)
    pack_replies(replies.path, part, facts, keep=replies.used)
    for name in (LABELS, *(() if predictions else (PREDICTIONS,))):
        if (folder / name).exists():
            shutil.copy(folder / name, part / name)
    Recording.read(task, part).candidates()
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def _facts(folder: Path, replies: Recorder, parameters: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """The provenance: what was asked of whom, and every session that added replies."""
    hardware = provenance.hardware()
    local = ", ".join(hardware["gpu"]) or f"{hardware['cores']} cores of {hardware['cpu']}"
    session = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": "an endpoint" if hasattr(backend, "base_url") else local,
        "model_sha256": getattr(backend, "sha256", ""),
        "replies": replies.counts.asked,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }
    sessions = [*_earlier(folder, replies.model), session]
    return {
        "model": replies.model,
        "model_sha256": session["model_sha256"] or next((s["model_sha256"] for s in sessions if s["model_sha256"]), ""),
        "date": session["date"],
        "hardware_name": "; ".join(dict.fromkeys(s["hardware"] for s in sessions)),
        "parameters": dict(parameters),
        "prompts": digest(sorted(replies.used)),
        "sessions": sessions,
    }


def _earlier(folder: Path, model: str) -> list[dict[str, Any]]:
    """The sessions of the recording that is there, if it is of this model."""
    try:
        facts = read_provenance(folder)
    except BackendError:
        return []
    return list(facts.get("sessions", [])) if facts["model"] == model else []
