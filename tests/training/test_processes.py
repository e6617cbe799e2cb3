"""Trainings in several processes, by ``accelerate launch`` with gloo: what they train, how they fail and resume."""

import os
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState
from test_finetune import PARAMS, kill_after, read_steps, told
from test_reinforce import PARAMS as REINFORCEMENT
from test_reinforce import start as taught  # noqa: F401
from toy_model import saved_student
from toy_task import TASK, examples

from lib.core import files, paths
from lib.core.params import ParamsError
from lib.model import student as students
from lib.training import distill, finetune, launch, monitor, reinforce, work
from lib.training.params import Finetuning, TrainingError
from lib.training.trainer import DIVIDED
from lib.training.work import StepLog, last_checkpoint

TWO = {**PARAMS, "rows_per_step": 4, "checkpoint_minutes": 0, "processes": 2}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """The processes import this module, too."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parent, paths.ROOT))))


@pytest.fixture(scope="module")
def alone(start, by_context, tmp_path_factory):
    return finetune.train(params(start, processes=1), TASK, by_context, tmp_path_factory.mktemp("alone") / "out")


def params(start, **changes):
    return Finetuning.read({**TWO, "base": str(start), **changes}, "training")


def same(one, other):
    """Asserts that two trainings took the same steps, to rounding."""
    for a, b in zip(told(one), told(other), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    old, new = (students.load(result.folder).model.state_dict() for result in (one, other))
    for name in old:
        torch.testing.assert_close(old[name], new[name], atol=2e-4, rtol=2e-3)


def killed(given, task, by_context, out, train=finetune.train):
    """The training in a process, the last of which is killed in its third step."""
    inner = StepLog.on_step_end

    def dying(self, args, state, control, **more):
        if state.global_step == 3 and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(self, args, state, control, **more)

    StepLog.on_step_end = dying
    return train(given, task, by_context, out)


def hanging(given, task, by_context, out):
    """The training in a process, the last of which does not come to its third step."""
    work.PATIENCE, inner = timedelta(seconds=20), StepLog.on_step_end

    def waiting(self, args, state, control, **more):
        while state.global_step == 2 and args.process_index == args.world_size - 1:
            time.sleep(1)
        return inner(self, args, state, control, **more)

    StepLog.on_step_end = waiting
    return finetune.train(given, task, by_context, out)


def divided(given, task, by_context, out):
    """By FSDP2 with gloo: accelerate divides no weights on a CPU, unless it takes each process for one with a GPU."""
    inner = AcceleratorState.__init__

    def with_gpus(self, *given, **more):
        if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        inner(self, *given, **more)

    AcceleratorState.__init__ = with_gpus
    return finetune.train(given, task, by_context, out)


def killed_divided(given, task, by_context, out):
    return killed(given, task, by_context, out, divided)


def differing(given, task, by_context, out):
    changes = {"learning_rate": 1.0e-3} if os.environ["RANK"] == "1" else {}
    return finetune.train(given.model_copy(update=changes), task, by_context, out)


def test_killed_with_two_processes_and_resumed_with_one(start, by_context, alone, tmp_path):
    out, work = tmp_path / "out", tmp_path / "out.part"
    with pytest.raises(TrainingError, match=r"process 1 was ended by SIGKILL.*goes on from its last checkpoint"):
        launch.across(killed, params(start), TASK, by_context, out)
    check_resumed(alone, start, by_context, out, pd.read_csv(work / "steps.csv").head(2), processes=1)


def test_killed_with_one_process_and_resumed_with_two(start, by_context, alone, tmp_path, monkeypatch):
    out, work = tmp_path / "out", tmp_path / "out.part"
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        kill_after(2, dying)
        finetune.train(params(start, processes=1), TASK, by_context, out)
    steps = pd.read_csv(work / "steps.csv").head(2)
    with socket.socket() as taken:  # torch's own port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 29500))
        taken.listen()
        again = check_resumed(alone, start, by_context, out, steps, processes=2)
    assert (again.steps, again.planned, again.stopped) == (4, 4, "")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    one, two = (files.read_json(r.folder / "student.json") for r in (alone, again))
    assert one == two
    assert finetune.train(params(start, processes=3), TASK, by_context, out).steps == 4, "not repeated"


def check_resumed(alone, start, by_context, out, steps, processes):
    """The training goes on from step 2 to where one that nothing interrupted ends."""
    resumed = last_checkpoint(out.with_name("out.part") / "checkpoints")
    assert resumed and resumed.endswith("checkpoint-2") and not out.exists()
    again = finetune.train(params(start, processes=processes), TASK, by_context, out)
    same(alone, again)
    assert pd.read_csv(again.folder / "steps.csv").head(2).equals(steps), "before the kill, and not trained again"
    return again


def test_divided_weights_killed_with_two_processes_and_resumed_with_three(start, by_context, tmp_path, monkeypatch):
    out, work, fsdp = tmp_path / "out", tmp_path / "out.part", {"distributed_type": "FSDP", "rows_per_step": 6}
    monkeypatch.setattr(launch, "check_gpus", lambda *_: None)
    with pytest.raises(TrainingError, match=r"process 1 was ended by SIGKILL"):
        launch.across(killed_divided, params(start, **fsdp), TASK, by_context, out)
    saved = last_checkpoint(work / "checkpoints")
    assert saved and (Path(saved) / DIVIDED).is_file()
    with pytest.raises(TrainingError, match=r"checkpoint-2: was written with distributed_type: FSDP: set it"):
        finetune.train(params(start, rows_per_step=6, processes=1), TASK, by_context, out)
    steps = pd.read_csv(work / "steps.csv").head(2)
    launch.across(divided, params(start, **fsdp, processes=3), TASK, by_context, out)
    assert pd.read_csv(out / "steps.csv").head(2).equals(steps)
    plain = finetune.train(params(start, rows_per_step=6, processes=1), TASK, by_context, tmp_path / "plain")
    same(plain, launch.Result.read(out, 4))
    assert files.read_json(out / "student.json") == files.read_json(plain.folder / "student.json")


def test_fsdp_needs_gpus_and_whole_weights_elsewhere(start, by_context, tmp_path):
    with pytest.raises(ParamsError, match="distributed_type: FSDP: set processes to 2 or more, method: full"):
        params(start, distributed_type="FSDP", qat="q4_0")
    with pytest.raises(ParamsError, match="update: zo-sgd: needs distributed_type: MULTI_GPU"):
        params(start, distributed_type="FSDP", processes=2, update="zo-sgd")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="FSDP needs GPUs, and this machine has none: use MULTI_GPU"):
            finetune.train(params(start, distributed_type="FSDP"), TASK, by_context, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_one_that_hangs_ends_the_others_after_their_patience(start, by_context, tmp_path):
    with pytest.raises(TrainingError, match=r"did not answer for 0:00:20: .*start the training again; it resumes"):
        launch.across(hanging, params(start), TASK, by_context, tmp_path / "out")
    assert last_checkpoint(tmp_path / "out.part" / "checkpoints") and not (tmp_path / "out").exists()


def test_processes_that_disagree_are_told_apart(start, by_context, tmp_path):
    with pytest.raises(TrainingError, match="the 2 processes disagree on learning_rate: start all with the same"):
        launch.across(differing, params(start), TASK, by_context, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_distillation_and_reinforcement(start, taught, by_context, tmp_path):  # noqa: F811
    assistant = saved_student(tmp_path / "assistant", layers=2, seed=1)
    given = {**TWO, "max_steps": 2}
    results = [
        distill.train({**given, "processes": n}, TASK, assistant, start, by_context, tmp_path / f"{n}", by_context[:2])
        for n in (1, 2)
    ]
    same(*results)
    assert results[0].kl_before == results[1].kl_before > results[1].kl_after > 0
    few = examples(10, 4, seed=5, items=2)
    given = {**REINFORCEMENT, "groups_at_once": 2, "max_steps": 2}
    result = reinforce.train({**given, "processes": 2}, TASK, taught, few, few[0], tmp_path / "rl")
    log = read_steps(result.folder / "steps.csv")
    assert [row["step"] for row in log] == [1, 2] and 0 < result.kept <= result.seen
    assert all(0 <= row["reward"] <= 1 and row["answer_tokens"] > 0 for row in log)
    assert {line["step"] for line in monitor.read(result.folder / "guards.csv")} == {0, 2}
