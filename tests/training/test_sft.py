"""Fine-tuning on a tiny model of the real architecture: what should move moves, a killed training goes on."""

import json
import shutil

import pytest
import torch
from toy_model import saved_student
from toy_task import TASK, examples

from lib.compression.prune import PruneError
from lib.model import student as students
from lib.training.finetune import train
from lib.training.layers import prepare, restore
from lib.training.log import WHOLE, last_checkpoint, read_steps
from lib.training.params import Schedule, SftParams, TrainingError

PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 6, "precision": "fp32"}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("start") / "student")


@pytest.fixture(scope="module")
def groups():
    return examples(30, 6, items=3)


def run(start, groups, out, **changes):
    return train({**PARAMS, "base": str(start), **changes}, TASK, groups, out)


def moved(start, folder):
    """Names of the weights that differ."""
    old, new = (students.load(path).model.state_dict() for path in (start, folder))
    return {name for name in old if not torch.equal(old[name], new[name])}


@pytest.mark.parametrize(
    ("changes", "frozen", "still"),
    [
        ({}, (), ()),
        ({"freeze_below": 2}, ("layers.0.", "layers.1."), ()),
        ({"method": "lora", "lora_rank": 4}, (), ()),
        ({"method": "lora", "lora_rank": 4, "freeze_below": 3}, ("layers.0.", "layers.1.", "layers.2."), ()),
        ({"precision": "bf16"}, (), ()),
    ],
)
def test_trainable_weights_move_and_frozen_ones_do_not(start, groups, tmp_path, changes, frozen, still):
    result = run(start, groups, tmp_path / "out", **changes)
    names = set(students.load(start).model.state_dict())
    assert moved(start, result.folder) == {n for n in names if not any(f in n for f in frozen)}
    assert result.steps == 6
    assert not (tmp_path / "out.part").exists()


def test_loss_falls_and_the_log_says_so(start, groups, tmp_path):
    result = run(start, groups, tmp_path / "out", max_steps=40, rows_per_step=2, rows_at_once=2)
    rows = read_steps(result.folder / "steps.csv")
    assert [r["step"] for r in rows] == list(range(1, 41))
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert sum(r["tokens"] for r in rows) == result.tokens
    assert max(r["lr"] for r in rows) <= PARAMS["learning_rate"]
    assert rows[-1]["lr"] < rows[20]["lr"]
    info = json.loads((result.folder / "student.json").read_text())
    assert info["training"]["steps"] == 40
    assert str(tmp_path.parent) not in json.dumps(info)


def test_accumulated_rows_equal_rows_at_once(start, groups, tmp_path):
    losses = []
    for at_once in (1, 4):
        result = run(start, groups, tmp_path / f"out{at_once}", rows_per_step=4, rows_at_once=at_once)
        losses.append([r["loss"] for r in read_steps(result.folder / "steps.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("changes", [{}, {"method": "lora", "lora_rank": 4}])
def test_an_interrupted_training_goes_on_where_it_was(start, groups, tmp_path, changes, monkeypatch):
    whole = run(start, groups, tmp_path / "whole", checkpoint_minutes=0, **changes)
    kill_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, groups, tmp_path / "out", checkpoint_minutes=0, **changes)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    again = run(start, groups, tmp_path / "out", checkpoint_minutes=0, **changes)
    assert again.steps == whole.steps == 6
    one, other = (read_steps(r.folder / "steps.csv") for r in (whole, again))
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in other], rel=1e-3)
    assert [r["lr"] for r in one] == pytest.approx([r["lr"] for r in other])
    old, new = (students.load(r.folder).model.state_dict() for r in (whole, again))
    for name in old:
        torch.testing.assert_close(old[name], new[name], atol=1e-4, rtol=1e-3)


def test_a_checkpoint_cut_off_by_a_kill_is_not_used(tmp_path):
    for step, whole in ((2, True), (10, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / WHOLE).touch()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path / "absent") is None


