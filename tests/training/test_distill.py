"""Distillation on tiny models of the real architecture: the student comes nearer to an assistant that stays still."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import trl
from test_sft import kill_after, moved
from toy_model import saved_student, tiny_base
from toy_task import TASK, examples

from lib.core.files import sha256
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import StudentError
from lib.training.distill import ACROSS, distill, measure
from lib.training.distill_trainer import DistillParams
from lib.training.finetune import train
from lib.training.log import read_steps
from lib.training.packing import Packer
from lib.training.params import SftParams, TrainingError

PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 6, "precision": "fp32"}


@pytest.fixture(scope="module")
def groups():
    return examples(30, 6, items=3)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory, groups):
    folder = tmp_path_factory.mktemp("assistant")
    start = saved_student(folder / "start", layers=3, seed=1)
    settings = {**PARAMS, "base": str(start), "max_steps": 40, "rows_per_step": 2, "rows_at_once": 2}
    return train(settings, TASK, groups, folder / "assistant").folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("start") / "student", layers=2)


def run(assistant, start, groups, out, held_out=(), **changes):
    return distill({**PARAMS, **changes}, TASK, assistant, start, groups, out, held_out)


def losses(result):
    return [row["loss"] for row in read_steps(result.folder / "steps.csv")]


@pytest.mark.parametrize(
    "changes",
    [
        {"ce_weight": 0.0},
        {"ce_weight": 0.0, "divergence": "reverse"},
        {"ce_weight": 0.0, "divergence": "jsd", "top_k": 0},
        {"ce_weight": 0.3, "on_policy": 0.5, "tail_weight": 10.0},
    ],
)
def test_it_comes_nearer_to_the_assistant_on_what_it_has_not_seen(assistant, start, groups, tmp_path, changes):
    result = run(assistant, start, groups[:24], tmp_path / "out", groups[24:], max_steps=30, **changes)
    assert result.kl_after < 0.7 * result.kl_before
    again = measure(TASK, students.load(assistant), students.load(result.folder), groups[24:], DistillParams(**PARAMS))
    assert again == pytest.approx(result.kl_after, rel=1e-4)
    rows = read_steps(result.folder / "steps.csv")
    assert rows[-1]["divergence"] < rows[0]["divergence"]
    sampled = sum(row["sampled"] for row in rows) / len(rows)
    assert 0.3 < sampled < 0.7 if "on_policy" in changes else sampled == 0
    assert sum(row["tokens"] for row in rows) == result.tokens


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({"on_policy": 0.5}, ()),
        ({"freeze_below": 1}, ("layers.0.",)),
        ({"method": "lora", "lora_rank": 4, "ce_weight": 0.0}, ()),
        ({"precision": "bf16", "on_policy": 0.3}, ()),
    ],
)
def test_trainable_weights_move_and_the_assistant_does_not(assistant, start, groups, tmp_path, changes, frozen):
    before = sha256(assistant), sha256(start)
    result = run(assistant, start, groups, tmp_path / "out", **changes)
    names = set(students.load(start).model.state_dict())
    assert moved(start, result.folder) == {n for n in names if not any(f in n for f in frozen)}
    assert (sha256(assistant), sha256(start)) == before
    assert not (tmp_path / "out.part").exists()
    facts = json.loads((result.folder / "student.json").read_text())["training"]
    assert facts["steps"] == result.steps == 6
    assert (facts["assistant"], facts["student"]) == before


def test_the_assistants_weights_are_untouched_in_memory(assistant, start, groups, tmp_path, monkeypatch):
    import lib.training.distill as module

    seen = []
    inner = module.load_pair
    monkeypatch.setattr(module, "load_pair", lambda *given: seen.extend(inner(*given)) or tuple(seen))
    run(assistant, start, groups, tmp_path / "out", on_policy=0.3)
    old = students.load(assistant).model.state_dict()
    assert all(torch.equal(old[name], weight) for name, weight in seen[0].model.state_dict().items())
    assert not any(weight.requires_grad for weight in seen[0].model.parameters())


def test_eight_rows_at_once_equal_eight_in_turn(assistant, start, groups, tmp_path):
    turns = {"max_steps": 3, "rows_per_step": 8}
    one, other = (run(assistant, start, groups, tmp_path / f"{n}", rows_at_once=n, **turns) for n in (1, 8))
    rows = [read_steps(r.folder / "steps.csv") for r in (one, other)]
    for column in ("loss", "ce", "divergence"):
        assert [r[column] for r in rows[0]] == pytest.approx([r[column] for r in rows[1]], rel=1e-3)


def test_the_measured_divergence_is_that_of_the_plain_models(assistant, start, groups):
    pair = students.load(assistant), students.load(start)
    packer = Packer(Codec(TASK, pair[0].vocabulary), [groups[0][:1]], 256)
    [block] = packer.row(0)
    [segment] = block.segments
    ids, at = torch.tensor([block.prefix + segment.ids]), slice(-segment.answer - 1, -1)
    with torch.no_grad():
        p, q = (s.model(ids).logits[0, at].log_softmax(-1) for s in pair)
    params = DistillParams(**PARAMS)
    found = measure(TASK, *pair, [groups[0][:1]], params)
    assert found == pytest.approx(F.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean().item(), rel=1e-4)
    assert measure(TASK, pair[0], pair[0], groups[:3], params) == pytest.approx(0, abs=1e-6)
    assert math.isnan(measure(TASK, *pair, [], params))


def test_the_loss_is_what_it_says(assistant, start, groups, tmp_path):
    rows = read_steps(run(assistant, start, groups, tmp_path / "out", ce_weight=0.3).folder / "steps.csv")
    for row in rows:
        assert row["loss"] == pytest.approx(0.3 * row["ce"] + 0.7 * row["divergence"], rel=1e-4)
    only = run(assistant, start, groups, tmp_path / "only", on_policy=1.0, ce_weight=0.3)
    for row in read_steps(only.folder / "steps.csv"):
        assert (row["ce"], row["sampled"]) == (0, 1)
        assert row["loss"] == pytest.approx(row["divergence"])


@pytest.mark.parametrize("changes", [{}, {"on_policy": 0.5}])
def test_a_fixed_seed_repeats(assistant, start, groups, tmp_path, changes):
    runs = [run(assistant, start, groups, tmp_path / f"{i}", seed=s, **changes) for i, s in enumerate((1, 1, 2))]
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), rel=1e-5)
    assert losses(runs[0]) != pytest.approx(losses(runs[2]), rel=1e-2)


@pytest.mark.parametrize("changes", [{}, {"on_policy": 0.5, "rows_per_step": 2}])
def test_an_interrupted_distillation_goes_on_where_it_was(assistant, start, groups, tmp_path, changes, monkeypatch):
    settings = {"checkpoint_minutes": 0, "held_out": groups[:4], **changes}
    whole = run(assistant, start, groups, tmp_path / "whole", **settings)
    kill_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(assistant, start, groups, tmp_path / "out", **settings)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    again = run(assistant, start, groups, tmp_path / "out", **settings)
    assert (again.steps, again.tokens) == (whole.steps, whole.tokens)
    one, other = (read_steps(r.folder / "steps.csv") for r in (whole, again))
    for column in ("loss", "ce", "divergence", "sampled"):
        assert [r[column] for r in one] == pytest.approx([r[column] for r in other], rel=1e-3, abs=1e-6)
    assert again.kl_before == pytest.approx(whole.kl_before)
    assert again.kl_after == pytest.approx(whole.kl_after, rel=1e-3)


def test_work_of_other_parameters_or_models_is_not_taken_up(assistant, start, groups, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(assistant, start, groups, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="another divergence; delete this folder"):
        run(assistant, start, groups, tmp_path / "out", checkpoint_minutes=0, divergence="reverse")
    with pytest.raises(TrainingError, match="another assistant;"):
        other = saved_student(tmp_path / "other", layers=3, seed=5)
        run(other, start, groups, tmp_path / "out", checkpoint_minutes=0)
    with pytest.raises(TrainingError, match="the examples"):
        run(assistant, start, groups[:-1], tmp_path / "out", checkpoint_minutes=0)


def test_other_vocabularies_are_refused_before_any_work(assistant, groups, tmp_path):
    other = students.save(students.build(TASK, tiny_base(2), vocab_size=320, layers=2), tmp_path / "other")
    with pytest.raises(TrainingError, match="different vocabularies.*vocab_size.*trl.experimental.gold.GOLDTrainer"):
        run(assistant, other, groups, tmp_path / "out")
    (tmp_path / "hub").mkdir()
    with pytest.raises(TrainingError, match="no student is there.*trl.experimental.gold.GOLDTrainer"):
        run(tmp_path / "hub", other, groups, tmp_path / "out")
    assert not (tmp_path / "out.part").exists()


def test_the_trainer_that_messages_name_is_there():
    module, _, name = ACROSS.rpartition(".")
    folder = Path(trl.__file__).parents[1].joinpath(*module.split("."))
    assert f"class {name}(" in (folder / "gold_trainer.py").read_text(encoding="utf-8")


def test_what_cannot_be_distilled_is_named(assistant, start, groups, tmp_path):
    with pytest.raises(TrainingError, match="no examples to distil on"):
        run(assistant, start, [], tmp_path / "out")
    with pytest.raises(TrainingError, match="no examples to distil on"):
        run(assistant, start, [[]], tmp_path / "out")
    with pytest.raises(TrainingError, match="the same model"):
        run(assistant, assistant, groups, tmp_path / "out")
    with pytest.raises(StudentError, match="not a whole student"):
        run(assistant, tmp_path / "absent", groups, tmp_path / "out")
    with pytest.raises(TrainingError, match="freeze_below"):
        run(assistant, start, groups, tmp_path / "out", freeze_below=2)
    assert not (tmp_path / "out").exists()


def test_a_student_of_another_task_is_refused(assistant, start, groups, tmp_path):
    stranger = students.load(start)
    students.save(replace(stranger, info={**stranger.info, "task": "library"}), tmp_path / "stranger")
    with pytest.raises(StudentError, match="a student for 'library', not 'vending'"):
        run(assistant, tmp_path / "stranger", groups, tmp_path / "out")


def test_an_assistant_that_is_broken_ends_with_a_remedy(assistant, start, groups, tmp_path):
    broken = students.load(assistant)
    broken.model.model.norm.weight.data.fill_(float("nan"))
    students.save(broken, tmp_path / "broken")
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        run(tmp_path / "broken", start, groups, tmp_path / "out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"divergence": "kl"}, "divergence='kl' is not allowed; see DistillParams in lib/training/distill_trainer.py"),
        ({"ce_weight": 1.5}, "ce_weight=1.5"),
        ({"on_policy": -0.1}, "on_policy=-0.1"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"beta": 1.0}, "beta=1.0"),
        ({"base": "x"}, "unknown key 'base'"),
        ({"max_steps": 0}, "max_minutes"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(TrainingError, match=message):
        DistillParams.read({**PARAMS, **wrong})


def test_parameters_of_another_training_are_refused():
    with pytest.raises(TrainingError, match="expected DistillParams, got SftParams"):
        DistillParams.read(SftParams(max_steps=1))


def test_compiled_layers_learn_the_same(assistant, start, groups, tmp_path):
    changes = {"on_policy": 0.5, "max_steps": 2}
    plain = run(assistant, start, groups, tmp_path / "plain", **changes)
    fast = run(assistant, start, groups, tmp_path / "fast", compile="layers", **changes)
    assert losses(fast) == pytest.approx(losses(plain), rel=1e-3)
