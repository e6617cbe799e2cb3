"""Reading a recording whose side files are damaged: what is good counts, what is bad is named, nothing raises."""

from __future__ import annotations

import io
import json
import lzma
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_chat import Rule

from lib.core.task import Example
from lib.data import label
from lib.data.recording import LABELS, PREDICTIONS, READINGS, Recording, produce, text_digest, write_rows, write_set
from lib.evaluation import comparison
from lib.llm.replay import Recorder, pack
from lib.llm.types import Prompt
from lib.report import show
from lib.tasks.home import HomeTask

PREDICTION: dict[str, Any] = {
    **{"id": "x", "system": "s", "test": "t", "level": "L0", "calls": [], "raw": "", "confidence": None},
    **{"latency_ms": 1.5, "prompt_tokens": 3, "cached_tokens": 0, "new_tokens": 1, "llm_calls": 1},
    **{"exact": True, "reward": 1.0, "reason": "", "error": "", "digest": "00000000"},
}


def reply(prompt: Prompt) -> str:
    """Writes two lines for a seed; its verdict on the second cannot be read."""
    if prompt.schema:
        return "hm" if "pronto" in prompt.messages[-1][1] else json.dumps({"same": True, "natural": 4})
    said = prompt.messages[-1][1].splitlines()[0]
    return f"{said} for me\npronto {said}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, task, parameters = tmp_path_factory.mktemp("made"), HomeTask(), {"judge_every": 1, "refine_below": 3}
    teacher_set = task.teacher_set(4, 1, 20, 1)
    recorder = Recorder(Rule(reply), path / "replies.jsonl")
    produce(task.writer(), teacher_set.seeds, recorder, {"count": 4, **parameters})
    write_set(path / "out", teacher_set)
    facts = {"model": "rule", "parameters": {"count": 4, **parameters}}
    pack(path / "replies.jsonl", path / "out", facts)
    return path / "out"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "out")


def used(folder: Path) -> Recording:
    """The recording, after everything that reads its side files was asked."""
    recording = Recording.read(HomeTask(), folder)
    candidates, _ = recording.candidates()
    recording.votes_on(candidates)
    recording.on_others({"t": candidates})
    recording.labelled(candidates, "filter")
    return recording


def write_lines(path: Path, lines: list[bytes]) -> None:
    data = b"\n".join(lines) + b"\n"
    path.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


@pytest.mark.parametrize("name", [READINGS, PREDICTIONS, LABELS])
def test_every_bad_line_is_named_and_the_good_ones_count(folder: Path, name: str) -> None:
    candidate = used(folder).candidates()[0][0]
    label = {"id": candidate.id, "digest": text_digest(candidate), "kind": "filter", "right": True}
    reading = {"id": candidate.id, "digest": text_digest(candidate), "system": "s", "calls": candidate.gold[0]}
    good = {READINGS: reading, PREDICTIONS: PREDICTION, LABELS: label}[name]
    wrong = [{**good, key: [[5]]} for key in good if key not in ("raw", "confidence")]
    wrong += [without(good, key) for key in good if key not in ("raw", "confidence")]
    if name == READINGS:
        wrong += [{**good, "calls": "silver"}, {**good, "calls": ["gold"]}, {**good, "error": 1}]
        wrong += [{**good, "confidence": value} for value in ("0.5", None, True, -0.1, 1.1, math.nan)]
    if "calls" in good:
        wrong += [{**good, "calls": [call]} for call in ("x", {}, {"name": "A"}, {"name": 1, "arguments": {}})]
    bad = [b"{bad", b"[1]", b"\xff", *(json.dumps(row).encode() for row in wrong)]
    write_lines(folder / name, [json.dumps(good).encode(), *bad, json.dumps(good).encode()])
    recording = used(folder)
    rows = {READINGS: recording.readings, PREDICTIONS: recording.predictions, LABELS: recording.labels}[name]
    assert rows == [good, good]
    told = [reason for reason in recording.rejected if reason.startswith(name)]
    assert [reason.partition(":")[0] for reason in told] == [f"{name}, line {i + 2}" for i in range(len(bad))]


def test_calls_in_short_form_are_the_candidates_own(folder: Path) -> None:
    candidates = used(folder).candidates()[0]
    candidate, other = next(pair for pair in zip(candidates, candidates[1:], strict=False) if pair[0].gold[0])
    base = {"id": candidate.id, "digest": text_digest(candidate)}
    readings: list[dict[str, Any]] = [
        {**base, "system": "old", "calls": candidate.gold[0]},
        {**base, "system": "short", "calls": "gold", "confidence": 0.25},
        {**base, "system": "failed", "calls": "gold", "error": "failed"},
        {**base, "system": "wrong", "calls": [{"name": "HassNevermind", "arguments": {}}], "confidence": 1.0},
        {**base, "system": "of other words", "digest": text_digest(other), "calls": "gold"},
    ]
    write_rows(folder / READINGS, readings)
    rows = used(folder).votes_on([candidate])
    assert [(r["system"], r["exact"], r.get("confidence")) for r in rows] == [
        ("old", True, None),
        ("short", True, 0.25),
        ("failed", False, None),
        ("wrong", False, 1.0),
    ]


@pytest.mark.parametrize("name", [READINGS, PREDICTIONS, LABELS])
def test_absent_files_are_told(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    assert f"{name}: absent: its figures are left out" in used(folder).rejected


def test_a_damaged_file_is_told_and_what_comes_before_is_kept(folder: Path) -> None:
    rows = [{**PREDICTION, "id": str(i), "raw": str(i**9)} for i in range(400)]
    write_rows(folder / PREDICTIONS, rows)
    whole = (folder / PREDICTIONS).read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"plain text", b""):
        (folder / PREDICTIONS).write_bytes(damaged)
        recording = used(folder)
        assert recording.predictions == rows[: len(recording.predictions)]
        assert sum("damaged or cut off after line" in reason for reason in recording.rejected) == 1


def test_labelling_shows_the_short_words_of_a_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = {"place": "Here", "table": {"a": 1}, "note": "long " * 20, "none": None, "empty": ""}
    row = Example("a", "sing it", context, [[]], "L2", "teacher", "train", {"said": "sing"})
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert label.ask([row], "filter", tmp_path / "labels.jsonl") == 1
    assert "1/1 L2 [Here]  sing  ->  nothing" in capsys.readouterr().out


def test_unreadable_verdicts_can_be_shown(folder: Path) -> None:
    recording = Recording.read(HomeTask(), folder)
    candidates, verdicts = recording.candidates()
    assert recording.unreadable(candidates, verdicts) == sum(c.text.startswith("pronto ") for c in candidates) > 0


def test_a_table_without_rows_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    for rows in ([], pd.DataFrame(), pd.DataFrame(columns=["a", "b"])):
        show.table(rows, {"a": "First", "b": "Second"}, {"a": "{:.1f}"})
        printed = capsys.readouterr().out
        assert "First" in printed and "Second" in printed


def test_no_rival_is_no_gain_with_the_same_columns() -> None:
    answers = pd.DataFrame([{**PREDICTION, "id": i, "system": s} for i in range(3) for s in ("mine", "other")])
    columns = list(comparison.gain(answers, "mine", ["other"]).columns)
    assert columns == comparison.GAIN
    for rows, rivals in ((answers, []), (answers, ["nobody"]), (answers[:0], ["other"])):
        found = comparison.gain(rows, "mine", rivals)
        assert found.empty and list(found.columns) == columns
