"""Records: whole or not at all, resumed where they stopped, errors with file and line."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib import records
from lib.task import Example


def test_round_trip_keeps_text_and_order(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "Küche\n„ein“"}, {"id": np.int64(2), "reward": np.float64(0.5), "calls": []}]
    assert records.write_jsonl(tmp_path / "a" / "x.jsonl", rows) == 2
    assert records.read_jsonl(tmp_path / "a" / "x.jsonl") == [rows[0], {"id": 2, "reward": 0.5, "calls": []}]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    records.write_jsonl(path, [{"id": 1}])
    with pytest.raises(TypeError):
        records.write_jsonl(path, [{"id": 2}, {"id": object()}])
    assert records.read_jsonl(path) == [{"id": 1}]


@pytest.mark.parametrize(
    ("line", "message"), [("{bad", "x.jsonl, line 3: not JSON"), ("[1]", "line 3: expected an object")]
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1}\n\n' + line + "\n")
    with pytest.raises(records.RecordError, match=message):
        records.read_jsonl(tmp_path / "x.jsonl")


def test_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match="x.jsonl: cannot be read"):
        records.read_jsonl(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(records.RecordError, match="line 1: not JSON"):
        records.read_jsonl(tmp_path / "x.jsonl")


def test_interrupted_writer_resumes(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt), records.Resumable(path, key="a") as out:
        out.append({"id": 1})
        raise KeyboardInterrupt
    assert not path.exists()
    part = tmp_path / "p.jsonl.part"
    part.write_bytes(part.read_bytes() + b'{"id": 2, "cut o')
    with records.Resumable(path, key="a") as out:
        assert out.rows == [{"id": 1}]
        out.append({"id": 2})
    assert records.read_jsonl(path) == [{"id": 1}, {"id": 2}]
    assert not part.exists()


def test_other_key_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(ZeroDivisionError), records.Resumable(path, key="a") as out:
        out.append({"id": 1})
        raise ZeroDivisionError
    with records.Resumable(path, key="b") as out:
        assert out.rows == []
    assert records.read_jsonl(path) == []


def test_digests(tmp_path: Path) -> None:
    assert records.digest({"a": 1, "b": [2]}) == records.digest({"b": [2], "a": 1}) != records.digest({"a": 1})
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_text("abc")
    one = records.sha256(tmp_path / "f" / "x")
    assert one == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    folder = records.sha256(tmp_path / "f")
    (tmp_path / "f" / "x").rename(tmp_path / "f" / "y")
    assert records.sha256(tmp_path / "f") != folder


def test_examples(tmp_path: Path) -> None:
    example = Example("a", "hi", {"home": "h"}, [[]], "L6", "made", "dev", {"effects": {}})
    path = tmp_path / "e.jsonl"
    records.write_jsonl(path, [example.to_dict()])
    assert records.read_examples(path) == [example]
    path.write_text(json.dumps({"id": "a"}))
    with pytest.raises(records.RecordError, match="e.jsonl, line 1: 'text' is missing"):
        records.read_examples(path)
