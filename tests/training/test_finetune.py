"""Fine-tuning on a tiny model of the real architecture: what should move moves, a killed training resumes."""

import json
import socket
from dataclasses import replace

import pandas as pd
import pytest
import torch
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.core.files import sha256
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.feed_forward import share
from lib.training import work
from lib.training.finetune import RowBatches, train
from lib.training.params import Finetuning, TrainingError
from lib.training.trainer import PackedTrainer, rate
from lib.training.work import RUN, WHOLE, StepLog, last_checkpoint

PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 4, "precision": "fp32"}
CLOCK = ("seconds", "tokens_per_s", "gpu", "peak_gb", "others_gb")


def run(start, by_context, out, **changes):
    return train({**PARAMS, "base": str(start), **changes}, TASK, by_context, out)


def moved(start, folder):
    """Names of the weights that differ."""
    old, new = (students.load(path).model.state_dict() for path in (start, folder))
    return {name for name in old if not torch.equal(old[name], new[name])}


def read_steps(path):
    return pd.read_csv(path).to_dict("records")


def told(result):
    """The lines of a training's log without what its clock says."""
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_steps(result.folder / "steps.csv")]


def kill_after(steps, monkeypatch):
    """Ends the training as Ctrl-C would, at the end of a step."""
    inner = StepLog.on_step_end

    def dying(self, args, state, control, **kwargs):
        if state.global_step > steps:
            raise KeyboardInterrupt
        return inner(self, args, state, control, **kwargs)

    monkeypatch.setattr(StepLog, "on_step_end", dying)


@pytest.mark.parametrize("changes", [{}, {"method": "lora", "lora_rank": 4}, {"precision": "bf16"}])
def test_all_weights_move(start, by_context, tmp_path, changes):
    result = run(start, by_context, tmp_path / "out", **changes)
    assert moved(start, result.folder) == set(students.load(start).model.state_dict())
    assert (result.steps, result.stopped) == (4, "")
    assert not (tmp_path / "out.part").exists()


def test_loss_falls_and_the_log_says_so(start, by_context, tmp_path):
    result = run(start, by_context, tmp_path / "out", max_steps=20, rows_per_step=2, rows_at_once=2)
    rows = read_steps(result.folder / "steps.csv")
    assert [r["step"] for r in rows] == list(range(1, 21))
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert sum(r["tokens"] for r in rows) == result.tokens
    assert max(r["lr"] for r in rows) == pytest.approx(PARAMS["learning_rate"], rel=0.01)
    assert rows[-1]["lr"] < rows[10]["lr"]
    info = json.loads((result.folder / "student.json").read_text())
    assert info["training"]["steps"] == 20 and info["training"]["left_out"] == 0
    epochs = 40 / info["training"]["epoch_rows"]
    assert result.epochs.endswith(f"rows; the training took {epochs:.1f} epochs.")
    assert str(tmp_path.parent) not in json.dumps(info)


def test_a_start_with_random_weights_has_nothing_of_the_base(start, by_context, tmp_path):
    results = [
        run(start, by_context, tmp_path / str(seed), random_start=True, max_steps=1, seed=seed) for seed in (1, 2)
    ]
    one, two = (students.load(r.folder).model for r in results)
    assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True) if a.dim() > 1)
    shapes = [
        {k: v for k, v in m.config.to_dict().items() if k not in ("_name_or_path", "use_cache")} for m in (one, two)
    ]
    base = students.load(start).model.config.to_dict()
    assert all(shape == {k: base[k] for k in shape} for shape in shapes)


def test_the_loss_of_requests_is_added_to_that_of_answers(start, by_context, tmp_path):
    results = [run(start, by_context, tmp_path / str(w), language_loss=w, max_steps=1) for w in (0.0, 0.5, 1.0)]
    losses = [read_steps(r.folder / "steps.csv")[0]["loss"] for r in results]
    assert losses[2] > losses[1] and losses[1] != pytest.approx(losses[0], rel=1e-3)
    assert len({read_steps(r.folder / "steps.csv")[0]["tokens"] for r in results}) == 1


