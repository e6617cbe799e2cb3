"""Records: whole or not at all, resumed where they stopped, errors with file and line."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.core import files
from lib.core.task import Example


def test_round_trip_keeps_text_and_order(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "Küche\n„ein“"}, {"id": np.int64(2), "reward": np.float64(0.5), "calls": []}]
    assert files.write_jsonl(tmp_path / "a" / "x.jsonl", rows) == 2
    assert files.read_jsonl(tmp_path / "a" / "x.jsonl") == [rows[0], {"id": 2, "reward": 0.5, "calls": []}]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    files.write_jsonl(path, [{"id": 1}])
    with pytest.raises(TypeError):
        files.write_jsonl(path, [{"id": 2}, {"id": object()}])
    assert files.read_jsonl(path) == [{"id": 1}]


@pytest.mark.parametrize(
    ("line", "message"), [("{bad", "x.jsonl, line 3: not JSON"), ("[1]", "line 3: expected an object")]
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1}\n\n' + line + "\n")
    with pytest.raises(files.RecordError, match=message):
        files.read_jsonl(tmp_path / "x.jsonl")


def test_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(files.RecordError, match="x.jsonl: cannot be read"):
        files.read_jsonl(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(files.RecordError, match="line 1: not JSON"):
        files.read_jsonl(tmp_path / "x.jsonl")


def test_interrupted_writer_resumes(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt), files.Resumable(path, key="a") as out:
        out.append({"id": 1})
        raise KeyboardInterrupt
    assert not path.exists()
    part = tmp_path / "p.jsonl.part"
    part.write_bytes(part.read_bytes() + b'{"id": 2, "cut o')
    with files.Resumable(path, key="a") as out:
        assert out.rows == [{"id": 1}]
        out.append({"id": 2})
    assert files.read_jsonl(path) == [{"id": 1}, {"id": 2}]
    assert not part.exists()


def test_other_key_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(ZeroDivisionError), files.Resumable(path, key="a") as out:
        out.append({"id": 1})
        raise ZeroDivisionError
    with files.Resumable(path, key="b") as out:
        assert out.rows == []
    assert files.read_jsonl(path) == []


def test_digests(tmp_path: Path) -> None:
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1}) != files.digest({"a": 1})
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_text("abc")
    one = files.sha256(tmp_path / "f" / "x")
    assert one == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    folder = files.sha256(tmp_path / "f")
    (tmp_path / "f" / "x").rename(tmp_path / "f" / "y")
    assert files.sha256(tmp_path / "f") != folder


def test_examples(tmp_path: Path) -> None:
    example = Example("a", "hi", {"home": "h"}, [[]], "L6", "made", "dev", {"effects": {}})
    path = tmp_path / "e.jsonl"
    files.write_jsonl(path, [example.to_dict()])
    assert files.read_examples(path) == [example]
    path.write_text(json.dumps({"id": "a"}))
    with pytest.raises(files.RecordError, match="e.jsonl, line 1: 'text' is missing"):
        files.read_examples(path)
