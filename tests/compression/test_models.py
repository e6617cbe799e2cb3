"""The list of models: what an entry may say, and files that are made once for the same inputs."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.compression import models
from lib.core.files import sha256
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.gguf_read import GgufFile
from lib.model.gguf_write import export

GOOD = {"of": "05_student", "kind": "q8_0"}
GROUPS = examples(4, 4, items=3)
RECOVERY = {"row_tokens": 256, "max_steps": 1, "precision": "fp32"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    saved_student(tmp_path / "05_student", layers=2)
    return tmp_path


def made(run: Path, name: str = "a b", **values: Any) -> dict[str, Any]:
    entries = models.read({name: {**GOOD, **values}}, RECOVERY)
    (row,) = models.make(entries, run, TASK, RECOVERY, GROUPS, GROUPS[:1])
    return row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"off": "x"}, "models: m: unknown parameter 'off'; did you mean 'of'?"),
        ({"kind": "q9"}, "models: m: kind: Input should be 'f16', 'q8_0', 'q5_0' or 'q4_0'"),
        ({"embedding": "q9"}, "models: m: embedding: Input should be"),
        ({"shape": {"hidden": 3}}, "models: m: unknown parameter 'shape.hidden'"),
        ({"shape": {"layers": -1}}, "models: m: shape.layers: Input should be greater"),
        ({"of": 3}, "models: m: of: Input should be a valid string"),
        ({"shape": {"vocab_size": 9}, "training": {}}, "models: m: shape: vocab_size: add training: {align: text}"),
        ({"training": {"max_stps": 1}}, "models: m: training: unknown parameter 'max_stps'; did you mean 'max_steps'"),
    ],
)
def test_a_wrong_key_is_named_with_its_model(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        models.read({"m": {**GOOD, **change}}, RECOVERY)
    assert str(error.value).startswith(message)


def test_lists_that_cannot_be() -> None:
    for given, message in (
        ({}, "models: none"),
        ({"m": {"of": "x"}}, "models: m: 'kind' is missing"),
        ({"../m": GOOD}, "models: '../m': it names a file"),
        ({"a b": GOOD, "a-b": GOOD}, "models: a b: another name gives the same file"),
    ):
        with pytest.raises(ParamsError, match=message):
            models.read(given, RECOVERY)


@pytest.mark.parametrize(("of", "remedy"), [("04_student", "run stage 04 first"), ("x/y", "give a folder of the run")])
def test_what_is_not_there_comes_with_what_makes_it(tmp_path: Path, of: str, remedy: str) -> None:
    with pytest.raises(ParamsError, match=f"models: a b: of: no student '{of}': .*{remedy}"):
        made(tmp_path, of=of)


def kinds(file: Path) -> set[str]:
    return {kind for kind, _ in GgufFile(file).kinds.values()}


def test_a_row_says_what_the_file_is(run: Path) -> None:
    row, file = made(run), run / "06_models" / "a-b.gguf"
    assert (row["file"], row["sha256"], row["size_mb"]) == (file.name, sha256(file), file.stat().st_size / 1e6)
    assert row["weights"] == tiny_student(layers=2).model.num_parameters()
    assert kinds(file) == {"q8_0"} and (row["step"], row["cuts"]) == ("student", [])
    assert made(run, embedding="f16")["size_mb"] > row["size_mb"]


def test_a_file_is_made_once_for_the_same_inputs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, written = made(run), []
    write, file = models._write, run / "06_models" / "a-b.gguf"
    monkeypatch.setattr(models, "_write", lambda entry, *rest: (written.append(entry.kind), write(entry, *rest))[1])
    assert made(run) == row and not written
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert made(run) == row and written == ["q8_0"], "a damaged one is made again, the same"
    made(run, kind="q4_0")
    assert written[1:] == ["q4_0"]
    saved_student(run / "05_student", layers=2, seed=1)
    assert made(run)["sha256"] != row["sha256"]
    assert not list(run.rglob("*.part"))
    monkeypatch.setattr(models, "_code", lambda: "other")
    made(run)
    assert len(written) == 4


def test_a_gguf_is_taken_as_it_is(run: Path) -> None:
    source = export(run / "05_student", run / "other.gguf", "q4_0", "q8_0")
    row = made(run, of="other.gguf", kind="q4_0", embedding="q8_0")
    assert row["sha256"] == sha256(source) and row["step"] == "released"
    with pytest.raises(ParamsError, match="other.gguf: 'token_embd.weight' is q8_0"):
        made(run, of="other.gguf", kind="q4_0")


def test_what_is_cut_alone_is_smaller_and_not_trained(run: Path) -> None:
    row = made(run, "cut", shape={"ffn_width": 64, "layers": 1, "measured": 4})
    config = students.load(run / "06_models" / row["file"]).model.config
    assert (config.num_hidden_layers, config.intermediate_size) == (1, 64) and row["step"] == models.PRUNED
    assert row["weights"] < made(run)["weights"]
    with pytest.raises(ParamsError, match="layers: 9 of 2"):
        made(run, "cut", shape={"layers": 9, "measured": 4})


def test_a_model_that_is_missing_is_cut_and_trained(run: Path) -> None:
    shape = {"ffn_width": 64, "measured": 4}
    row = made(run, "small", kind="q4_0", shape=shape, training={"qat": "q4_0 with embedding"})
    assert row["step"] == "pruned and distilled" and kinds(run / "06_models" / "small.gguf") == {"q4_0"}
    assert row["cuts"][0]["kl_after"] is not None and row["cuts"][0]["ffn_width"] == 64
    tiny = made(run, "tiny", kind="q4_0", embedding="f16", training={"qat": "q4_0"})
    assert tiny["step"] == "quantisation-aware" and tiny["weights"] > row["weights"]
