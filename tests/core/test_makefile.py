"""make and .ci/run: what they say when something is wrong, and their exit codes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.core import paths

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PROFILE", "TASK"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, env=environment)


def test_help_lists_targets_and_profiles() -> None:
    shown = make().stdout
    targets = "setup reproduce test lab bench reports verify release new-task demo serve robust clean".split()
    for word in (*targets, *paths.profiles()):
        assert word in shown


@pytest.mark.parametrize(("given", "name"), [(["PROFILE=tpu"], "tpu"), (["TASK=none"], "none/cpu")])
def test_unknown_profile_is_one_error_with_the_choices(given: list[str], name: str) -> None:
    result = make("reproduce", *given)
    assert result.returncode != 0
    assert f"unknown profile '{name}': choose one of {' '.join(paths.profiles())}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_task_has_profiles_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "params" / "a" / "cpu").mkdir(parents=True)
    (tmp_path / "params" / "a" / "cpu" / "01_x.yaml").touch()
    where = ["-n", "-C", str(tmp_path), "-f", str(paths.ROOT / "Makefile"), "TASK=a"]
    for target, command in (("reproduce", "stages"), ("reports", "report"), ("release", "release")):
        assert f"-m lib.{command} --profile a/cpu\n" in make(*where, target).stdout


@pytest.mark.parametrize(
    ("python", "message"),
    [("no-such-python", "no-such-python not found"), ("false", "Python 3.11 or newer is needed, false is")],
)
def test_a_python_that_will_not_do_is_an_error(tmp_path: Path, python: str, message: str) -> None:
    result = make("setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    assert message in result.stderr and "make PYTHON=python3.12" in result.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_ci_ends_as_the_tests_do(tmp_path: Path, code: int) -> None:
    fake = tmp_path / "make"
    fake.write_text(f'#!/bin/sh\necho "$@: 2 passed"\nexit {code}\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run([paths.ROOT / ".ci" / "run"], capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout) == (code, "test: 2 passed\n")
