"""The list of compressed models: what an entry may say, and files that are made once for the same inputs."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.compression import models
from lib.compression.models import CompressedError, Entry
from lib.compression.prune import PruneError
from lib.core.files import sha256
from lib.model import student as students
from lib.model.gguf_write import GgufFile, export

GOOD = {"of": "05_student", "kind": "q8_0", "step": "student"}
ASKED = [example for group in examples(2, 2) for example in group]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    saved_student(tmp_path / "05_student", layers=2)
    return tmp_path


def made(run: Path, name: str = "a b", **values: Any) -> dict[str, Any]:
    (row,) = models.make(models.read({name: {**GOOD, **values}}), run, TASK, ASKED)
    return row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"off": "x"}, "models: m: unknown key 'off'; did you mean 'of'?"),
        ({"kind": "q9"}, "models: m: kind: 'q9': use one of f16, q8_0"),
        ({"embedding": "q9"}, "models: m: embedding: 'q9': use one of"),
        ({"step": "squeezed"}, "models: m: step: 'squeezed': use one of parent, rounded"),
        ({"step": "pruned only", "cut": {"hidden": 3}}, "models: m: cut: 'hidden': use one of layers, channels"),
        ({"step": "pruned only", "cut": {"layers": 0}}, "models: m: cut: layers: 0: use how many stay"),
        ({"cut": {"layers": 1}}, "models: m: step: 'student': what is cut here is 'pruned only'"),
        ({"cut": 3}, "models: m: cut: 3: use a mapping"),
        ({"of": 3}, "models: m: of: 3: use text"),
    ],
)
def test_a_wrong_key_is_named_with_its_model(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CompressedError, match="^" + message.replace("?", r"\?")):
        models.read({"m": {**GOOD, **change}})


def test_lists_that_cannot_be() -> None:
    for given, message in (
        ({}, "models: none"),
        ({"m": "x"}, "models: m: expected of, kind and step"),
        ({"m": {"of": "x", "kind": "q8_0"}}, "models: m: 'step' is missing"),
        ({"../m": GOOD}, "models: '../m': use letters"),
        ({"a b": GOOD, "a-b": GOOD}, "models: a b and a-b would be one file"),
    ):
        with pytest.raises(CompressedError, match=message):
            models.read(given)


@pytest.mark.parametrize(
    ("of", "remedy"),
    [
        ("04_student", "run stage 04 first"),
        ("06_tiny", "lib.compression.shrink --only tiny"),
        ("x/y", "give a folder of the run"),
    ],
)
def test_what_is_not_there_comes_with_what_makes_it(tmp_path: Path, of: str, remedy: str) -> None:
    with pytest.raises(CompressedError, match=f"models: m: of: no student '{of}': .*{remedy}"):
        models.make({"m": Entry("m", of, "q8_0", "student")}, tmp_path, TASK)


def test_a_row_says_what_the_file_is(run: Path) -> None:
    row, file = made(run), run / "06_models" / "a-b.gguf"
    assert (row["file"], row["sha256"], row["size_mb"]) == (file.name, sha256(file), file.stat().st_size / 1e6)
    assert row["weights"] == tiny_student(layers=2).model.num_parameters()
    assert set(GgufFile(file).kinds.values()) == {"q8_0"}
    assert made(run, embedding="f16")["size_mb"] > row["size_mb"]


def test_a_file_is_made_once_for_the_same_inputs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, written = made(run), []
    write, file = models._write, run / "06_models" / "a-b.gguf"
    monkeypatch.setattr(models, "_write", lambda entry, *rest: (written.append(entry.kind), write(entry, *rest)))
    assert made(run) == row and not written
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert made(run) == row and written == ["q8_0"], "a damaged one is made again, the same"
    made(run, kind="q4_0")
    assert written[1:] == ["q4_0"]
    saved_student(run / "05_student", layers=2, seed=1)
    assert made(run)["sha256"] != row["sha256"]
    assert not list(run.rglob("*.part"))


def test_a_gguf_of_the_same_kinds_is_taken_as_it_is(run: Path) -> None:
    source = export(run / "05_student", run / "06_other.gguf", "q4_0", "q8_0")
    same = made(run, of="06_other.gguf", kind="q4_0", embedding="q8_0")
    assert same["sha256"] == sha256(source)
    assert made(run, of="06_other.gguf", kind="q4_0")["sha256"] != sha256(source), "the word table is another"


def test_a_folder_that_came_as_a_file_is_found(run: Path) -> None:
    source = export(run / "05_student", run / "06_elsewhere.gguf", "q8_0")
    assert made(run, of="06_elsewhere")["sha256"] == sha256(source)


def test_what_is_cut_is_smaller_and_not_trained(run: Path) -> None:
    row = made(run, "cut", step="pruned only", cut={"channels": 64, "layers": 1})
    student = students.load(run / "06_models" / row["file"])
    config = student.model.config
    assert (config.num_hidden_layers, config.intermediate_size) == (1, 64)
    assert row["weights"] < made(run)["weights"]
    with pytest.raises(PruneError, match="layers: 9 of 2"):
        made(run, "cut", step="pruned only", cut={"layers": 9})


def test_errors_of_rounding_are_weighed_unless_training_rounded(run: Path) -> None:
    entries = models.read({"m": {**GOOD, "kind": "q4_0"}})

    def digest(weighed: bool) -> str:
        (row,) = models.make(entries, run, TASK, ASKED, ASKED if weighed else ())
        return str(row["sha256"])

    assert digest(True) != digest(False)
    student = students.load(run / "05_student")
    student.info["training"] = {"rounded": "q4_0"}
    students.save(student, run / "05_student")
    assert digest(True) == digest(False)
