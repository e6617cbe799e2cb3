"""A task of thirty lines, without a teacher, baselines or tests of others, from its parameters to what is released."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_model import saved_student

from lib import choose
from lib.core import params, paths, stages
from lib.core.files import read_jsonl
from lib.report import __main__ as report
from lib.report.release import release

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
        "01": {"seeds": 80, "demo": ""},
        "02": {"ablated": []},
        "03": {"training": {**TINY, "base": base, "max_steps": 60, "learning_rate": 3.0e-3}, **cut},
        "04": {"training": TINY},
        "05": {"training": {**TINY, "samples": 4, "pool": 8, "pool_samples": 4, "max_new": 24}},
        "06": {"models": models, "recovery": TINY, "shapes": ""},
    }


def test_a_task_from_its_tools_goes_through_the_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, values = tmp_path / "params" / "toy" / "smoke", changed(str(saved_student(tmp_path / "base")))
    profile.mkdir(parents=True)
    for notebook in paths.notebooks():
        own = {**params.load(notebook, "smoke"), **values[notebook.name[:2]], "task": "tests.toy_task"}
        del own["profile"]
        (profile / f"{notebook.stem}.yaml").write_text(yaml.safe_dump(own))
    for name in ("params", "runs"):
        monkeypatch.setenv(f"{name}_DIR".upper(), str(tmp_path / name))
    for name in ("params", "reports"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    stages.run_all("toy/smoke")
    answered = read_jsonl((run := paths.run_dir("toy/smoke")) / "06_predictions.jsonl")
    assert {row["test"] for row in answered} == {"dev", "test"} and {row["level"] for row in answered} == {"T0", "T1"}
    assert release(run, "toy/smoke", paths.REPORTS, allow_dirty=True)[-1].name == "small.gguf"
    page = report.build("toy/smoke", paths.REPORTS)[-1].read_text()
    assert 'href="toy/smoke/model/small.gguf"' in page and "large models of part 1" not in page, "it has no teacher"
    assert choose.main(["--profile", "toy/smoke"]) == 0
