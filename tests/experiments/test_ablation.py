"""Ablations: every run is made once and resumes, shared work equals one run, and no third-party sentence is kept."""

from __future__ import annotations

import json
import lzma
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy_task
import yaml
from toy_model import saved_student, tiny_base
from transformers import LlamaConfig, LlamaForCausalLM

from lib import ablate
from lib.compression import shape
from lib.core.files import read_json, read_jsonl, sha256, write_jsonl
from lib.core.params import ParamsError
from lib.core.task import Answer, Example
from lib.data import filter, study_data
from lib.evaluation import bootstrap
from lib.experiments import ablation
from lib.experiments.ablation import Ablation
from lib.experiments.variants import Parameters, read
from lib.model import student as students
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


ROWS: dict[str, dict[str, Any]] = {
    "uncut": {"shape": {}},
    "narrow": {"shape": {"ffn_width": 96}},
    "heads": {"shape": {"ffn_width": 64, "kv_heads": 1, "widened": True}},
    "merged": {"shape": {"kv_heads": 1, "heads": 4}},
    "free": {"shape": {"ffn_width": 96, "chosen": "free search"}},
    "shared": {"shape": {"shared": 2}, "against": ["narrow", "uncut"]},
    "experts": {"shape": {"ffn_width": 64, "experts": 2}},
}