def test_accumulated_rows_equal_rows_at_once(start, by_context, tmp_path):
    results = [run(start, by_context, tmp_path / f"{n}", rows_per_step=4, rows_at_once=n, max_steps=2) for n in (1, 4)]
    one, other = ([row["loss"] for row in told(result)] for result in results)
    assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize("changes", [{}, {"method": "lora", "lora_rank": 4}])
def test_an_interrupted_training_resumes_where_it_was(start, by_context, tmp_path, changes, monkeypatch):
    whole = run(start, by_context, tmp_path / "whole", checkpoint_minutes=0, **changes)
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, tmp_path / "out", checkpoint_minutes=0, **changes)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    again = run(start, by_context, tmp_path / "out", checkpoint_minutes=0, **changes)
    for one, other in zip(told(whole), told(again), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    old, new = (students.load(r.folder).model.state_dict() for r in (whole, again))
    for name in old:
        torch.testing.assert_close(old[name], new[name], atol=1e-4, rtol=1e-3)


def test_a_student_of_shared_layers_trains_as_one_and_resumes(by_context, tmp_path, monkeypatch):
    student = tiny_student(3)
    share(student.model, 3)
    start = students.save(student, tmp_path / "start")
    whole = run(start, by_context, tmp_path / "whole", checkpoint_minutes=0)
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    again = run(start, by_context, tmp_path / "out", checkpoint_minutes=0)
    old, new = (students.load(r.folder).model for r in (whole, again))
    for name, weight in old.state_dict().items():
        torch.testing.assert_close(weight, new.state_dict()[name], atol=1e-4, rtol=1e-3)
    assert len({layer.mlp for layer in new.model.layers}) == 1
    assert not torch.equal(new.model.layers[2].mlp.up_proj.weight, student.model.model.layers[0].mlp.up_proj.weight)


def test_a_checkpoint_cut_off_by_a_kill_is_not_used(tmp_path):
    for step, whole in ((2, True), (10, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"1234")
        if whole:
            (folder / WHOLE).write_text(sha256(folder))
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    for cut in range(4):
        (tmp_path / "checkpoint-10" / "weights").write_bytes(b"1234"[:cut])
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert last_checkpoint(tmp_path / "absent") is None


def test_work_of_other_parameters_or_data_is_not_resumed(start, by_context, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="learning_rate.*delete this folder"):
        run(start, by_context, tmp_path / "out", checkpoint_minutes=0, learning_rate=1.0e-3)
    elsewhere = [[replace(e, context={"items": e.context["items"][::-1]}) for e in group] for group in by_context]
    for other in (by_context[:-1], elsewhere):
        with pytest.raises(TrainingError, match="the examples"):
            run(start, other, tmp_path / "out", checkpoint_minutes=0)
    with pytest.raises(TrainingError, match="another start;"):
        other = saved_student(tmp_path / start.name, seed=3)
        run(other, by_context, tmp_path / "out", checkpoint_minutes=0)


def test_a_finished_training_is_not_repeated(start, by_context, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run(start, by_context, out)
    weights, fit = out / "model.safetensors", PackedTrainer.fit
    fits = []
    monkeypatch.setattr(PackedTrainer, "fit", lambda *given: fits.append(1) or fit(*given))
    again = run(start, by_context, out)
    assert not fits and (again.folder, again.steps, again.tokens) == (out, first.steps, first.tokens)
    assert (again.loss, again.seconds) == pytest.approx((first.loss, first.seconds), abs=1e-3)
    run(start, by_context, out, learning_rate=1.0e-3)
    run(start, by_context[:-1], out, learning_rate=1.0e-3)
    weights.write_bytes(weights.read_bytes()[:-1])
    run(start, by_context[:-1], out, learning_rate=1.0e-3)
    monkeypatch.setattr("lib.training.work._code", lambda: "other")
    run(start, by_context[:-1], out, learning_rate=1.0e-3)
    (out / RUN).unlink()
    run(start, by_context[:-1], out, learning_rate=1.0e-3)
    assert len(fits) == 5


def test_workers_make_the_rows_that_one_process_makes(start, by_context, tmp_path):
    one, two = (run(start, by_context, tmp_path / f"{n}", workers=n, max_steps=2) for n in (0, 2))
    one, two = ([row["tokens"] for row in told(result)] for result in (one, two))
    assert one == two


def test_a_step_that_does_not_fit_the_gpu_ends_before_anything_is_on_it(start, by_context, tmp_path, monkeypatch):
    there = {"is_available": True, "mem_get_info": (1e6, 5e6)}
    for name, value in there.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    with pytest.raises(TrainingError, match=r"a step needs about \S+ GB, and the GPU has 0.0 GB: lower rows_at_once"):
        run(start, by_context, tmp_path / "out", rows_per_step=4, rows_at_once=4)
    assert not (tmp_path / "out").exists()


def test_a_step_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    params = Finetuning.read({**PARAMS, "rows_per_step": 4, "rows_at_once": 4}, "training")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match=r"rows_per_step: 4 is no multiple of rows_at_once \(4\) times 2 processes"):
        PackedTrainer(params, tiny_student(), len, tmp_path, (4, 4))


def test_a_loss_that_is_no_number_ends_with_a_remedy(tmp_path, by_context):
    student = tiny_student()
    student.model.model.norm.weight.data.fill_(float("nan"))
    broken = students.save(student, tmp_path / "broken")
    with pytest.raises(TrainingError, match="step 1: the loss is nan; lower learning_rate"):
        run(broken, by_context, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_time_cap_stops_the_training_and_the_result_says_so(start, by_context, tmp_path):
    result = run(start, by_context, tmp_path / "out", max_steps=1000, max_minutes=1.0e-6)
    assert (result.steps, result.planned) == (1, 1000)
    assert result.stopped == "stopped by the time cap after 1 of 1,000 steps"
    assert students.is_student(str(result.folder))


def test_the_rate_warms_up_and_decays():
    factors = [rate(step / 100, 0.1, 0.005) for step in range(101)]
    assert 0 < factors[0] < factors[5] < factors[10] == pytest.approx(1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rat": 1.0e-3}, "unknown parameter 'learning_rat'; did you mean 'learning_rate'"),
        ({"learning_rate": "5e-4"}, "learning_rate: .* got '5e-4'"),
        ({"max_steps": 0}, "max_steps: .* greater than or equal to 1"),
        ({"method": "qlora"}, "method: .*'full' or 'lora'"),
        ({"rows_per_step": 3, "rows_at_once": 2}, "rows_at_once: 2 does not divide rows_per_step"),
        ({"compile": "all"}, "compile: "),
        ({"qat": "q3"}, "qat: "),
        ({"qat": "q4_0", "method": "lora"}, "qat: needs method: full"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(ParamsError, match=f"training: {message}"):
        Finetuning.read({**PARAMS, **wrong}, "training")


def test_two_processes_train_what_one_does(tmp_path, by_context):
    """Gradients are synchronised: the loss calls the model that the trainer wrapped."""
    context = torch.multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workers = [context.Process(target=_process, args=(tmp_path, rank, 2, port)) for rank in range(2)]
    for worker in workers:
        worker.start()
    alone = _trained(tmp_path / "alone", by_context)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, weight in alone.items():
        assert torch.equal(shares[0][name], shares[1][name]), name
        torch.testing.assert_close(shares[0][name], weight, atol=1e-4, rtol=1e-3)


def _process(folder, rank, world, port):
    import os

    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # of the process that forked this one
    address = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
    }
    os.environ |= {name: str(value) for name, value in address.items()} | {"ACCELERATE_USE_CPU": "true"}
    torch.save(_trained(folder / "shared", examples(20, 4, items=3)), folder / f"{rank}.pt")


def _trained(work, by_context):
    params = Finetuning.read({**PARAMS, "max_steps": 2, "rows_per_step": 4}, "training")
    student = tiny_student(layers=2)
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    PackedTrainer(params, student, RowBatches(params, TASK, student, by_context), work, (4, 1)).train()
    return student.model.state_dict()


def test_a_step_says_what_the_gpu_holds_and_what_others_hold(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert work.gpu() == {"gpu": None, "peak_gb": None, "others_gb": None}
    given = {"is_available": True, "mem_get_info": (4e9, 16e9), "max_memory_allocated": 7e9, "memory_reserved": 8e9}
    for name, value in (given | {"get_device_name": "A GPU"}).items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert work.gpu() == {"gpu": "A GPU", "peak_gb": 7.0, "others_gb": 4.0}
