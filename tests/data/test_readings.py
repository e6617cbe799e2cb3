"""Readers of candidates: asked once for each, after a kill, a change or damage only for what is missing."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lib.core.files import read_jsonl
from lib.core.task import Answer, Example
from lib.data.readings import Reader, packed, read
from lib.data.recording import READINGS, text_digest, write_rows

GOLD = [[{"name": "Give", "arguments": {"item": "Tea", "amount": 2}}], []]


class Counted:
    """A System that answers by rule; ``asked`` holds all texts."""

    def __init__(self, name: str, answer: Callable[[str], Answer] = lambda text: Answer(GOLD[0], confidence=0.98765)):
        self.name, self.rule, self.asked = name, answer, list[str]()

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        self.asked += [text for text, _ in requests]
        return [self.rule(text) for text, _ in requests]


def candidates(count: int) -> list[Example]:
    return [Example(f"t{i}/0", f"tea {i}", {"shop": i % 3}, GOLD, "L0", "teacher", "train") for i in range(count)]


def test_rows_are_in_order_with_what_readers_said(tmp_path: Path) -> None:
    system = Counted(
        "s", lambda text: Answer([], error="bad") if text == "tea 1" else Answer(GOLD[0], confidence=0.98765)
    )
    rows = read(Reader(system, "m", confident=True), candidates(3), tmp_path, chunk=2)
    assert [row["id"] for row in rows] == ["t0/0", "t1/0", "t2/0"]
    first = {
        "id": "t0/0",
        "system": "s",
        "calls": GOLD[0],
        "confidence": 0.988,
        "digest": text_digest(candidates(1)[0]),
    }
    assert rows[0] == first and rows[1]["error"] == "failed"
    assert "confidence" not in read(Reader(Counted("p"), "m"), candidates(1), tmp_path, 2)[0]


def test_only_new_and_changed_candidates_are_asked(tmp_path: Path) -> None:
    def asked(rows: list[Example]) -> list[str]:
        system = Counted("s")
        assert [row["id"] for row in read(Reader(system, "m", True), rows, tmp_path, 2)] == [c.id for c in rows]
        return system.asked

    rows = candidates(4)
    assert asked(rows) == ["tea 0", "tea 1", "tea 2", "tea 3"]
    assert asked(rows) == [] and asked(rows[1:3]) == [] and asked(candidates(5)) == ["tea 4"]
    rows[1] = replace(rows[1], text="two teas")
    rows[2] = replace(rows[2], context={"shop": 9})
    rows[3] = replace(rows[3], gold=[[]])
    assert asked(rows) == ["two teas", "tea 2"], "other words, another context; not other calls"


def test_another_name_or_model_is_another_reader(tmp_path: Path) -> None:
    files = {Reader(Counted(name), model).file(tmp_path) for name in ("a b", "a-b", "../a") for model in "mn"}
    assert len(files) == 6 and {path.parent for path in files} == {tmp_path}


def test_a_killed_reader_goes_on(tmp_path: Path) -> None:
    def killed(text: str) -> Answer:
        if text == "tea 5":
            raise KeyboardInterrupt
        return Answer(GOLD[0])

    with pytest.raises(KeyboardInterrupt):
        read(Reader(Counted("s", killed), "m"), candidates(8), tmp_path, 2)
    system = Counted("s")
    assert len(read(Reader(system, "m"), candidates(8), tmp_path, 2)) == 8
    assert system.asked == [f"tea {i}" for i in range(4, 8)]


def test_damaged_lines_are_told_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(Reader(Counted("s"), "m", True), candidates(5), tmp_path, 5)
    path = Reader(Counted("s"), "m").file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = [lines[0], b"{bad\n", lines[2].replace(b"0.988", b'"sure"'), lines[3], lines[4].rstrip(b"\n")]
    for tail, asked in ((torn[4], ["tea 1", "tea 2"]), (torn[4][:-9], ["tea 1", "tea 2", "tea 4"])):
        path.write_bytes(b"".join([*torn[:4], tail]))
        system = Counted("s")
        read(Reader(system, "m", True), candidates(5), tmp_path, 5)
        assert system.asked == asked and f"{path.name}, line 2: not JSON" in caplog.text
        assert len(read_jsonl(path)) == 5


def test_what_failed_for_want_of_a_model_is_asked_again(tmp_path: Path) -> None:
    for confident, again in ((False, ["tea 0", "tea 1"]), (True, [])):
        for expected in (["tea 0", "tea 1"], again):
            system = Counted(f"s{confident}", lambda text: Answer([], error="timeout"))
            read(Reader(system, "m", confident), candidates(2), tmp_path, 2)
            assert system.asked == expected


def test_only_exactly_the_first_calls_are_shortened() -> None:
    (candidate,) = candidates(1)
    row = {"id": "t0/0", "system": "s", "calls": json.loads(json.dumps(GOLD[0])), "digest": "00000000"}
    assert packed(row, candidate) == {**row, "calls": "gold"}
    for value in (2.0, True, "2", 3):
        calls = [{"name": "Give", "arguments": {"item": "Tea", "amount": value}}]
        assert packed({**row, "calls": calls}, candidate)["calls"] == calls
    assert packed({**row, "calls": []}, candidate)["calls"] == []


def test_readings_are_packed_small(tmp_path: Path) -> None:
    rng, asked = Random(1), candidates(500)
    readers = [
        Reader(Counted(f"student {k}", lambda t: Answer(GOLD[0], confidence=rng.random())), "m", True) for k in "abc"
    ]
    made = [(c, row) for r in readers for c, row in zip(asked, read(r, asked, tmp_path, 500), strict=True)]
    rows = [packed(row, c) for c, row in made]
    write_rows(tmp_path / READINGS, rows)
    assert len(lzma.decompress((tmp_path / READINGS).read_bytes())) > 100_000
    assert (tmp_path / READINGS).stat().st_size < 10 * len(rows)
