"""Publishing: what is copied is what was compared, it is within its limit, and nothing is half written."""

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pytest
from toy_model import saved_student
from toy_task import TASK

from lib import release as command
from lib.core import files
from lib.model import gguf_write
from lib.report import release
from lib.report.release import ReportError

DOMAIN = "What vends.\n\n## Data\n\n{data}\n\n## Limits\n\n- {weakest}\n"
MODELS = {"whole": "f16", "tiny": "q8_0", "super tiny": "q4_0"}
SPEED = {"p50_ms": 12.0, "p95_ms": 34.0, "faster": 2.5}


def metric(system: str, test: str, level: str, accuracy: float) -> dict[str, Any]:
    share = {"n": 10, "right": 10 * accuracy, "accuracy": accuracy, "low": accuracy / 2, "high": 0.99}
    return {"system": system, "test": test, "level": level, "deployed": system == "super tiny", **share}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a profile 'toy'."""
    folder = tmp_path / "runs" / "toy"
    (folder / "06_models").mkdir(parents=True)
    student = saved_student(folder / "05_student", layers=1)
    for name, kind in MODELS.items():
        file = gguf_write.export(student, folder / "06_models" / f"{name.replace(' ', '-')}.gguf", kind)
        made = {"of": "05_student", "kind": kind, "step": "student", "size_mb": 0.1, "weights": 9_000}
        files.write_json(file.with_suffix(".json"), {**made, "sha256": files.sha256(file)})
    rows = [metric(n, "dev", level, a) for n in MODELS for level, a in (("T0", 0.9), ("T1", 0.3), ("all", 0.6))]
    rows += [metric(n, "theirs", level, 0.5) for n in MODELS for level in ("X", "all")]
    files.write_jsonl(folder / "06_metrics.jsonl", rows)
    edge = {"n": 20, "accuracy": 0.55, "low": 0.4, "high": 0.7, "pairs": 20, **SPEED}
    lost = {
        n: {"lost": 5.0, "p": 0.0001} if n != "whole" else {"lost": float("nan"), "p": float("nan")} for n in MODELS
    }
    files.write_jsonl(folder / "06_frontier.jsonl", [{"system": n, **edge, **lost[n]} for n in MODELS])
    files.write_jsonl(folder / "02_accepted.jsonl", [{"source": s} for s in ("program", "teacher", "program")])
    for number in ("05", "06"):
        files.write_json(folder / f"{number}_meta.json", {"commit": "c0ffee"})
    (tmp_path / "card.md").write_text(DOMAIN)
    return folder


def publish(run: Path, limits: dict[str, float]) -> Path:
    top = run.parent.parent
    written = release.publish(run, "toy", limits, top / "reports", top / "card.md")
    assert written == sorted((run / "06_release").iterdir())
    return run / "06_release"


def test_the_files_that_were_compared_are_published_alone(run: Path) -> None:
    folder = run.parent.parent / "reports" / "toy" / "model"
    folder.mkdir(parents=True)
    (folder / "old.gguf").write_text("old")
    publish(run, {"tiny": 1.0, "super tiny": 1.0})
    written = release.release(run, "toy", folder.parent.parent)
    assert [p.name for p in written] == ["README.md", "release.json", "super-tiny.gguf", "tiny.gguf"]
    assert sorted(folder.iterdir()) == written and not list(folder.parent.glob("*.part"))
    for name in ("tiny", "super-tiny"):
        assert files.sha256(folder / f"{name}.gguf") == files.sha256(run / "06_models" / f"{name}.gguf")
    assert files.read_json(folder / "release.json")["deployed"] == "super-tiny.gguf"


def test_the_card_has_every_figure_with_what_it_is_of(run: Path) -> None:
    text = (publish(run, {"super tiny": 1.0, "tiny": 1.0, "whole": 1.0}) / "README.md").read_text()
    for file in ("tiny.gguf", "super-tiny.gguf", "whole.gguf"):
        assert text.count(f"## {file}\n") == 1 and files.sha256(run / "06_models" / file) in text
        assert f"The weakest level of `{file}` is T1: 30 % of 10 requests right." in text
    for part in (
        "What vends.\n",
        "--model reports/toy/model` uses `super-tiny.gguf`",
        "| against whole | 5.0 points lost, over 20 requests, p < 0.001",
        "| against whole | it is the parent |",
        "median 12 ms, 95 % within 34 ms, context in the cache (in the evaluation)",
        "2.5 times as fast as whole",
        "| dev | T0 | 10 | 90.0 % | 45.0–99.0 % |",
        "| theirs | all | 10 | 50.0 % |",
        "3 training requests by source: program 2, teacher 1.",
        "tiny (SHA-256 `0`)",
    ):
        assert part in text, part
    assert "| theirs | X |" not in text and "{" not in text and "\n\n\n" not in text
    assert not any(str(place) in text for place in (run, Path.home()))


@pytest.mark.parametrize("key", ["qat", "rounded"])
def test_the_card_says_what_weights_were_quantised_to_in_training(key: str) -> None:
    template = (release.TEMPLATES / "card.md.j2").read_text()
    line = next(text for text in template.splitlines() if text.startswith("| last training"))
    assert ", quantised to q4_0 while training" in jinja2.Template(line).render(training={key: "q4_0"})
    assert "quantised" not in jinja2.Template(line).render(training={key: ""})


def test_a_latency_of_make_bench_is_of_this_file_and_goes_before_the_evaluation_s(run: Path) -> None:
    bench = run.parent.parent / "reports" / "toy" / "bench"
    bench.mkdir(parents=True)
    digests = {"super-tiny": files.sha256(run / "06_models" / "super-tiny.gguf"), "tiny": "of an older file"}
    times = {"warm_p50_ms": 3.0, "warm_p95_ms": 4.0, "cold_p50_ms": 9.0}
    pd.DataFrame([{"system": n, "sha256": d, **times} for n, d in digests.items()]).to_csv(bench / "bench.csv")
    files.write_json(bench / "bench.json", {"machine": {"cpu": "A CPU", "threads": 2}})
    text = (publish(run, {"super tiny": 1.0, "tiny": 1.0}) / "README.md").read_text()
    assert text.count("median 3 ms, 95 % within 4 ms, context in the cache (make bench, 2 threads of A CPU)") == 1
    assert text.count("median 12 ms") == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "release: names no model: set it in params/toy/06_"),
        ({"tiny": 0.001}, r"release: tiny: 0\.\d MB, more than 0.001: choose a smaller one"),
        ({"tiny": 1.0, "other": 1.0}, "release: other: no predictions of it: add it to models, and run stage 06"),
    ],
)
def test_what_may_not_be_published_ends_it_before_anything_is_written(
    run: Path, limits: dict[str, float], message: str
) -> None:
    folder = publish(run, {"whole": 1.0})
    with pytest.raises(ReportError, match=message):
        publish(run, limits)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "release.json", "whole.gguf"]


def test_what_changed_since(run: Path) -> None:
    saved = (run / "06_models" / "tiny.gguf").read_bytes()
    (run / "06_models" / "tiny.gguf").write_bytes(saved[:-1] + b"x")
    with pytest.raises(ReportError, match="tiny.gguf is not the file that was compared: run stage 06"):
        publish(run, {"tiny": 1.0})


def test_runs_of_local_changes_or_several_commits_are_refused(run: Path) -> None:
    reports = run.parent.parent / "reports"
    with pytest.raises(ReportError, match=r"nothing to release: run stage 06 \(make reproduce PROFILE=toy\)"):
        release.release(run, "toy", reports)
    publish(run, {"tiny": 1.0})
    for commit, message in (("c0ffee-dirty", "stages 05 have local changes"), ("decade", "stages are from 2 commits")):
        files.write_json(run / "05_meta.json", {"commit": commit})
        with pytest.raises(ReportError, match=f"toy: {message}: commit and run them again, or give --allow-dirty"):
            release.release(run, "toy", reports)
        assert not (reports / "toy").exists()
    assert release.release(run, "toy", reports, allow_dirty=True)


def test_a_task_without_its_part_of_the_card(run: Path) -> None:
    release.publish(run, "toy", {"tiny": 1.0}, run.parent.parent / "reports")
    assert f"Function calls for the task {TASK.name}." in (run / release.FOLDER / "README.md").read_text()


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    assert command.main(["--profile", "smoke"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("release: smoke: nothing to release") and len(error.splitlines()) == 1
