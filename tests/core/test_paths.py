"""Profiles, stage numbers and what paths look like to others."""

from pathlib import Path

import pytest

from lib.core import paths


def test_unknown_profile_names_the_choices(tmp_path: Path) -> None:
    for name in ("cpu", "gpu", "a/gpu", "a/cpu", "a/b/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "01_x.yaml").touch()
    (tmp_path / "empty").mkdir()
    known = [paths.check_profile(name, tmp_path) for name in paths.profiles(tmp_path)]
    assert known == ["cpu", "gpu", "a/cpu", "a/gpu"], "those of the main task first"
    for name in ("paper", "a", "a/paper", "a/../cpu", "/cpu", "a/cpu/", ""):
        with pytest.raises(paths.StageError, match=f"unknown profile '{name}': choose one of cpu, gpu, a/cpu, a/gpu"):
            paths.check_profile(name, tmp_path)


def test_runs_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    assert paths.run_dir("smoke") == tmp_path.resolve() / "smoke"
    monkeypatch.setenv("RUNS_DIR", "")
    assert paths.runs() == paths.ROOT / "runs"


def test_stage_numbers() -> None:
    assert paths.stage_number(Path("runs/cpu/03_student")) == "03"
    with pytest.raises(paths.StageError, match="two digits"):
        paths.stage_number(Path("student"))


def test_two_notebooks_with_one_number(tmp_path: Path) -> None:
    for name in ("01_a.ipynb", "02_b.ipynb", "02_c.ipynb", "notes.ipynb"):
        (tmp_path / name).touch()
    with pytest.raises(paths.StageError, match="02_b.ipynb and 02_c.ipynb"):
        paths.notebooks(tmp_path)


def test_paths_told_to_others_are_never_the_machine_s(tmp_path: Path) -> None:
    assert paths.relative(paths.ROOT / "runs" / "cpu") == "runs/cpu"
    assert paths.relative(tmp_path / "x.gguf") == "x.gguf"
    assert paths.relative(paths.ROOT / ".." / "shared") == "shared"


def test_every_stage_has_parameters_in_every_profile() -> None:
    numbers = [paths.stage_number(n) for n in paths.notebooks()]
    assert numbers.pop() == "07"  # its parameters are the same in all profiles
    for profile in paths.profiles():
        assert [paths.stage_number(p) for p in sorted((paths.PARAMS / profile).glob("*.yaml"))] == numbers