def test_rows_of_the_compression_frontier(
    params: dict[str, Any], tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All kinds of rows of params/frontier.yaml."""
    base = tiny_base(3, seed=1)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    config = LlamaConfig.from_dict({**base.model.config.to_dict(), **heads})
    whole = replace(base, model=LlamaForCausalLM(config).eval())
    assistant = students.save(students.build(toy_task.TASK, whole, 400, 3), tmp_path / "assistant")
    few = shape.SearchParams(steps=2, samples=2, rows=1, row_tokens=192, block=32)
    monkeypatch.setattr(shape, "SearchParams", lambda: few)
    params |= {"assistant": str(assistant), "variants": ROWS, "reference": "narrow", "seeds": [1], "training": {}}
    params["kd"] = {"max_steps": 2, "row_tokens": 256, "precision": "fp32", "learning_rate": 1.0e-4}
    assert call(params, tmp_path) == 0 and not trained, "nothing is fine-tuned"
    facts = {row["variant"]: row for row in read_json(tmp_path / "out" / "provenance.json")["runs"]}
    stored, active = ({name: row[key] for name, row in facts.items()} for key in ("stored", "active"))
    assert stored["uncut"] == active["uncut"] == active["shared"] == stored["shared"] + 3 * 64 * 128
    assert stored["narrow"] == active["narrow"] == stored["uncut"] - 3 * 3 * 64 * 32 == stored["free"]
    assert stored["heads"] == stored["uncut"] - 3 * 3 * 64 * 64
    assert stored["merged"] == active["merged"] == stored["uncut"] - 3 * 2 * 64 * 32
    assert active["experts"] == stored["uncut"] - 3 * 3 * 64 * 64 < stored["experts"] <= stored["uncut"]
    assert [facts[name]["steps"] for name in ROWS] == [0, *[2] * (len(ROWS) - 1)]
    assert facts["uncut"]["student"] and facts["shared"]["ladder"][0]["kind"] == "cut"
    table = pd.read_csv(tmp_path / "out" / bootstrap.TABLE)
    dev = table[table["test"] == "dev"].set_index(["variant", "against"])
    assert dev["stored"]["shared", "uncut"] == stored["shared"] and dev["active"]["experts", "narrow"] > 0
    assert {("shared", "narrow"), ("free", "narrow"), ("uncut", "narrow")} <= {*dev.index}
    made = study(params)
    assert {made.path(name, 1) for name in ROWS} <= {*made.work.glob("*.jsonl")}, "nothing is made again"
    changed = study(params, variants={**ROWS, "shared": {"shape": {"shared": 3}}})
    assert changed.path("shared", 1) != made.path("shared", 1) and changed.path("heads", 1) == made.path("heads", 1)


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


def test_a_share_of_the_data_and_rejected_candidates(params: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "smoke"
    params["variants"] = {"seeds": {}, "tenth": {"share": 0.1}, "offline": {"rejected": True}}
    with pytest.raises(ParamsError, match="run: smoke/02_rejected.jsonl is not there"):
        study(params)
    accepted = read_jsonl(run / "02_accepted.jsonl")
    write_jsonl(run / "02_rejected.jsonl", [{**row, "reason": "words of a test"} for row in accepted])
    with pytest.raises(ParamsError, match="variants: offline: rejected: the run has no candidate that the verifiers"):
        study(params)
    reasons = [filter.FEW_REACH, filter.NONE_REACHES, "words of a test"]
    rows = [{**row, "id": f"r{i}", "reason": reasons[i % 3]} for i, row in enumerate(accepted)]
    write_jsonl(run / "02_rejected.jsonl", rows)
    made = study(params)
    sizes = {name: len(made.examples(name)) for name in params["variants"]}
    assert sizes == {"seeds": 48, "tenth": 5, "offline": 48 + 32}
    records = read_jsonl(made.run("offline", 1, keep=True))
    info = json.loads((made.work / "students" / "offline-1" / "student.json").read_text())
    assert len(records) == 8 and "<reward 2>" in info["controls"]


def test_a_fine_tuning_goes_on_with_another_update(params: dict[str, Any]) -> None:
    steps = [{"sft": {"max_steps": 1, "update": "zo-sgd", "learning_rate": 1.0e-5}}]
    params["variants"] = {"seeds": {}, "more": {"steps": steps}}
    made = study(params)
    facts = read_json(made.run("more", 1, keep=True).with_suffix(".json"))
    assert [(row["kind"], row["steps"], row["peak_gb"]) for row in facts["ladder"]] == [
        ("sft", 2, None),
        ("sft", 1, None),
    ]
    info = json.loads((made.work / "students" / "more-1" / "student.json").read_text())
    assert info["training"]["update"] == "zo-sgd" and info["training"]["start"]


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
            "variants.seeds.steps.0.prune.[key]: Input should be 'sft', 'kd' or 'rl'",
        ),
        ({"variants": {"seeds": {"steps": [{"kd": {"max_steps": 1}}]}}}, "steps: kd: name an assistant"),
        (
            {"variants": {"seeds": {"shape": {"ffn_width": 8}}}, "kd": {"max_steps": 1}},
            "seeds: shape: name an assistant",
        ),
        ({"variants": {"seeds": {"shape": {"experts": 2}}}}, "experts: at least 2, with ffn_width"),
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


@pytest.mark.parametrize("name", ["ablation", "human", "ladder", "ladder_related", "ladder_augmented", "frontier"])
def test_the_shipped_parameters_are_good(name: str) -> None:
    file = ablate.PARAMS.with_name(f"{name}.yaml")
    assert read(file).variants


def test_rows_that_are_compared_have_the_sizes_that_they_are_compared_for() -> None:
    """Of the base model that the study has; what experts have in common is known only once they are made."""
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 16384}
    config = LlamaConfig(**sizes, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    stored, active = dict[str, int](), dict[str, int]()
    for name, row in read(ablate.PARAMS.with_name("frontier.yaml")).variants.items():
        assert row.shape is not None
        width = row.shape.sizes(config).ffn_width
        active[name] = row.shape.sizes(config).parameters(config)
        twice = 30 - math.ceil(30 / row.shape.shared) if row.shape.shared else 0
        stored[name] = active[name] - twice * 3 * 576 * width
    for name in ("heads 6 and 2", "heads 3 and 1", "heads 9 and 1", "searched", "searched freely"):
        assert active[name] == pytest.approx(active["narrow"], rel=0.01)
    for name, other, within in (
        ("shared by 5", "width 320", 0.02),
        ("shared by all", "width 64", 0.02),
        ("narrow and shared by 5", "width 64", 0.04),
    ):
        assert stored[name] == pytest.approx(stored[other], rel=within)
    assert active["shared by 5"] == active["shared by all"] == active["uncut"]
    assert active["narrow and shared by 5"] == active["narrow"] and active["experts"] == active["width 800"]
