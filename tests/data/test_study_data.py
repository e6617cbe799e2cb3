"""The data of a run: read whole or in part."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lib.core import files, notebook_files, paths, provenance
from lib.core.examples import read_examples, spread
from lib.core.task import Example, TaskError
from lib.data import study_data
from lib.data.study_data import compared_diversity
from lib.tasks import load

HOME = {"id": "h1", "areas": [{"name": "Kitchen"}], "entities": [{"id": "light.a", "name": "Sink", "area": "Kitchen"}]}


@pytest.fixture
def run(tmp_path):
    def example(number: int, split: str):
        row = {"id": f"{split}-{number}", "text": "lights on", "context": {"home": "h1"}, "gold": [[]], "level": "L0"}
        return row | {"source": "program", "split": split}

    (tmp_path / "01_homes.jsonl").write_text(json.dumps(HOME) + "\n")
    (tmp_path / "02_homes.jsonl").write_text(json.dumps(HOME | {"id": "h2"}) + "\n")
    files.write_jsonl(tmp_path / "01_tests.jsonl", [example(i, s) for s in ("dev", "test") for i in range(4)])
    files.write_jsonl(tmp_path / "02_accepted.jsonl", [example(i, "train") for i in range(10)])
    return tmp_path


def test_accepted_examples_and_tests_have_their_homes(run) -> None:
    data = study_data.of_run(load("home"), run)
    assert len(data.accepted) == 10 and data.accepted[0].context["home"].entities[0].name == "Sink"
    assert [e.id for e in data.part("dev")] == ["dev-0", "dev-1", "dev-2", "dev-3"]
    assert [e.id for e in data.part("test", 2)] == ["test-0", "test-2"]


def test_a_part_of_what_was_accepted_is_evenly_spaced(run) -> None:
    homes = [run / name for name in study_data.HOMES]
    some = study_data.read(load("home"), homes, run / "01_tests.jsonl", run / "02_accepted.jsonl", 3).accepted
    assert [e.id for e in some] == [e.id for e in spread(study_data.of_run(load("home"), run).accepted, 3)]


def test_what_nobody_could_label_is_read_of_the_rejected_ones(run) -> None:
    rows = files.read_jsonl(run / "02_accepted.jsonl")[:4]
    reasons = ["no program can tell", "no program can tell", "words of a test", "the home refuses"]
    golds: list[list[list[str]]] = [[], [], [], [[]]]
    kept = [row | {"gold": gold, "reason": reason} for row, gold, reason in zip(rows, golds, reasons, strict=True)]
    files.write_jsonl(run / "02_rejected.jsonl", kept)
    data = study_data.of_run(load("home"), run)
    assert [e.id for e in data.unlabelled] == ["train-0", "train-1"] and data.unlabelled[0].context["home"].entities


def test_a_mixture_uses_sources_and_levels_as_often_as_it_says() -> None:
    def some(source: str, level: str, n: int) -> list[Example]:
        return [Example(f"{source}{level}{i}", "", {}, [[]], level, source, "") for i in range(n)]

    rows, times = some("a", "L0", 3) + some("b", "L0", 2) + some("b", "L1", 1), {"b": 2, "b/L1": 0, "c": 4}
    assert Counter(e.source for e in study_data.repeated(rows, times)) == {"a": 3, "b": 4}
    table = study_data.mixture(rows, {"b": 3, "c": 4}).set_index("source")
    assert table["n"].to_dict() == {"a": 3, "b": 3, "c": 0} and table["times"].to_dict() == {"a": 1, "b": 3, "c": 4}
    assert table["share"].to_dict() == {"a": 0.25, "b": 0.75, "c": 0.0}


def test_lines_that_are_not_asked_for_are_not_read(run) -> None:
    path = run / "02_accepted.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", "{broken", *lines[2:]]) + "\n")
    assert len(read_examples(path, 2)) == 2
    with pytest.raises(files.RecordError, match="02_accepted.jsonl, line 3"):
        read_examples(path)


def test_a_home_that_is_not_there_is_an_error(run) -> None:
    (run / "02_homes.jsonl").unlink()
    with pytest.raises(TaskError, match="02_homes.jsonl"):
        study_data.of_run(load("home"), run)


@pytest.mark.parametrize("number", ["03", "04", "05", "06"])
def test_a_notebook_names_the_files_that_it_depends_on(number) -> None:
    notebook = notebook_files.read(next(p for p in paths.notebooks() if p.name.startswith(number)))
    answered = {f"0{n}_predictions.jsonl" for n in range(3, int(number))}
    assert {*study_data.FILES, *answered} <= set(provenance.needed(notebook, {}, number))


def lines(*texts: str, level: str = "L0") -> list[Example]:
    return [Example(str(i), text, {}, [[]], level, "t", "train") for i, text in enumerate(texts)]


def test_the_longer_side_is_looked_at_all_over() -> None:
    left = lines(*["dim it"] * 5, *[f"word{i} please" for i in range(5)])
    found = compared_diversity(left, lines("a b", "c d")).to_dict("records")
    assert found == [{"level": "L0", "n": 2, "left_words": 4, "right_words": 4, "left_pairs": 2, "right_pairs": 2}]


def test_only_levels_of_both_sides_are_compared() -> None:
    assert compared_diversity(lines("a"), lines("b", level="L1")).empty
