"""Files of the last release work with this one, or are refused with what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.core import files, paths, stages
from lib.data.recording import Recording
from lib.decision import records
from lib.evaluation import metrics
from lib.model import student as students
from lib.model.gguf_read import STUDENT_KEY, GgufFile
from lib.predict import main
from lib.report.__main__ import build
from lib.runtime import requests
from lib.runtime.requests import find_model, open_system, predict
from lib.tasks import load
from lib.tasks.home import TASK

RELEASE = Path(__file__).parent / "release_2026_11_30"
HOME = {"areas": [{"name": "Den"}], "entities": [{"id": "light.lamp", "name": "Lamp", "area": "Den"}]}
LINE = json.dumps({"id": 1, "text": "turn on the lamp", "home": HOME}).encode()


def test_a_model_of_the_last_release_answers() -> None:
    system, task = open_system(RELEASE / "model.gguf", load, threads=1)
    [row] = predict([LINE], system, task)
    assert row["id"] == 1 and "error" not in row and row["raw"]


def test_a_model_of_the_last_release_can_be_trained_further() -> None:
    student = students.start(TASK, str(RELEASE / "model.gguf"), 0, 1)
    assert student.info["task"] == "home" and set(TASK.controls()) <= set(student.vocabulary.controls)


def changed(**values: object) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda info: info | values


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (changed(format=2), "of format 2, this release reads 1: use the release that made it, or build it again"),
        (changed(format=None), "of format None, this release reads 1"),
        (changed(task="tests.no_such_task"), "tests.no_such_task"),
    ],
)
def test_a_model_of_another_format_is_refused(
    change: Callable[[dict[str, object]], dict[str, object]], remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, path = (RELEASE / "model.gguf").read_bytes(), tmp_path / "model.gguf"
    old = bytes(GgufFile(RELEASE / "model.gguf").get(STUDENT_KEY), "utf-8")
    new = json.dumps(change(json.loads(old)), separators=(",", ":")).encode()
    assert old in data and len(new) <= len(old)
    path.write_bytes(data.replace(old, new.ljust(len(old))))
    assert main(["--model", str(path), "--threads", "1"]) == 2
    said = capsys.readouterr().err
    assert remedy in said and len(said.splitlines()) == 1


def test_a_model_of_an_older_release_is_refused(capsys: pytest.CaptureFixture) -> None:
    path = RELEASE / "model_2026_11_27.gguf"
    assert main(["--model", str(path), "--threads", "1"]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and "lacks the control 'HassSetBrightnessRelative('" in said and "build it again" in said


def test_a_recording_of_the_last_release_is_replayed() -> None:
    recording = Recording.read(TASK, RELEASE / "recording")
    candidates, verdicts = recording.candidates()
    assert recording.rejected == [] and len(candidates) == len(verdicts) == 2
    assert recording.unreadable(candidates, verdicts) == 0
    votes = recording.votes_on(candidates)
    assert len(votes) == 4 and {vote["system"] for vote in votes} == {"pipeline", "student"}
    assert sum(recording.labelled(candidates, "sample").values()) == 1
    assert [e.text for e in recording.tests] and recording.on_others({})[0]["exact"]


@pytest.mark.parametrize("name", ["replies.jsonl.xz", "seeds.jsonl.xz", "provenance.json"])
def test_a_recording_without_a_file_says_what_to_do(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RELEASE / "recording", tmp_path / "recording"))
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}.*(restore|record again|run the stage)"):
        Recording.read(TASK, folder)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    folder = Path(shutil.copytree(RELEASE / "run", tmp_path / "smoke"))
    (folder / "06_models").mkdir()
    shutil.copy(RELEASE / "model.gguf", folder / "06_models" / "tiny.gguf")
    return folder


def test_a_run_of_the_last_release_is_reported(run: Path, tmp_path: Path) -> None:
    assert paths.run_dir("smoke") == run
    written = build("smoke", tmp_path / "reports")
    assert {"06_x.html", "metrics.csv", "provenance.json", "records.jsonl.xz"} <= {path.name for path in written}
    rows = records.read(tmp_path / "reports" / "smoke")
    assert list(rows.columns) == records.COLUMNS and list(rows["exact"]) == [True, True, True]
    assert files.read_jsonl(run / "06_metrics.jsonl")[0]["n"] == metrics.by_level(rows)["n"].iloc[0]


def test_the_models_of_a_run_of_the_last_release_are_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "RELEASED", run / "none")
    assert find_model(None, run.parent) == run / "06_models" / "tiny.gguf"


def test_a_stage_of_the_last_release_runs_again_and_says_why(run: Path) -> None:
    meta = run / "06_meta.json"
    assert stages._reason(meta, files.read_json(meta)["inputs"]) == "06_meta.json is of an earlier release"