def kill_after(steps, monkeypatch):
    """Ends the process's training as Ctrl-C would, at the end of a step."""
    from lib.training.log import StepLog

    whole = StepLog.on_step_end

    def dying(self, args, state, control, **kwargs):
        if state.global_step > steps:
            raise KeyboardInterrupt
        return whole(self, args, state, control, **kwargs)

    monkeypatch.setattr(StepLog, "on_step_end", dying)


def test_work_of_other_parameters_is_not_taken_up(start, groups, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, groups, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="learning_rate.*delete this folder"):
        run(start, groups, tmp_path / "out", checkpoint_minutes=0, learning_rate=1.0e-3)
    with pytest.raises(TrainingError, match="the examples"):
        run(start, groups[:-1], tmp_path / "out", checkpoint_minutes=0)
    other = saved_student(tmp_path / start.name, seed=3)
    with pytest.raises(TrainingError, match="another start;"):
        run(other, groups, tmp_path / "out", checkpoint_minutes=0)


def test_work_without_a_checkpoint_is_begun_anew(start, groups, tmp_path):
    with pytest.raises(TrainingError, match="freeze_below"):
        run(start, groups, tmp_path / "out", freeze_below=4)
    assert run(start, groups, tmp_path / "out").steps == 6


def test_a_loss_that_is_no_number_ends_with_a_remedy(start, groups, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(start, broken)
    student = students.load(broken)
    student.model.model.norm.weight.data.fill_(float("nan"))
    students.save(student, broken)
    with pytest.raises(TrainingError, match="step 1: the loss is nan; lower learning_rate"):
        run(broken, groups, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_time_ends_the_training_and_the_rate_decays_over_it(start, groups, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.training.finetune.MOST_STEPS_PER_MINUTE", 60_000)  # more than any machine makes
    result = run(start, groups, tmp_path / "out", max_steps=0, max_minutes=0.03)
    rows = read_steps(result.folder / "steps.csv")
    assert result.steps > 2
    assert rows[-1]["lr"] < 0.2 * max(r["lr"] for r in rows)
    assert result.seconds >= 1.8 and rows[-1]["seconds"] == pytest.approx(result.seconds, rel=0.5)


def test_epochs_count_rows(start, groups, tmp_path):
    steps = [run(start, groups, tmp_path / "out", max_steps=0, epochs=e).steps for e in (1, 2)]
    assert steps[1] >= 2 * steps[0] - 1 > 1


def test_restored_lora_model_is_the_trained_one(start):
    student = students.load(start)
    prepare(student.model, SftParams.read({"max_steps": 1, "method": "lora", "freeze_below": 1}))
    for name, weight in student.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.tensor([[3, 9, 27]])
    with torch.no_grad():
        adapted = student.model(ids).logits
        restore(student.model)
        torch.testing.assert_close(student.model(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    assert set(student.model.state_dict()) == set(students.load(start).model.state_dict())


def test_schedule_warms_up_and_decays():
    schedule = Schedule(steps=100, minutes=0, warmup=0.1)
    factors = [schedule(step) for step in range(101)]
    assert factors[0] < factors[5] < factors[10] == pytest.approx(1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rat": 1.0e-3}, "unknown key 'learning_rat'"),
        ({"learning_rate": "5e-4"}, "learning_rate='5e-4'"),
        ({"max_steps": 0}, "max_minutes"),
        ({"method": "qlora"}, "method='qlora'"),
        ({"rows_per_step": 3, "rows_at_once": 2}, "rows_at_once=2"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(TrainingError, match=message):
        SftParams.read({**PARAMS, **wrong})


def test_too_many_frozen_layers_are_refused(start, groups, tmp_path):
    with pytest.raises(TrainingError, match="freeze_below"):
        run(start, groups, tmp_path / "out", freeze_below=4)


def test_a_base_may_begin_with_fewer_channels(groups, tmp_path):
    result = run(saved_student(tmp_path / "start", layers=2), groups, tmp_path / "out", channels=64)
    assert students.load(result.folder).model.config.intermediate_size == 64
    with pytest.raises(PruneError, match="channels"):
        run(saved_student(tmp_path / "start", layers=2), groups, tmp_path / "other", channels=4096)
