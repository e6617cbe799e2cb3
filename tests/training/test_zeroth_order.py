"""Tuning without back-propagation: its slopes are those of autograd, and it takes its steps through the one trainer."""

import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from test_finetune import kill_after, moved, read_steps, run, told
from test_reinforce import run as reinforced
from test_reinforce import start as taught  # noqa: F401
from toy_task import examples

from lib.core.params import ParamsError
from lib.model import student as students
from lib.training.params import Finetuning, Reinforcement
from lib.training.zeroth_order import ZerothOrder, directions, shift

KINDS = ["zo-sgd", "zo-sign", "zo-adam", "forward"]


@pytest.fixture
def small():
    """A model of 37 weights in fp64, its loss, and the gradient of that by back-propagation."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2), torch.nn.Tanh()).double()
    inputs, wanted = torch.randn(16, 5, dtype=torch.float64), torch.randint(2, (16,))

    def loss():
        return F.cross_entropy(model(inputs), wanted)

    gradients = torch.autograd.grad(loss(), [*model.parameters()])
    return model, loss, gradients


def optimiser(model, update, **changes):
    params = {"max_steps": 1, "update": update, "learning_rate": 0.1, "perturbation": 1.0e-4, **changes}
    return ZerothOrder(model, Finetuning.read(params, "training"))


@pytest.mark.parametrize("update", ["zo-sgd", "forward"])
def test_a_slope_is_the_directional_derivative(small, update):
    model, loss, gradients = small
    made = optimiser(model, update)
    for count in range(20):
        made.param_groups[0]["count"], made.slope = count, 0.0
        found = made.look(loss)
        parts = directions([*model.parameters()], made.seed)
        wanted = sum(float((g * z).sum()) for g, z in zip(gradients, parts, strict=True))
        assert made.slope == pytest.approx(wanted, rel=1e-6 if update == "zo-sgd" else 1e-10)
        assert float(found) == pytest.approx(float(loss().detach()), rel=1e-7)


def test_slopes_times_directions_are_the_gradient_on_average(small):
    model, loss, gradients = small
    made, looks = optimiser(model, "zo-sgd"), 4_000
    total = [torch.zeros_like(g) for g in gradients]
    for count in range(looks):
        made.param_groups[0]["count"], made.slope = count, 0.0
        made.look(loss)
        for sums, z in zip(total, directions([*model.parameters()], made.seed), strict=True):
            sums += made.slope * z / looks
    mean, wanted = (torch.cat([part.flatten() for part in parts]) for parts in (total, gradients))
    error = float((mean - wanted).norm() / wanted.norm())
    expected = math.sqrt((len(wanted) + 1) / looks)  # of the mean of g.z z, whose covariance is |g|^2 I + g g'
    assert 0.5 * expected < error < 1.5 * expected
    assert float(F.cosine_similarity(mean, wanted, 0)) > 0.99


def test_perturbed_weights_are_themselves_again(small):
    model, loss, _ = small
    before = [w.detach().clone() for w in model.parameters()]
    made = optimiser(model, "zo-sgd")
    made.look(loss)
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(old, new.detach(), atol=1e-15, rtol=1e-14)
    made.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(w.grad is None for w in model.parameters()) and not made.state


def test_steps_are_those_of_their_rules(small):
    model, loss, _ = small
    weights = [*model.parameters()]
    for update in KINDS:
        made = optimiser(model, update)
        for count in range(3):
            made.look(loss)
            slope, seed, before = made.slope, made.seed, [w.detach().clone() for w in weights]
            made.step()
            for old, new, z in zip(before, weights, directions(weights, seed), strict=True):
                if update == "zo-adam" and count:
                    continue  # of the first step Adam's rule is the sign
                wanted = {"zo-sign": math.copysign(1, slope) * z, "zo-adam": (slope * z).sign()}.get(update, slope * z)
                torch.testing.assert_close(new.detach(), old - 0.1 * wanted, atol=1e-5, rtol=1e-5)


def test_the_same_steps_can_be_taken_elsewhere_from_seeds_alone(small):
    model, loss, _ = small
    copy = [w.detach().clone() for w in model.parameters()]
    made = optimiser(model, "zo-sgd")
    for _ in range(5):
        made.look(loss)
        made.step()
    assert len(made.taken) == 5 and len({seed for seed, _ in made.taken}) == 5
    for seed, size in made.taken:
        shift(copy, seed, size)
    for mine, theirs in zip(copy, model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.detach(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("update", KINDS)
def test_the_trainer_takes_such_steps(start, by_context, tmp_path, update, method):
    changes = {"method": method, "lora_rank": 4, "learning_rate": 1.0e-4, "max_steps": 2}
    result = run(start, by_context, tmp_path / "out", update=update, **changes)
    plain = run(start, by_context, tmp_path / "plain", **changes)
    every = {name for name in students.load(start).model.state_dict() if "norm" not in name}
    assert every <= moved(start, result.folder), "norms are near 1, where fp16 rounds such steps away"
    one, other = (read_steps(r.folder / "steps.csv") for r in (result, plain))
    assert [row["tokens"] for row in one] == [row["tokens"] for row in other], "a batch counts once"
    assert one[0]["loss"] == pytest.approx(other[0]["loss"], rel=1e-2)
    assert students.load(result.folder).info["training"]["update"] == update
    assert "update" not in students.load(plain.folder).info["training"], "records of before stay what they were"


def test_the_loss_falls(start, by_context, tmp_path):
    settings = {"rows_per_step": 2, "rows_at_once": 2, "learning_rate": 2.0e-5, "max_steps": 60}
    rows = read_steps(run(start, by_context, tmp_path / "out", update="zo-sgd", **settings).folder / "steps.csv")
    assert sum(r["loss"] for r in rows[-10:]) < sum(r["loss"] for r in rows[:10])


def test_accumulated_rows_have_one_direction(start, by_context, tmp_path):
    changes = {"update": "zo-sgd", "learning_rate": 1.0e-5, "rows_per_step": 4, "max_steps": 2}
    one, four = (run(start, by_context, tmp_path / f"{n}", rows_at_once=n, **changes) for n in (1, 4))
    assert [r["loss"] for r in told(one)] == pytest.approx([r["loss"] for r in told(four)], rel=1e-3)


def test_an_interrupted_training_resumes_where_it_was(start, by_context, tmp_path, monkeypatch):
    changes = {"update": "zo-adam", "learning_rate": 1.0e-4, "checkpoint_minutes": 0}
    whole = run(start, by_context, tmp_path / "whole", **changes)
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, tmp_path / "out", **changes)
    monkeypatch.undo()
    again = run(start, by_context, tmp_path / "out", **changes)
    for one, other in zip(told(whole), told(again), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert not moved(whole.folder, again.folder)


def test_the_reward_itself_is_raised(taught, tmp_path):  # noqa: F811
    asked, dev = examples(10, 4, seed=5, items=2), examples(1, 3, seed=6, items=2)[0]
    changes = {"update": "zo-sgd", "learning_rate": 1.0e-5, "max_steps": 2, "groups_at_once": 2}
    result = reinforced(taught, asked, dev, tmp_path / "out", **changes)
    rows = pd.read_csv(result.folder / "steps.csv")
    assert rows["reward"].between(0, 1).all() and (1 - rows["loss"]).tolist() == pytest.approx(
        [*rows["reward"]], abs=0.3
    )
    assert (rows["tokens"] > 0).all() and result.steps == 2


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (Finetuning, {"update": "zo"}, "update: .*'zo-sgd'"),
        (Finetuning, {"update": "zo-sgd", "qat": "q4_0"}, "update: zo-sgd: needs qat: ''"),
        (Finetuning, {"update": "forward", "compile": "layers"}, "forward compile: ''"),
        (Finetuning, {"perturbation": 0.0}, "perturbation: .* greater than 0"),
        (Reinforcement, {"update": "forward"}, "update: forward: a reward has no slope"),
    ],
)
def test_wrong_parameters_are_named(kind, wrong, message):
    with pytest.raises(ParamsError, match=message):
        kind.read({"max_steps": 1, **wrong}, "training")
