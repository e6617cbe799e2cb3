"""A training that fails: memory runs out, a checkpoint or the finished student is cut, the clock jumps."""

import random
import shutil
import subprocess
import sys
import time

import pytest
from test_finetune import PARAMS, kill_after, moved, run, told

from lib.core import paths
from lib.training.trainer import PackedTrainer
from lib.training.work import RUN, last_checkpoint

OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/training"]
from test_finetune import run
from toy_task import examples
from lib.training.work import StepLog
inner = StepLog.on_step_end
def limited(self, args, state, control, **given):
    if state.global_step == 2:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, used))
        held.append(bytearray(1 << 30))
    return inner(self, args, state, control, **given)
held = []
StepLog.on_step_end = limited
run(Path(sys.argv[1]), examples(20, 4, items=3), Path(sys.argv[2]), checkpoint_minutes=0)
"""


@pytest.fixture(scope="module")
def whole(start, by_context, tmp_path_factory):
    return run(start, by_context, tmp_path_factory.mktemp("whole") / "out", checkpoint_minutes=0)


def same(one, other):
    """Asserts that two trainings took the same steps to the same weights."""
    for a, b in zip(told(one), told(other), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert not moved(one.folder, other.folder)


@pytest.fixture
def interrupted(start, by_context, tmp_path, monkeypatch):
    kill_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    return tmp_path / "out.part" / "checkpoints"


def test_a_checkpoint_cut_at_any_byte_is_not_resumed_from(start, by_context, whole, interrupted):
    last, before = (interrupted / f"checkpoint-{step}" for step in (3, 2))
    assert last_checkpoint(interrupted) == str(last)
    rng, inside = random.Random(1), [p for p in last.iterdir() if p.stat().st_size]
    for path in inside:
        content = path.read_bytes()
        for cut in {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(3))}:
            path.write_bytes(content[:cut])
            assert last_checkpoint(interrupted) == str(before), (path.name, cut)
        path.write_bytes(content)
    assert last_checkpoint(interrupted) == str(last)
    chosen = rng.choice(inside)
    chosen.write_bytes(chosen.read_bytes()[:-1])
    same(whole, run(start, by_context, interrupted.parents[1] / "out", checkpoint_minutes=0))


def test_without_a_whole_checkpoint_the_training_begins_anew(start, by_context, whole, interrupted):
    for folder in interrupted.glob("checkpoint-*"):
        (folder / "optimizer.pt").write_bytes(b"")
    same(whole, run(start, by_context, interrupted.parents[1] / "out", checkpoint_minutes=0))


def test_a_finished_student_of_which_a_file_is_cut_is_trained_again(start, by_context, whole, tmp_path, monkeypatch):
    out, fits = tmp_path / "out", []
    shutil.copytree(whole.folder, out)
    inner = PackedTrainer.fit
    monkeypatch.setattr(PackedTrainer, "fit", lambda *given: fits.append(1) or inner(*given))
    run(start, by_context, out, checkpoint_minutes=0)
    assert not fits, "whole"
    for name in ("steps.csv", "student.json", "model.safetensors", RUN):
        (out / name).write_bytes((out / name).read_bytes()[:-1] if name != RUN else b'{"params"')
        run(start, by_context, out, checkpoint_minutes=0)
        assert len(fits) == 1, name
        fits.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_a_training_that_runs_out_of_memory_goes_on_with_more(start, by_context, whole, tmp_path):
    command = [sys.executable, "-c", OUT_OF_MEMORY, start, tmp_path / "out"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode and "MemoryError" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists() and last_checkpoint(tmp_path / "out.part" / "checkpoints")
    same(whole, run(start, by_context, tmp_path / "out", checkpoint_minutes=0))


def test_a_clock_that_jumps_does_not_change_a_training(start, by_context, whole, tmp_path, monkeypatch):
    clock, rng = time.time, random.Random(1)
    monkeypatch.setattr(time, "time", lambda: clock() + rng.uniform(-1e6, 1e6))
    result = run(start, by_context, tmp_path / "out", checkpoint_minutes=0)
    same(whole, result)
    assert 0 < result.seconds < 1e5 and result.steps == PARAMS["max_steps"]
