"""Records: whole or not at all, resumed where they stopped, errors with file and line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.core import files
from lib.core.examples import digest_examples, read_examples
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


def test_rows_before_a_damaged_line_are_kept(tmp_path: Path) -> None:
    path, part = tmp_path / "p.jsonl", tmp_path / "p.jsonl.part"
    with pytest.raises(KeyboardInterrupt), files.Resumable(path) as out:
        out.append({"id": 1})
        raise KeyboardInterrupt
    part.write_bytes(part.read_bytes() + b'{"id": \xff\n{"id": 3}\n')
    with files.Resumable(path) as out:
        assert out.rows == [{"id": 1}]
    assert files.read_jsonl(path) == [{"id": 1}]


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
    assert read_examples(path) == [example]
    path.write_text(json.dumps({"id": "a"}))
    with pytest.raises(files.RecordError, match="e.jsonl, line 1: 'text' is missing"):
        read_examples(path)


def test_what_fails_leaves_nothing_half_written(tmp_path: Path) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    with pytest.raises(KeyboardInterrupt), files.replacing(place) as part:
        part.mkdir()
        (part / "x").touch()
        raise KeyboardInterrupt
    assert place.is_dir() and not part.exists()
    with files.replacing(place) as part:
        part.mkdir()
        (part / "x").touch()
    assert [p.name for p in place.iterdir()] == ["x"] and not part.exists()
    with pytest.raises(OSError), files.replacing(place):
        pass  # nothing was written
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "x"], "the old folder is restored"
    place.rename(tmp_path / "folder.replaced")  # as a process leaves it that is killed between the two renames
    with files.replacing(place) as part:
        assert (place / "x").exists()
        part.mkdir()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


class Named(files.Line):
    id: str


def test_a_tolerant_reader_names_bad_lines_and_keeps_what_comes_before_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.xz"
    files.write_xz(path, '{"id": "a"}\n\n[1]\n{"id": 2}\n{"id": "b"}\n' + '{"id": "c"}\n' * 5_000)
    rows, rejected = files.read_rows(path, Named)
    assert len(rows) == 5_002
    assert rejected == [
        "x.jsonl.xz, line 3: expected an object, got list: the line is left out",
        "x.jsonl.xz, line 4: id: Input should be a valid string, got 2: the line is left out",
    ]
    path.write_bytes(path.read_bytes()[:-40])
    cut, reasons = files.read_rows(path, Named)
    assert cut == rows[: len(cut)] and "x.jsonl.xz: damaged or cut off after line" in reasons[-1]
    assert files.read_rows(tmp_path / "y.jsonl", Named) == ([], ["y.jsonl: absent: its figures are left out"])


def test_a_digest_of_examples_tells_their_contexts_apart() -> None:
    def example(home: object, **change: Any) -> Example:
        return replace(Example("a", "hi", {"home": home, "area": None}, [[]], "L6", "made", "dev"), **change)

    rows = [example("h"), example("h", id="b")]
    same = digest_examples(rows)
    assert digest_examples([example("h", level="L1"), example("h", id="b")]) == same
    others = [[example("g"), rows[1]], [rows[0], example("h", id="b", text="ho")], rows[::-1], rows[:1]]
    assert same not in map(digest_examples, others)
