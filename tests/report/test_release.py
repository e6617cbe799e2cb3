"""Publishing: what is copied is what was compared, it is within its limit, and nothing is half written."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student
from toy_task import TASK

from lib.compression import models
from lib.core import files, paths
from lib.report import release
from lib.report.release import ReleaseError

DOMAIN = "What vends.\n\n## Data\n\n{data}\n\n## Limits\n\n- {weakest}\n"
MODELS = {"tiny": "q8_0", "super tiny": "q4_0", "whole": "f16"}


def metric(system: str, test: str, level: str, accuracy: float) -> dict[str, Any]:
    share = {"n": 10, "right": 10 * accuracy, "accuracy": accuracy, "low": accuracy / 2, "high": 0.99}
    return {"system": system, "test": test, "level": level, **share}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a profile 'toy'."""
    folder = tmp_path / "runs" / "toy"
    folder.mkdir(parents=True)
    saved_student(folder / "05_student", layers=1)
    entries = {n: {"of": "05_student", "kind": kind, "step": "student"} for n, kind in MODELS.items()}
    models.make(models.read(entries), folder, TASK)
    rows = [metric(n, "dev", level, a) for n in MODELS for level, a in (("T0", 0.9), ("T1", 0.3), ("all", 0.6))]
    rows += [metric(n, "theirs", level, 0.5) for n in MODELS for level in ("X", "all")]
    files.write_jsonl(folder / "06_metrics.jsonl", rows)
    edge = {"n": 20, "accuracy": 0.55, "low": 0.4, "high": 0.7, "pairs": 20, "lost": 5.0, "p": 0.0001}
    edge |= {"p50_ms": 12.0, "p95_ms": 34.0, "faster": 2.5}
    files.write_jsonl(folder / "06_frontier.jsonl", [{"system": n, **edge} for n in MODELS])
    files.write_jsonl(folder / "02_accepted.jsonl", [{"source": s} for s in ("program", "teacher", "program")])
    parameters = {"task": TASK.name, "parent": "whole", "threads": 2, "profile": "toy"}
    hardware = {"cpu": "A CPU", "cores": 2}
    files.write_json(folder / "06_meta.json", {"parameters": parameters, "hardware": hardware, "commit": "c0ffee"})
    (tmp_path / "card.md").write_text(DOMAIN)
    return folder


def publish(run: Path, wanted: dict[str, float]) -> Path:
    top = run.parent.parent
    release.release(run, wanted, top / "reports", top / "card.md")
    return top / "reports" / "toy" / "model"


def test_the_files_that_were_compared_stand_there_alone(run: Path) -> None:
    folder = run.parent.parent / "reports" / "toy" / "model"
    folder.mkdir(parents=True)
    (folder / "old.gguf").write_text("old")
    assert publish(run, {"super tiny": 1.0, "tiny": 1.0}) == folder
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "super-tiny.gguf", "tiny.gguf"]
    for name in ("tiny", "super-tiny"):
        assert files.sha256(folder / f"{name}.gguf") == files.sha256(run / "06_models" / f"{name}.gguf")
    assert not list(folder.parent.glob("*.part"))


def test_the_card_has_every_figure_with_what_it_is_of(run: Path) -> None:
    text = (publish(run, {"super tiny": 1.0, "tiny": 1.0}) / "README.md").read_text()
    for file in ("tiny.gguf", "super-tiny.gguf"):
        assert text.count(f"## {file}\n") == 1 and files.sha256(run / "06_models" / file) in text
        assert f"The weakest level of `{file}` is T1: 30 % of 10 requests right." in text
    for part in (
        "What vends.\n",
        "use `super-tiny.gguf` unless",
        "5.0 points lost, over 20 requests, p < 0.001",
        "median 12 ms, 95 % within 34 ms",
        "2 threads of A CPU; 2.5 times as fast as whole",
        "| dev | T0 | 10 | 90.0 % | 45.0–99.0 % |",
        "| theirs | all | 10 | 50.0 % |",
        "3 training requests: 2 from the program, 1 from the teacher.",
        "tiny (SHA-256 `0`)",
    ):
        assert part in text, part
    assert "| theirs | X |" not in text and "{" not in text
    assert not any(str(place) in text for place in (run, Path.home()))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "release: names no model: set it in params/toy/06_"),
        ({"tiny": 0.001}, r"release: tiny: 0\.\d MB, more than 0.001: choose a smaller one"),
        ({"tiny": 1.0, "other": 1.0}, "release: other: no predictions of it: add it to models, and run stage 06"),
    ],
)
def test_what_may_not_be_published_ends_it_before_anything_is_written(
    run: Path, wanted: dict[str, float], message: str
) -> None:
    folder = publish(run, {"whole": 1.0})
    with pytest.raises(ReleaseError, match=message):
        publish(run, wanted)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "whole.gguf"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_what_changed_since_or_was_never_finished(run: Path) -> None:
    saved = (run / "06_models" / "tiny.gguf").read_bytes()
    (run / "06_models" / "tiny.gguf").write_bytes(saved[:-1] + b"x")
    with pytest.raises(ReleaseError, match="tiny.gguf is not the file that was compared: run stage 06"):
        publish(run, {"tiny": 1.0})
    (run / "06_meta.json").unlink()
    with pytest.raises(ReleaseError, match=r"06_meta.json: not there: run stage 06 \(make reproduce PROFILE=toy\)"):
        publish(run, {"tiny": 1.0})


def test_a_task_without_its_part_of_the_card(run: Path) -> None:
    with pytest.raises(ReleaseError, match="lib/tasks/vending/model_card.md: not there: write what the card says"):
        release.release(run, {"tiny": 1.0}, run.parent.parent / "reports")


@pytest.mark.parametrize("profile", paths.profiles())
def test_every_profile_releases_models_of_its_list(profile: str) -> None:
    notebook = next(path for path in paths.notebooks() if paths.stage_number(path) == "06")
    values = release.params.load(notebook, profile)
    entries = models.read(values["models"])
    assert set(release.wanted(profile)) <= set(entries) and {values["parent"], values["unrounded"]} <= set(entries)
    assert [e.name for e in entries.values() if e.step == models.PARENT] == [values["parent"]]


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    assert release.main(["--profile", "smoke"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("release: 06_meta.json: not there") and len(error.splitlines()) == 1
