"""The ablation command: shared work equals one run, nothing of others is kept, and what is missing is named."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy_task
import yaml
from toy_model import saved_student

from lib.core.files import RecordError, read_jsonl, write_jsonl
from lib.core.task import Answer, Example
from lib.data import study_data
from lib.experiments import ablate, ablation

SENTENCE = "label the tea as best before the end of may"
OTHERS = [
    Example("x1", SENTENCE, {"items": ["Tea", "Gum"]}, [[]], "o", "o", "third_party"),
    Example("x2", "a gum would be nice", {"items": ["Tea", "Gum"]}, [[]], "o", "o", "third_party"),
]


class Shop(toy_task.Vending):
    """The toy task with what the notebooks call besides; its examples name their context by ``place``."""

    def contexts(self, path: Path) -> dict[str, Any]:
        return {row["id"]: row for row in read_jsonl(path)}

    def resolve(self, examples: Iterable[Example], contexts: Mapping[str, Any]) -> list[Example]:
        return [replace(e, context={**e.context, "items": contexts[e.context["place"]]["items"]}) for e in examples]

    def third_party(self, path: Path) -> dict[str, list[Example]]:
        return {"first": OTHERS, "second": OTHERS[:1], "third": OTHERS} if path.is_dir() else {}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A profile's data, and the parameters of an ablation on it."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(ablate, "load", lambda name: Shop())
    run, groups = tmp_path / "runs" / "smoke", toy_task.examples(6, 8)
    sides = {"01": groups[:4], "02": groups[4:]}
    for number, some in sides.items():
        rows = [{"id": f"{number}-{g}", "items": es[0].context["items"]} for g, es in enumerate(some)]
        write_jsonl(run / f"{number}_homes.jsonl", rows)
    rows = [
        replace(e, context={"place": f"{number}-{g}"}, source="program" if number == "01" else "teacher")
        for number, some in sides.items()
        for g, es in enumerate(some)
        for e in es
    ]
    write_jsonl(run / "02_accepted.jsonl", (e.to_dict() for e in rows))
    split = [replace(e, split="dev" if i % 2 else "test") for i, e in enumerate(rows)]
    write_jsonl(run / "01_tests.jsonl", (e.to_dict() for e in split))
    (tmp_path / "others").mkdir()
    base = str(saved_student(tmp_path / "base", layers=1))
    sizes = {"vocab_size": 400, "layers": 1, "row_tokens": 256, "max_steps": 2, "precision": "fp32"}
    return {
        "task": "vending",
        "run": "smoke",
        "training": {**sizes, "base": base},
        "key": "place",
        "seeds": [1, 2],
        "variants": {"seeds": {"repeat": {"teacher": 0}}, "seeds + teacher": {"training": {"max_steps": 3}}},
        "reference": "seeds",
        "dev_rows": 5,
        "third_party": str(tmp_path / "others"),
        "third_party_skip": ["third"],
        "out": str(tmp_path / "out"),
    }


def call(params: dict[str, Any], tmp_path: Path, *arguments: str) -> int:
    """The command's exit status."""
    file = tmp_path / "ablation.yaml"
    file.write_text(yaml.safe_dump(params))
    return ablate.main(["--params", str(file), *arguments])


