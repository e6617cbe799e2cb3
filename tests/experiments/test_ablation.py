"""Ablations: every run is made once and resumes, shared work equals one run, and no third-party sentence is kept."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy_task
import yaml
from toy_model import saved_student

from lib import ablate
from lib.core.files import read_json, read_jsonl, sha256, write_jsonl
from lib.core.params import ParamsError
from lib.core.task import Answer, Example
from lib.data import study_data
from lib.evaluation import bootstrap
from lib.experiments import ablation
from lib.experiments.ablation import Ablation, Parameters
from lib.training import finetune

SENTENCE = "label the tea as best before the end of may"
THIRD_PARTY = [
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
        return {"first": THIRD_PARTY, "second": THIRD_PARTY[:1], "third": THIRD_PARTY} if path.is_dir() else {}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A profile's data, and the parameters of an ablation on it."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(ablation, "load", lambda name: Shop())
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
    sizes = {"vocab_size": 400, "layers": 1, "row_tokens": 256, "max_steps": 2, "precision": "fp32"}
    return {
        "task": "tests.toy_task",
        "run": "smoke",
        "training": {**sizes, "base": str(saved_student(tmp_path / "base", layers=1))},
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


def study(params: dict[str, Any], **changes: Any) -> Ablation:
    return ablation.prepare(Parameters.read({**params, **changes}, "ablation.yaml"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained."""
    names: list[str] = []
    inner = finetune.train
    monkeypatch.setattr(finetune, "train", lambda p, t, g, out: (names.append(out.parent.name), inner(p, t, g, out))[1])
    return names


def test_shared_work_equals_one_run(params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params["seeds"], params["training"]["max_steps"] = [1], 1
    assert call(params, tmp_path) == 0
    table = bootstrap.read(tmp_path / "out")
    (tmp_path / "runs" / "ablation").rename(tmp_path / "runs" / "elsewhere")
    params["out"] = str(tmp_path / "two")
    assert call(params, tmp_path, "--only", "seeds:1") == 0
    assert not (tmp_path / "two").exists(), "--only alone does not pack"
    capsys.readouterr()
    assert call(params, tmp_path, "--pack") == 1
    assert "1 runs are not there" in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert said.strip().endswith("--only 'seeds + teacher:1'"), "as the shell takes it"
    assert call(params, tmp_path, "--only", "seeds:1", "--only", "seeds + teacher:1", "--pack") == 0
    again = bootstrap.read(tmp_path / "two")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table.drop(columns="seconds"))
    (tmp_path / "runs" / "ablation").rename(tmp_path / "runs" / "third")
    assert call(params, tmp_path, "--pack") == 0, "runs of the same inputs that were packed need not be there"
    pd.testing.assert_frame_equal(bootstrap.read(tmp_path / "two"), again)
    assert call({**params, "training": {**params["training"], "max_steps": 2}}, tmp_path, "--pack") == 1
    assert list(table["test"]) == [t for t in ("dev", "first", "second", "others") for _ in range(2)]
    assert list(table["n"]) == [5, 5, 2, 2, 1, 1, 3, 3] and (table["by_seed"].map(len) == 1).all()


def test_every_run_is_made_once_and_kept_if_asked_for(params: dict[str, Any], trained: list[str]) -> None:
    made = study(params)
    path, kept = made.run("seeds", 1), made.work / "students" / "seeds-1"
    rows = read_jsonl(path)
    assert len(rows) == 8 and trained == [path.stem] and made.run("seeds", 1) == path
    assert len(trained) == 1 and not list(made.work.glob("*/")), "students are removed once they are evaluated"
    facts = read_json(path.with_suffix(".json"))
    assert (facts["variant"], facts["seed"], facts["steps"], facts["examples"]) == ("seeds", 1, 2, {"program": 32})
    made.run("seeds", 1, keep=True)
    made.run("seeds", 1, keep=True)
    assert len(trained) == 2 and sha256(kept) == read_json(path.with_suffix(".json"))["student"]
    (kept / "steps.csv").write_text("of another run")
    made.run("seeds", 1, keep=True)
    assert len(trained) == 3 and sha256(kept) == read_json(path.with_suffix(".json"))["student"]


