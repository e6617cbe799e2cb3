"""Models that answer at a time give the records that they give alone, whatever ends early."""

import os
import shutil
from pathlib import Path

import pytest
from toy_model import saved_student
from toy_task import TASK, examples

from lib.experiments import predictions, process_pool
from lib.experiments.predictions import Asked
from lib.model.gguf_write import GgufError, export

TESTS = {"one": examples(1, 7)[0], "two": examples(1, 4, seed=1)[0]}
TIMES = ("latency_ms", "cached_tokens", "confidence")
"""What depends on the request before; the probability in its last digits."""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return export(saved_student(folder / "student", layers=1), folder / "m.gguf", "q8_0")


@pytest.fixture
def two_lanes(monkeypatch):
    """Two processes, whatever cores there are, and slices of few requests."""
    monkeypatch.setattr(process_pool, "SLICE", 4)
    monkeypatch.setattr(process_pool, "lanes", lambda threads, at_once: [sorted(os.sched_getaffinity(0))[:1]] * at_once)


def bare(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def copies(file, folder, *names):
    return [Path(shutil.copy(file, folder / f"{name}.gguf")) for name in names]


def test_the_same_records_in_the_same_order_whoever_answers(file, tmp_path, two_lanes, monkeypatch):
    first, second = copies(file, tmp_path, "a", "b")
    asked = [Asked("a", first, TESTS, max_new=8), Asked("b", second, {"two": TESTS["two"]}, max_new=8)]
    asked.append(Asked("a free", first, {"one": TESTS["one"]}, grammar=False, max_new=8))
    together = process_pool.of_files(asked, TASK, threads=1, at_once=2)
    assert [row["system"] for row in together] == ["a"] * 11 + ["b"] * 4 + ["a free"] * 7
    assert [row["id"] for row in together[:11]] == [e.id for group in TESTS.values() for e in group]
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "a_answers.jsonl",
        "a_free_answers.jsonl",
        "b_answers.jsonl",
    ], "no slice is left"
    (other,) = copies(file, tmp_path, "c")
    alone = process_pool.of_files([Asked("a", other, TESTS, max_new=8)], TASK, threads=1, at_once=1)
    assert bare(alone) == bare(together[:11])
    monkeypatch.setattr(process_pool, "_run", lambda left, *given: left and pytest.fail("asked again"))
    monkeypatch.setattr(predictions, "GgufStudent", None)
    assert process_pool.of_files(asked, TASK, threads=1, at_once=1) == together, "read, not asked again"


def test_a_file_that_is_asked_nothing_has_no_records(file, tmp_path, two_lanes):
    (path,) = copies(file, tmp_path, "a")
    assert process_pool.of_files([Asked("a", path, {"one": []})], TASK, threads=1, at_once=2) == []


def test_what_a_slice_answered_outlives_an_interruption(file, tmp_path, two_lanes, monkeypatch):
    (path,) = copies(file, tmp_path, "a")
    asked = Asked("a", path, TESTS, max_new=8)
    with monkeypatch.context() as patch:
        patch.setattr(process_pool, "_collected", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            process_pool.of_files([asked], TASK, threads=1, at_once=2)
    slices = sorted(tmp_path.glob("a_answers.[0-9]*.jsonl"))
    assert len(slices) > 2
    ran = []
    monkeypatch.setattr(process_pool, "_run", lambda left, *given: ran.extend(left))
    times = {path: path.stat().st_mtime_ns for path in slices}
    rows = [row for path in slices for row in process_pool.records.read_jsonl(path)]
    monkeypatch.setattr(predictions, "GgufStudent", None)
    assert sorted(row["id"] for row in rows) == sorted(e.id for group in TESTS.values() for e in group)
    assert len(process_pool.of_files([asked], TASK, threads=1, at_once=2)) == 11
    assert ran == [], "what is complete is not asked again"
    assert times and not list(tmp_path.glob("a_answers.[0-9]*.jsonl"))


def test_a_file_that_cannot_be_asked_says_why_once_the_others_are_done(file, tmp_path, two_lanes):
    (path,) = copies(file, tmp_path, "a")
    broken = Asked("broken", tmp_path / "broken.gguf", TESTS)
    broken.file.write_bytes(b"GGUF")
    asked = [broken, Asked("a", path, {"two": TESTS["two"]}, max_new=8)]
    with pytest.raises(GgufError, match="broken.gguf: not a whole GGUF file"):
        process_pool.of_files(asked, TASK, threads=1, at_once=2)
    assert list(tmp_path.glob("a_answers.*")), "what was answered is kept"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_every_process_has_cores_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert process_pool.lanes(2, 0) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert process_pool.lanes(3, 0) == [[0, 1, 2], [3, 4, 5]]
    assert process_pool.lanes(2, 3) == [[0, 1], [2, 3], [4, 5]]
    assert len(process_pool.lanes(2, 9)) == 4
    assert process_pool.lanes(16, 0) == [list(range(8))]
