"""Records of a report: what is read is what was written, without sentences of others."""

import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_task import Vending, examples

from lib.core.files import RecordError, Row, dumps, read_jsonl, write_xz
from lib.core.task import Answer, Example
from lib.decision import records
from lib.evaluation import evaluate, metrics

TASK = Vending()
ROWS = [e for group in examples(2, 4) for e in group]
TESTS = {
    "dev": [replace(e, split="dev") for e in ROWS[:4]],
    "dev_human": [replace(e, split="dev_human", text=f"people say {e.id}") for e in ROWS[:3]],
    "dev_human, as told": [replace(ROWS[0], source="human", text="people say it again")],
    "theirs": [replace(e, id="twice", text=f"others say {i}") for i, e in enumerate(ROWS[:2])],
}


def answer(example: Example, system: str, number: int) -> Answer:
    calls = example.gold[0] if number % 2 or system == "good" else []
    timed: dict[str, Any] = {"latency_ms": 1.0 + number, "prompt_tokens": 9, "cached_tokens": number}
    return Answer(list(calls), raw=example.text, error="broken" if number == 2 else "", confidence=0.123456789, **timed)


def rows() -> list[Row]:
    asked = [(s, t, i, e) for s in ("good", "bad") for t, es in TESTS.items() for i, e in enumerate(es)]
    return [evaluate.record(s, e, answer(e, s, i), TASK, t) for s, t, i, e in asked]


def written(folder: Path) -> pd.DataFrame:
    records.write(rows(), TESTS, ["theirs"], TASK, folder, "06_")
    return records.read(folder)


def test_tables_are_the_same_from_records(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert list(found.columns) == records.COLUMNS and len(found) == len(rows())
    for table in (metrics.by_level, metrics.summary):
        pd.testing.assert_frame_equal(table(found), table(metrics.frame(rows())))
    again = metrics.paired(found, "good"), metrics.paired(metrics.frame(rows()), "good")
    pd.testing.assert_frame_equal(*again)


def test_old_records_of_homes_in_other_orders_are_left_out(tmp_path: Path) -> None:
    found, path = written(tmp_path), tmp_path / "06_records.jsonl.xz"
    lines = read_jsonl(path)
    answered = [row for row in lines if "outcomes" not in row]
    both = [{**row, "order": order} for order in (0, 1) for row in answered]
    write_xz(path, "".join(dumps(row) + "\n" for row in [*lines[: -len(answered)], *both]))
    pd.testing.assert_frame_equal(records.read(tmp_path), found)


def test_what_is_said_of_an_answer(tmp_path: Path) -> None:
    found = written(tmp_path)
    dev = found[found["test"] == "dev"].set_index(["system", "id"])
    first, broken = TESTS["dev"][0], TESTS["dev"][2]
    good = dev.loc[("good", first.id)]
    assert good["acted"] and good["executes"] and good["exact"] and good["should_act"]
    assert good["words"] == len(first.text.split())
    assert good["text"] == first.text and good["gold"] == first.gold and good["calls"] == first.gold[0]
    assert good["tools"] == sorted({c["name"] for c in first.gold[0]}) and good["confidence"] == 0.12346
    assert not dev.loc[("bad", first.id), "acted"] and dev.loc[("bad", first.id), "executes"]
    assert not dev.loc[("good", broken.id), "executes"] and dev.loc[("good", broken.id), "reason"] == "error"
    assert good["answer"] != dev.loc[("bad", first.id), "answer"]


def test_no_sentence_of_others_is_kept(tmp_path: Path) -> None:
    found = written(tmp_path)
    kept = lzma.decompress((tmp_path / "06_records.jsonl.xz").read_bytes()).decode()
    assert "people say" not in kept and "others say" not in kept
    theirs = found[found["test"] != "dev"]
    assert theirs[["text", "gold", "calls"]].isna().all(axis=None) and theirs["tools"].map(len).all()


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    paths = [records.write(rows(), TESTS, ["theirs"], TASK, tmp_path / name) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"/records.jsonl.xz: is not there: run notebook 06"):
        records.read(tmp_path)
    with pytest.raises(RecordError, match="no test 'dev'; known: theirs"):
        records.write(rows(), {"theirs": TESTS["theirs"]}, [], TASK, tmp_path)
    with pytest.raises(RecordError, match="test 'dev' has no request"):
        records.write(rows(), {**TESTS, "dev": TESTS["dev"][:1]}, [], TASK, tmp_path)
    (tmp_path / records.FILE).write_bytes(lzma.compress(b'{"system": "a", "test": "b"}\n'))
    with pytest.raises(RecordError, match="records.jsonl.xz, line 1: no records"):
        records.read(tmp_path)