def test_a_run_killed_while_it_answers_goes_on_with_its_student(
    params: dict[str, Any], trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study(params)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ablation, "evaluate", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        made.run("seeds", 1)
    assert not made.path("seeds", 1).exists()
    assert len(read_jsonl(made.run("seeds", 1))) == 8 and len(trained) == 1


def test_what_was_changed_is_not_taken_from_an_earlier_run(params: dict[str, Any]) -> None:
    made, training = study(params), params["training"]
    reworded = [replace(e, text=e.text + " now") if e.source == "teacher" else e for e in made.accepted]
    others = [
        study(params, training={**training, "learning_rate": 1.0e-4}),
        study(params, dev_rows=4),
        study(params, ffn_width=64),
        replace(made, tests={**made.tests, "first": [replace(THIRD_PARTY[0], text="tea"), *THIRD_PARTY[1:]]}),
        replace(made, accepted=reworded),
        replace(made, accepted=made.accepted[1:]),
    ]
    name = "seeds + teacher"
    assert len({one.path(name, seed) for one in (made, *others) for seed in (1, 2)}) == 14
    assert replace(made, accepted=reworded).path("seeds", 1) == made.path("seeds", 1)


def test_steps_after_the_fine_tuning_and_a_base_that_is_pruned(params: dict[str, Any], tmp_path: Path) -> None:
    params["assistant"] = str(saved_student(tmp_path / "assistant", layers=2))
    params |= {"kd": {"max_steps": 1, "row_tokens": 256, "precision": "fp32"}, "ffn_width": 64}
    params["variants"] = {"seeds": {"repeat": {"teacher": 0}}, "taught": {"steps": [{"kd": {}}]}}
    made = study(params)
    facts = read_json(made.run("taught", 1, keep=True).with_suffix(".json"))
    assert [row["kind"] for row in facts["ladder"]] == ["sft", "kd"] and facts["steps"] == 3
    config = json.loads((made.work / "students" / "taught-1" / "config.json").read_text())
    assert config["intermediate_size"] == 64
    before = made.path("seeds", 1), made.path("taught", 1)
    (tmp_path / "assistant" / "chat_template.jinja").write_text("another model")
    after = study(params).path("seeds", 1), study(params).path("taught", 1)
    assert before[0] == after[0] and before[1] != after[1]


def test_variants_share_the_steps_that_they_begin_with(
    params: dict[str, Any], tmp_path: Path, trained: list[str]
) -> None:
    params["assistant"] = str(saved_student(tmp_path / "assistant", layers=2))
    params["kd"] = {"max_steps": 1, "row_tokens": 256, "precision": "fp32"}
    params["variants"] = {"seeds": {}, "taught": {"steps": [{"kd": {}}]}, "more": {"training": {"max_steps": 1}}}
    made = study(params)
    short, long, _ = (read_json(made.run(name, 1, True).with_suffix(".json")) for name in params["variants"])
    assert len(trained) == 2 and short["ladder"] == long["ladder"][:1]
    assert sorted(p.name for p in (made.work / "students").iterdir()) == ["more-1", "seeds-1", "taught-1"]


def test_what_the_model_labelled_is_used_where_it_is_named(params: dict[str, Any], tmp_path: Path) -> None:
    run, named = tmp_path / "runs" / "smoke", {"self": 2, "program/T0": 0}
    params["variants"] = {"seeds": {}, "own labels": {"repeat": named}}
    with pytest.raises(ParamsError, match="run: smoke/02_rejected.jsonl is not there"):
        study(params)
    unlabelled = [replace(e, id=f"u{i}", context={"place": "01-0"}, gold=[]) for i, e in enumerate(THIRD_PARTY)]
    write_jsonl(run / "02_rejected.jsonl", (e.to_dict() for e in unlabelled))
    with pytest.raises(ParamsError, match="run: smoke/04_self.jsonl is not there: run notebook 04 of smoke first"):
        study(params)
    rows = [{"id": "u0", "calls": [], "extra": {}}, {"id": "u1", "calls": [], "extra": {"reason": "no"}}]
    write_jsonl(run / "04_self.jsonl", rows)
    made = study(params)
    assert {e.source for e in made.examples("seeds")} == {"program", "teacher"}
    assert Counter(e.source for e in made.examples("own labels")) == {"teacher": 16, "self": 2}
    assert [e.gold for e in made.examples("own labels") if e.source == "self"] == [[[]]] * 2


def test_people_are_asked_and_guard_beside_our_own(params: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "runs" / "smoke" / "01_tests.jsonl"
    write_jsonl(
        path, [row | {"split": "dev_human" if i < 9 else row["split"]} for i, row in enumerate(read_jsonl(path))]
    )
    made = study(params, dev_rows=0)
    assert list(made.tests) == ["dev", "dev_human", "first", "second"] and len(made.tests["dev_human"]) == 9
    assert len(made._guards()) == len(made.tests["dev"]) + 9
    said = {e.id: replace(e, text=SENTENCE) for e in made.tests["dev_human"]}
    rows = [{"test": "dev_human", "id": key, "raw": SENTENCE, "error": "", "calls": []} for key in said]
    kept = ablation.without_text(rows, {**made.tests, "dev_human": [*said.values()]})
    assert SENTENCE not in json.dumps(kept) and all(row["digest"] for row in kept)


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
    assert not any(e.text in said for e in THIRD_PARTY) and not any(s in said for s in ("near ", "Label(", "refill "))
    rows = pd.DataFrame(read_jsonl(tmp_path / "out" / bootstrap.RECORDS)).set_index(["variant", "test", "id"])
    redacted = rows.loc[("seeds", "first", "x1")]
    assert redacted["redacted"] and redacted["calls"][0]["arguments"]["text"].startswith("redacted ")
    assert not rows["exact"].any() and (rows["error"] == "failed").all() and (rows["raw"] == "").all()
    facts = read_json(tmp_path / "out" / "provenance.json")
    assert set(facts["data"]) == set(study_data.FILES) and [r["variant"] for r in facts["runs"]] == [
        *params["variants"]
    ]
    assert {name: test["n"] for name, test in facts["tests"].items()} == {"dev": 5, "first": 2, "second": 1}


def test_wrong_parameters_are_named(params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"repeat": {"teacher": 0}}
    for change, message in (
        ({"sedes": [1]}, "ablation.yaml: unknown parameter 'sedes'; did you mean 'seeds'?"),
        ({"seeds": [1, 1]}, "ablation.yaml: seeds: [1, 1]: each once"),
        ({"seeds": ["a"]}, "ablation.yaml: seeds.0: Input should be a valid integer"),
        ({"dev_rows": -1}, "ablation.yaml: dev_rows: "),
        (
            {"training": {"max_steps": 1, "lerning_rate": 1.0}},
            "training: unknown parameter 'lerning_rate'; did you mean",
        ),
        ({"variants": {"seeds": {"repeated": {}}}}, "unknown parameter 'variants.seeds.repeated'"),
        ({"variants": {"seeds": {"repeat": {"techer": 0}}}}, "no source 'techer'; known: program, teacher"),
        ({"variants": {"seeds": {"repeat": {"program": 0, "teacher": 0}}}}, "no examples are left"),
        ({"variants": {"seeds": one, "../up": {}}}, "String should match pattern"),
        ({"variants": {"seeds": {"against": ["c"]}}}, "variants: seeds: against: no other variant 'c'"),
        (
            {"variants": {"seeds": {"steps": [{"prune": {}}]}}},
            "variants.seeds.steps.0.prune.[key]: Input should be 'kd' or 'rl'",
        ),
        ({"variants": {"seeds": {"steps": [{"kd": {"max_steps": 1}}]}}}, "steps: kd: name an assistant"),
        ({"reference": "c"}, "ablation.yaml: reference: no variant 'c'; known: seeds, seeds + teacher"),
        ({"third_party": "nowhere"}, "third_party: no tests in nowhere"),
        ({"third_party_skip": ["fourth"]}, "third_party_skip: no test 'fourth'; known: first, second, third"),
        ({"run": "smokey"}, "unknown profile 'smokey': choose one of"),
    ):
        assert call({**params, **change}, tmp_path) == 1, message
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1, said
    assert call(params, tmp_path, "--only", "seeds:7") == 1
    assert "--only: no run 'seeds:7'; known: seeds:1, seeds + teacher:1, seeds:2" in capsys.readouterr().err
    taught = {"assistant": "absent", "variants": {"seeds": one, "taught": {"steps": [{"kd": {"max_steps": 1}}]}}}
    assert call({**params, **taught}, tmp_path, "--only", "taught:1") == 1
    assert "variants: taught: no assistant at 'absent'" in capsys.readouterr().err
    (tmp_path / "runs" / "smoke" / "02_homes.jsonl").unlink()
    assert call(params, tmp_path) == 1
    assert "run: smoke/02_homes.jsonl is not there: run notebooks 01 and 02" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "ablation").exists()


@pytest.mark.parametrize("name", ["ablation", "human", "ladder"])
def test_the_shipped_parameters_are_good(name: str) -> None:
    file = ablate.PARAMS.with_name(f"{name}.yaml")
    assert ablation.read(file).variants
