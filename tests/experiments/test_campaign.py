"""Lanes of commands: in order, beside each other, waiting for what they need, and failing one by one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.core import paths
from lib.core.params import ParamsError
from lib.experiments import campaign
from lib.experiments.campaign import Campaign, Lane, Step, read

SCRIPT = """
import os, sys, time
name, *rest = sys.argv[1:]
print("hello from", name)
with open("order.txt", "a") as file:
    file.write(f"{name} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\\n")
for word in rest:
    if word == "fail":
        sys.exit(3)
    open(word, "w").close()
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "step.py").write_text(SCRIPT)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(campaign, "POLL_S", 0.02)
    return tmp_path


def run(root: Path, lanes: list[Lane], gpus: tuple[str, ...] = ()) -> tuple[int, str, list[str]]:
    """How many failed, what was said, and the lines that the steps left in their order."""
    screen = io.StringIO()
    failed = Campaign(lanes, root / "logs", gpus, screen).run()
    file = root / "order.txt"
    return failed, screen.getvalue(), file.read_text().splitlines() if file.exists() else []


def test_steps_wait_for_files_and_lanes_for_lanes(root: Path) -> None:
    lanes = [
        Lane("last", [Step("step late")], after=["one", "two"]),
        Lane("two", [Step("step second", ["made"])], gpu=1),
        Lane("one", [Step("step first made"), Step("step third", ["made"])], gpu=2),
    ]
    failed, said, order = run(root, lanes, ("5", "7"))
    assert failed == 0 and said.count("done in") == 4
    assert order[0] == "first 5" and order[-1] == "late 5", "the third GPU is the first again"
    assert sorted(order[1:3]) == ["second 7", "third 5"]
    assert (root / "logs" / "one-1.log").read_text() == "hello from first\n"


def test_without_a_gpu_the_environment_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert run(root, [Lane("one", [Step("step first")], gpu=3)])[2] == ["first -"]


def test_a_step_that_fails_does_not_stop_the_others(root: Path) -> None:
    lanes = [Lane("one", [Step("step first fail"), Step("step next")]), Lane("two", [Step("step other", ["never"])])]
    failed, said, order = run(root, lanes)
    assert failed == 2 and sorted(order) == ["first -", "next -"]
    assert "[one 1] step first fail: failed with exit code 3" in said and "one-1.log" in said
    assert "[two 1] step other: never is not there, and no lane is left that could make it" in said


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        ({}, "lanes: missing"),
        ({"a": {"steps": []}}, "lanes: a: steps: none"),
        ({"a": {"stepps": ["step x"]}}, "unknown key 'stepps'"),
        ({"a": {"steps": ["no.such.module x"]}}, "'no.such.module x': expected a module of the project"),
        ({"a": {"steps": [{"run": "step x", "need": ["y"]}]}}, "steps: 1: unknown key 'need'"),
        ({"a": {"steps": ["step x"], "gpu": "first"}}, "gpu: 'first'"),
        ({"a": {"steps": ["step x"], "after": ["b"]}}, "after: no other lane 'b'"),
    ],
)
def test_bad_lanes_are_named(root: Path, lanes: dict[str, Any], message: str) -> None:
    file = root / "campaign.yaml"
    file.write_text(yaml.safe_dump({"lanes": lanes}))
    with pytest.raises(ParamsError, match="campaign.yaml") as error:
        read(file)
    assert message in str(error.value)


def test_the_command_says_what_failed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(root / "runs"))
    file = root / "campaign.yaml"
    file.write_text(yaml.safe_dump({"lanes": {"a": {"steps": ["step x fail"]}, "b": {"steps": ["step y"]}}}))
    assert campaign.main(["--params", str(file), "--only", "c"]) == 1
    assert "no lane 'c'; known: a, b" in capsys.readouterr().err
    assert campaign.main(["--params", str(file), "--only", "b"]) == 0
    assert campaign.main(["--params", str(file)]) == 1
    assert "1 steps failed" in capsys.readouterr().err


def test_the_projects_own_lanes_can_be_read() -> None:
    lanes = {lane.name: lane for lane in read(campaign.PARAMS)}
    assert {"study", "compressed", "ladder"} <= set(lanes)
    named = " ".join(step.run for lane in lanes.values() for step in lane.steps)
    ladder = yaml.safe_load((paths.PARAMS / "ladder.yaml").read_text())
    runs = {f'"{variant}:{seed}"' for variant in ladder["variants"] for seed in ladder["seeds"]}
    assert all(name in named for name in runs), "every run of the ladder is in some lane"
    models = yaml.safe_load((paths.PARAMS / "compress.yaml").read_text())["models"]
    assert all(name in named for name in models)
