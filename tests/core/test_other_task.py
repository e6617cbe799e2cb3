"""A task from a folder, without baselines or tests of others, from new-task and a teacher to what is released."""

from pathlib import Path
from typing import Any

import garden
import pytest
import yaml
from toy_chat import Rule
from toy_model import tiny_base
from toy_recording import reply

from lib import choose, new_task
from lib.core import paths, stages
from lib.core.files import read_jsonl
from lib.core.params import read_yaml
from lib.data import record
from lib.model import student as students
from lib.report import __main__ as report
from lib.report.release import release
from lib.tasks import load
from lib.teacher.contract import has_teacher, teacher_task

TINY = {"row_tokens": 300, "max_steps": 2, "precision": "fp32"}


def changed(base: str) -> dict[str, dict[str, Any]]:
    """By stage: how the parameters differ from the smoke profile's."""
    cut = {"shape": {"ffn_width": 64, "measured": 4}}
    models = {
        "assistant q8_0": {"of": "03_assistant", "kind": "q8_0"},
        "student q8_0": {"of": "05_student", "kind": "q8_0"},
        "small": {"of": "03_assistant", "kind": "q4_0", **cut, "training": {"qat": "q4_0 with embedding"}},
    }
    return {
        "01": {"seeds": 80},
        "02": {"ablated": [], "rule": [["judge"]]},
        "03": {"training": {**TINY, "base": base, "max_steps": 60, "learning_rate": 3.0e-3}, **cut},
        "04": {"training": TINY},
        "05": {"training": {**TINY, "samples": 4, "pool": 8, "pool_samples": 4, "max_new": 24}},
        "06": {"models": models, "recovery": TINY, "shapes": ""},
    }


def test_a_task_from_a_folder_goes_through_the_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params", "tasks", "runs", "reports"):
        monkeypatch.setenv(f"{name}_DIR".upper(), str(tmp_path / name))
        monkeypatch.setattr(paths, name.upper(), tmp_path / name, raising=False)
    assert new_task.main(["--name", "garden", "--from", str(garden.folder(tmp_path / "mine"))]) == 0
    values = changed(str(students.save(students.build(load("garden"), tiny_base(), 400, 4), tmp_path / "base")))
    for path in (paths.PARAMS / "garden" / "smoke").iterdir():
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values[path.name[:2]]}))
    given = read_yaml(paths.PARAMS / "garden" / "record.yaml") | {"seeds": 6, "pool": 12, "tests": 1, "read_every": 0}
    task = teacher_task(load("garden"))
    record.Session(task, Rule(reply), record.RecordSettings.read(given, "toy"), tmp_path / "record").run()
    assert task.recordings == paths.TASKS / "garden" / "recordings" and has_teacher(task)
    stages.run_all("garden/smoke")
    run = paths.run_dir("garden/smoke")
    taught = [row["text"] for row in read_jsonl(run / "02_accepted.jsonl") if row["source"] == "teacher"]
    assert taught and all(text.startswith("now ") or text.endswith(" for me") for text in taught)
    answered = read_jsonl(run / "06_predictions.jsonl")
    assert {f"{row['test']} {row['level']}" for row in answered} == {"dev own", "dev varied", "test own", "test varied"}
    assert release(run, "garden/smoke", paths.REPORTS, allow_dirty=True)[-1].name == "small.gguf"
    page = report.build("garden/smoke", paths.REPORTS)[-1].read_text()
    assert 'href="garden/smoke/model/small.gguf"' in page
    assert "pipeline" in {row["system"] for row in read_jsonl(run / "01_metrics.jsonl")}
    assert choose.main(["--profile", "garden/smoke"]) == 0
