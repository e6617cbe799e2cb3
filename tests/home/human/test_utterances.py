"""Reading what people said, and which of it is held out; all sentences here are made up."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lib.core.files import RecordError
from lib.tasks.home.human.utterances import FILE, Utterance, dev, is_held_out, key, read, train

ROWS = [
    {"id": "a/1", "intent": "lamp", "text": "switch the fig lamp on", "slots": [["device", "fig lamp"]]},
    {"id": "b/2", "intent": "chat", "text": "do figs dream", "slots": []},
]


def write(folder: Path, rows: list[Any]) -> str:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(gzip.compress(content))
    return hashlib.sha256(content).hexdigest()


def said(text: str, number: int = 0) -> Utterance:
    return Utterance(f"x/{number}", "x", text, ())


def test_reads_what_is_there(tmp_path: Path) -> None:
    found = read(tmp_path, write(tmp_path, ROWS))
    assert found[0] == Utterance("a/1", "lamp", "switch the fig lamp on", (("device", "fig lamp"),))
    assert [u.id for u in found] == ["a/1", "b/2"]


def test_no_folder_is_no_utterances(tmp_path: Path) -> None:
    assert read(None) == read(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "c/3"}, "line 3: 'intent' is missing"),
        ({**ROWS[1], "slots": [["device"]]}, "line 3: 'slots' must be pairs"),
        ({**ROWS[1], "slots": "none"}, "line 3: 'slots' must be pairs"),
        ({**ROWS[1], "text": 5}, "line 3: 'slots' must be pairs of strings, all else a string"),
        (["no", "object"], "line 3: expected an object"),
    ],
)
def test_a_bad_line_is_an_error_with_file_line_and_remedy(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(RecordError, match=problem) as error:
        read(tmp_path, write(tmp_path, [*ROWS, row]))
    assert FILE in str(error.value) and "python -m lib.human_speech" in str(error.value)


@pytest.mark.parametrize("harm", [lambda b: b[:-9], lambda b: b[:20] + b"\x00\xff" * 8 + b[36:], lambda b: b"no gzip"])
def test_a_damaged_or_partial_file_is_an_error(tmp_path: Path, harm: Any) -> None:
    write(tmp_path, ROWS * 50)
    (tmp_path / FILE).write_bytes(harm((tmp_path / FILE).read_bytes()))
    with pytest.raises(RecordError, match="damaged or cut off after line .*lib.human_speech"):
        read(tmp_path)


def test_another_content_or_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=f"{FILE}: cannot be read .*lib.human_speech"):
        read(tmp_path)
    write(tmp_path, ROWS)
    with pytest.raises(RecordError, match="SHA-256.*lib.human_speech"):
        read(tmp_path)


def test_near_duplicates_are_on_one_side_and_dev_has_each_once() -> None:
    nouns = [f"{a}{b}" for a in ("fig", "oak", "elm", "ash") for b in ("bal", "cor", "dun", "fip", "gor", "hal")]
    ways = ["dance with {} {}", "please {} {} with dance", "Dance with {}, {}s!", "alexa would you dance the {} {}"]
    given = [said(w.format(n, m), i) for i, (n, m) in enumerate(zip(nouns, nouns[1:], strict=False)) for w in ways]
    held, kept = dev(given), train(given)
    assert held and kept and not any(map(is_held_out, kept)) and all(map(is_held_out, held))
    assert len({key(u.text) for u in held}) == len(held)
    assert not {key(u.text) for u in held} & {key(u.text) for u in kept}


def test_dev_leaves_out_what_is_near_to_training() -> None:
    held = next(u for n in range(99) if is_held_out(u := said(f"count nine blue x{n}y figs")))
    near = next(u for n in range(99) if not is_held_out(u := said(held.text + f" z{n}z")))
    far = next(u for n in range(99) if not is_held_out(u := said(f"nothing of the kind q{n}")))
    assert dev([held, far]) == [held] and dev([held, near, far]) == []
