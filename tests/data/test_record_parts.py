"""A recording in parts, by several processes, is the recording that one process makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toy_chat import Rule
from toy_recording import PARAMETERS, make, reply, student, task

from lib.core.files import write_json
from lib.data import record
from lib.data.record_parts import READERS, Part, Recorded, merge, readers
from lib.data.recording import Recording
from lib.llm.types import BackendError

VALUES: dict[str, Any] = {
    **PARAMETERS,
    "seeds": 7,
    "students": {"student": student()},
    "systems": ["one-stage few-shot"],
}


def session(out: Path, work: Path, backend: Any, part: str | None = None) -> record.Session:
    return record.Session(task(out), backend, VALUES, work, Part.parse(part))


def test_parts_are_merged_to_what_one_process_records(tmp_path: Path) -> None:
    make(tmp_path / "whole", tmp_path / "one", **{k: VALUES[k] for k in ("seeds", "systems")})
    work = tmp_path / "three"
    asked = [Rule(reply) for _ in range(3)]
    for k, backend in enumerate(asked, 1):
        session(tmp_path / "merged", work, backend, f"{k}/3").teach()
        part = Part.parse(f"{k}/3")
        session(tmp_path / "merged", work, Recorded.of(part, work), f"{k}/3").listen()
    assert not (tmp_path / "merged").exists()
    merged = session(tmp_path / "merged", work, merge(work, 3))
    merged.read = readers(work, 3)
    merged.run()
    one, three = (Recording.read(task(tmp_path / name)) for name in ("whole", "merged"))
    (first, verdicts), (second, others) = one.candidates(), three.candidates()
    assert [(c.id, c.text) for c in first] == [(c.id, c.text) for c in second] and verdicts == others
    assert sorted(map(str, one.votes_on(first))) == sorted(map(str, three.votes_on(second)))
    assert three.provenance["model"] == "rule"
    session_ = json.loads((Part(1, 3).folder(work) / "backend.json").read_text())["session"]
    assert three.provenance["sessions"] == [{**session_, "replies": three.provenance["sessions"][0]["replies"]}]
    assert three.provenance["readers"] == one.provenance["readers"] != {}
    assert all(backend.asked for backend in asked)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    first, again = Rule(reply), Rule(reply)
    session(tmp_path / "out", tmp_path / "work", first, "2/2").teach()
    session(tmp_path / "out", tmp_path / "work", again, "2/2").teach()
    assert first.asked and not again.asked


def test_a_missing_part_or_another_model_is_named(tmp_path: Path) -> None:
    work = tmp_path / "work"
    session(tmp_path / "out", work, Rule(reply), "1/2").teach()
    with pytest.raises(BackendError, match="part 2/2 of work: not recorded yet"):
        merge(work, 2)
    other = Rule(reply)
    other.model = "another"
    session(tmp_path / "out", work, other, "2/2").teach()
    with pytest.raises(BackendError, match="parts of rule and of another"):
        merge(work, 2)
    assert not (tmp_path / "out").exists()


def test_a_merge_needs_no_student_but_all_their_readings(tmp_path: Path) -> None:
    work = tmp_path / "work"
    session(tmp_path / "out", work, Rule(reply), "1/1").teach()
    with pytest.raises(BackendError, match="part 1/1 of work: not read yet: run --students 1/1"):
        readers(work, 1)
    write_json(work / READERS, {"student": "0f"})
    one = session(tmp_path / "out", work, merge(work, 1))
    one.read = readers(work, 1)
    with pytest.raises(BackendError, match="'student' did not read .* candidates: run --students"):
        one.run()
    write_json(Part(2, 2).folder(work) / READERS, {"student": "0f"})
    write_json(Part(1, 2).folder(work) / READERS, {"student": "1f"})
    with pytest.raises(BackendError, match="part 2/2 was read by other students"):
        readers(work, 2)
    assert not (tmp_path / "out").exists()


def test_students_wait_for_their_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError, match="prompts are not recorded yet"):
        session(tmp_path / "out", tmp_path / "work", Recorded("rule"), "1/2").listen()
    assert record.main(["--backend", "replay", "--part", "3/2", "--work", str(tmp_path)]) == 1
    assert "part '3/2': expected K/N" in capsys.readouterr().err