def test_shared_work_equals_one_run(params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(params, tmp_path) == 0
    whole, table = ablation.load(tmp_path / "out"), ablation.table(tmp_path / "out")
    (tmp_path / "runs" / "ablation").rename(tmp_path / "runs" / "elsewhere")
    assert call({**params, "out": str(tmp_path / "two")}, tmp_path, "--only", "seeds:1", "seeds + teacher:2") == 0
    assert not (tmp_path / "two").exists(), "--only alone does not pack"
    capsys.readouterr()
    assert call({**params, "out": str(tmp_path / "two")}, tmp_path, "--pack") == 1
    assert "2 runs are not there" in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert said.strip().endswith("--only 'seeds + teacher:1' seeds:2"), "as the shell takes it"
    arguments = ("--only", "seeds + teacher:1", "--only", "seeds:2", "--pack")
    assert call({**params, "out": str(tmp_path / "two")}, tmp_path, *arguments) == 0
    times = ["latency_ms"]
    pd.testing.assert_frame_equal(ablation.load(tmp_path / "two").drop(columns=times), whole.drop(columns=times))
    pd.testing.assert_frame_equal(
        ablation.table(tmp_path / "two").drop(columns="seconds"), table.drop(columns="seconds")
    )
    assert (table["seconds"] > 0).all()
    assert list(table["test"]) == [t for t in ("dev", "first", "second", "others") for _ in range(2)]
    assert list(table["n"]) == [5, 5, 2, 2, 1, 1, 3, 3] and (table["by_seed"].map(len) == 2).all()


def test_provenance_says_what_it_is_of(params: dict[str, Any], tmp_path: Path) -> None:
    assert call(params, tmp_path, "--keep") == 0
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert [(r["variant"], r["seed"]) for r in facts["runs"]] == [
        (v, s) for s in (1, 2) for v in ("seeds", "seeds + teacher")
    ]
    assert {r["steps"] for r in facts["runs"]} == {2, 3} and facts["runs"][1]["examples"] == {
        "program": 32,
        "teacher": 16,
    }
    assert set(facts["data"]) == set(study_data.FILES) and {name: t["n"] for name, t in facts["tests"].items()} == {
        "dev": 5,
        "first": 2,
        "second": 1,
    }
    assert facts["parameters"]["dev_rows"] == 5 and facts["versions"] and facts["hardware"] and facts["commit"]
    students = tmp_path / "runs" / "ablation" / "students"
    assert sorted(p.name for p in students.iterdir()) == sorted(f"{r['variant']}-{r['seed']}" for r in facts["runs"])


def test_no_sentence_is_packed(params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = {"name": "Label", "arguments": {"item": "Tea", "text": "best before the end of may"}}
    inner = ablation.evaluate

    def repeats(asked: list[tuple[str, Any]]) -> list[Answer]:
        return [Answer([echo], f"Label(item=1,text= {text})", error=f"near {text}") for text, _ in asked]

    def evaluate(system: Any, *arguments: Any) -> Any:
        system.answer_many = repeats
        return inner(system, *arguments)

    monkeypatch.setattr(ablation, "evaluate", evaluate)
    assert call({**params, "seeds": [1]}, tmp_path) == 0
    kept = {p.suffix: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    kept[".xz"] = lzma.decompress(kept[".xz"])
    said = b"\n".join(kept.values()).decode()
    assert not any(e.text in said for e in OTHERS) and not any(s in said for s in ("near ", "Label(", "refill "))
    rows = ablation.load(tmp_path / "out").set_index(["variant", "test", "id"])
    redacted = rows.loc[("seeds", "first", "x1")]
    assert redacted["redacted"] and redacted["calls"][0]["arguments"]["text"].startswith("redacted ")
    assert not rows["exact"].any() and (rows["error"] == "failed").all() and (rows["raw"] == "").all()


def test_wrong_parameters_are_named(params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"repeat": {"teacher": 0}}
    for change, message in (
        ({"sedes": [1]}, "ablation.yaml: unknown parameter 'sedes'; did you mean 'seeds'?"),
        ({"seeds": []}, "ablation.yaml: seeds: missing"),
        ({"seeds": [1, 1]}, "ablation.yaml: seeds: [1, 1]: each once"),
        ({"seeds": ["a"]}, "ablation.yaml: seeds: 0: Input should be a valid integer"),
        ({"dev_rows": -1}, "ablation.yaml: dev_rows: -1; expected at least 0"),
        (
            {"training": {"lerning_rate": 1.0}},
            "ablation.yaml: training: unknown parameter 'lerning_rate'; did you mean",
        ),
        ({"training": {"seed": 1}}, "ablation.yaml: training: unknown parameter 'seed'"),
        ({"training": {"layers": 2}}, "steps: sft: 'max_steps' is missing"),
        (
            {"variants": {"seeds": {"repeated": {}}}},
            "variants: seeds: unknown parameter 'repeated'; did you mean 'repeat'",
        ),
        ({"variants": {"seeds": {"repeat": {"teacher": -1}}}}, "variants: seeds: repeat: teacher: expected at least 0"),
        ({"variants": {"seeds": {"repeat": {"techer": 0}}}}, "no example of source 'techer'; known: program, teacher"),
        ({"variants": {"seeds": one, "../up": {}}}, "variants: ../up: a variant's name is part of a file's"),
        ({"variants": {"seeds": one, "b": {"training": {"max_stepz": 1}}}}, "variants: b: training: unknown parameter"),
        ({"variants": {"seeds": {"against": ["c"]}}}, "variants: seeds: against: no other variant 'c'; known: none"),
        ({"reference": "c"}, "ablation.yaml: reference: no variant 'c'; known: seeds, seeds + teacher"),
        ({"third_party": "nowhere"}, "third_party: no tests in nowhere"),
        ({"third_party_skip": ["fourth"]}, "third_party_skip: no test 'fourth'; known: first, second, third"),
        ({"run": "smokey"}, "unknown profile 'smokey': choose one of"),
    ):
        assert call({**params, **change}, tmp_path) == 1, message
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1, said
    assert call(params, tmp_path, "--only", "seeds:7") == 1
    assert "--only: no run 'seeds:7'; known: seeds:1, seeds + teacher:1, seeds:2" in capsys.readouterr().err
    (tmp_path / "runs" / "smoke" / "02_homes.jsonl").unlink()
    assert call(params, tmp_path) == 1
    message = "run: smoke/02_homes.jsonl is not there: run notebooks 01 and 02 of profile smoke first"
    assert message in capsys.readouterr().err and not (tmp_path / "runs" / "ablation").exists()


def test_absent_and_damaged_packs_are_named(tmp_path: Path) -> None:
    for read in (ablation.load, ablation.table):
        with pytest.raises(RecordError, match="out: there is no .*: run make ablation"):
            read(tmp_path / "out")
    (tmp_path / "out").mkdir()
    file, table = tmp_path / "out" / ablation.RECORDS, tmp_path / "out" / ablation.TABLE
    whole = lzma.compress(b'{"variant": "a", "seed": 1, "test": "t", "id": "x"}\n')
    for data, message in ((whole[:-9], "damaged or cut off"), (whole, "row 1: 'exact' is missing"), (b"", "no rows")):
        file.write_bytes(data or lzma.compress(b""))
        with pytest.raises(RecordError, match=f"records.jsonl.xz.*{message}"):
            ablation.load(tmp_path / "out")
    columns = "test,variant,seeds,n,mean,by_seed,against,points,low,high,p,seconds"
    for text in ("", "test,variant\nt,a\n", f"{columns}\nt,a,1,1,x,[1],,,,,,\n"):
        table.write_text(text)
        with pytest.raises(RecordError, match="table.csv: damaged"):
            ablation.table(tmp_path / "out")


def test_the_shipped_parameters_are_good() -> None:
    values = ablate.parameters(ablate.PARAMS)
    assert values["reference"] in values["variants"] and values["training"]["max_steps"] > 0


def test_an_assistant_is_asked_for_where_it_is_needed(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learning = {"seeds": {"repeat": {"teacher": 0}}, "taught": {"steps": [{"kd": {"max_steps": 1}}]}}
    assert call({**params, "variants": learning}, tmp_path) == 1
    assert "variants: taught: steps: kd: assistant: missing" in capsys.readouterr().err
    params = {**params, "variants": learning, "assistant": str(tmp_path / "absent")}
    assert call(params, tmp_path, "--only", "taught:1") == 1
    assert "variants: taught: no assistant at" in capsys.readouterr().err
    assert call(params, tmp_path, "--only", "seeds:1") == 0, "a variant that learns from none does not wait for one"
