"""Distillation on tiny models of the real architecture: the student comes nearer to an assistant that stays still."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_finetune import kill_after, moved, read_steps
from toy_model import saved_student, tiny_base
from toy_task import TASK

from lib.core.files import sha256
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import StudentError
from lib.training import distill
from lib.training.distill import measure
from lib.training.finetune import train
from lib.training.packing import Packer
from lib.training.params import Distillation, TrainingError

PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 4, "precision": "fp32"}


@pytest.fixture(scope="module")
def assistant(tmp_path_factory, by_context):
    folder = tmp_path_factory.mktemp("assistant")
    start = saved_student(folder / "start", layers=3, seed=1)
    settings = {**PARAMS, "base": str(start), "max_steps": 20, "rows_per_step": 2, "rows_at_once": 2}
    return train(settings, TASK, by_context, folder / "assistant").folder


def run(assistant, start, by_context, out, held_out=(), **changes):
    return distill.train({**PARAMS, **changes}, TASK, assistant, start, by_context, out, held_out)


def losses(result):
    return [row["loss"] for row in read_steps(result.folder / "steps.csv")]


@pytest.mark.parametrize(
    "changes",
    [
        {"ce_weight": 0.0},
        {"ce_weight": 0.0, "divergence": "reverse", "top_k": 0},
        {"ce_weight": 0.3},
    ],
)
def test_it_comes_nearer_to_the_assistant_on_what_it_has_not_seen(assistant, start, by_context, tmp_path, changes):
    result = run(assistant, start, by_context[:16], tmp_path / "out", by_context[16:], max_steps=20, **changes)
    assert result.kl_after < 0.7 * result.kl_before
    again = measure(
        TASK,
        students.load(assistant),
        students.load(result.folder),
        by_context[16:],
        Distillation.read(PARAMS, "training"),
    )
    assert again == pytest.approx(result.kl_after, rel=1e-4)
    rows = read_steps(result.folder / "steps.csv")
    assert rows[-1]["divergence"] < rows[0]["divergence"]
    assert sum(row["tokens"] for row in rows) == result.tokens


@pytest.mark.parametrize("changes", [{}, {"method": "lora", "lora_rank": 4, "ce_weight": 0.0}, {"precision": "bf16"}])
def test_trainable_weights_move_and_the_assistant_does_not(assistant, start, by_context, tmp_path, changes):
    before = sha256(assistant), sha256(start)
    result = run(assistant, start, by_context, tmp_path / "out", **changes)
    assert moved(start, result.folder) == set(students.load(start).model.state_dict())
    assert (sha256(assistant), sha256(start)) == before
    assert not (tmp_path / "out.part").exists()
    facts = json.loads((result.folder / "student.json").read_text())["training"]
    assert facts["steps"] == result.steps == 4
    assert (facts["assistant"], facts["student"]) == (students.digest(assistant), students.digest(start))


def test_the_assistants_weights_are_untouched_in_memory(assistant, start, by_context, tmp_path, monkeypatch):
    import lib.training.distill as module

    seen = []
    inner = module.load_pair
    monkeypatch.setattr(module, "load_pair", lambda *given: seen.extend(inner(*given)) or tuple(seen))
    run(assistant, start, by_context, tmp_path / "out")
    old = students.load(assistant).model.state_dict()
    assert all(torch.equal(old[name], weight) for name, weight in seen[0].model.state_dict().items())
    assert not any(weight.requires_grad for weight in seen[0].model.parameters())


def test_rows_at_once_equal_rows_in_turn(assistant, start, by_context, tmp_path):
    turns = {"max_steps": 2, "rows_per_step": 4}
    one, other = (run(assistant, start, by_context, tmp_path / f"{n}", rows_at_once=n, **turns) for n in (1, 4))
    rows = [read_steps(r.folder / "steps.csv") for r in (one, other)]
    for column in ("loss", "ce", "divergence"):
        assert [r[column] for r in rows[0]] == pytest.approx([r[column] for r in rows[1]], rel=1e-3)


def test_the_measured_divergence_is_that_of_the_plain_models(assistant, start, by_context):
    pair = students.load(assistant), students.load(start)
    packer = Packer(Codec(TASK, pair[0].vocabulary), [by_context[0][:1]], 256)
    [block] = packer.row(0)
    [segment] = block.segments
    ids, at = torch.tensor([block.prefix + segment.ids]), slice(-segment.answer - 1, -1)
    with torch.no_grad():
        p, q = (s.model(ids).logits[0, at].log_softmax(-1) for s in pair)
    params = Distillation.read(PARAMS, "training")
    found = measure(TASK, *pair, [by_context[0][:1]], params)
    assert found == pytest.approx(F.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean().item(), rel=1e-4)
    assert measure(TASK, pair[0], pair[0], by_context[:3], params) == pytest.approx(0, abs=1e-6)
    assert math.isnan(measure(TASK, *pair, [], params))


def test_the_loss_is_what_it_says(assistant, start, by_context, tmp_path):
    rows = read_steps(run(assistant, start, by_context, tmp_path / "out", ce_weight=0.3).folder / "steps.csv")
    for row in rows:
        assert row["loss"] == pytest.approx(0.3 * row["ce"] + 0.7 * row["divergence"], rel=1e-4)


def test_a_fixed_seed_repeats(assistant, start, by_context, tmp_path):
    runs = [run(assistant, start, by_context, tmp_path / f"{i}", seed=s, max_steps=2) for i, s in enumerate((1, 1, 2))]
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), rel=1e-5)
    assert losses(runs[0]) != pytest.approx(losses(runs[2]), rel=1e-2)


def test_an_interrupted_distillation_resumes_where_it_was(assistant, start, by_context, tmp_path, monkeypatch):
    settings = {"checkpoint_minutes": 0, "held_out": by_context[:4], "rows_per_step": 2}
    whole = run(assistant, start, by_context, tmp_path / "whole", **settings)
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(assistant, start, by_context, tmp_path / "out", **settings)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    again = run(assistant, start, by_context, tmp_path / "out", **settings)
    assert (again.steps, again.tokens) == (whole.steps, whole.tokens)
    one, other = (read_steps(r.folder / "steps.csv") for r in (whole, again))
    for column in ("loss", "ce", "divergence"):
        assert [r[column] for r in one] == pytest.approx([r[column] for r in other], rel=1e-3, abs=1e-6)
    assert again.kl_before == pytest.approx(whole.kl_before)
    assert again.kl_after == pytest.approx(whole.kl_after, rel=1e-3)


def test_a_kill_after_the_training_repeats_only_the_measurement(assistant, start, by_context, tmp_path, monkeypatch):
    found, inner = [], distill.measure

    def dying(*given):
        found.append(inner(*given))
        if len(found) == 2:
            raise KeyboardInterrupt
        return found[-1]

    monkeypatch.setattr(distill, "measure", dying)
    with pytest.raises(KeyboardInterrupt):
        run(assistant, start, by_context, tmp_path / "out", by_context[:4])
    monkeypatch.setattr(distill.DistillTrainer, "fit", None)
    again = run(assistant, start, by_context, tmp_path / "out", by_context[:4])
    assert again.steps == PARAMS["max_steps"] and again.tokens > 0
    assert (again.kl_before, again.kl_after) == pytest.approx(tuple(found[:2]), rel=1e-3)


def test_work_of_other_parameters_or_models_is_not_taken_up(assistant, start, by_context, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(assistant, start, by_context, tmp_path / "out", checkpoint_minutes=0)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="another divergence; delete this folder"):
        run(assistant, start, by_context, tmp_path / "out", checkpoint_minutes=0, divergence="reverse")
    with pytest.raises(TrainingError, match="another assistant;"):
        other = saved_student(tmp_path / "other", layers=3, seed=5)
        run(other, start, by_context, tmp_path / "out", checkpoint_minutes=0)
    with pytest.raises(TrainingError, match="the examples"):
        run(assistant, start, by_context[:-1], tmp_path / "out", checkpoint_minutes=0)


def test_other_vocabularies_are_refused_before_any_work(assistant, by_context, tmp_path):
    other = students.save(students.build(TASK, tiny_base(2), vocab_size=320, layers=2), tmp_path / "other")
    with pytest.raises(TrainingError, match="different vocabularies: give both one vocab_size, or set align: text"):
        run(assistant, other, by_context, tmp_path / "out")
    (tmp_path / "hub").mkdir()
    with pytest.raises(TrainingError, match="no student is there: run the notebook that writes it"):
        run(tmp_path / "hub", other, by_context, tmp_path / "out")
    assert not (tmp_path / "out.part").exists()


def test_what_cannot_be_distilled_is_named(assistant, start, by_context, tmp_path):
    with pytest.raises(TrainingError, match="no examples to distil on"):
        run(assistant, start, [], tmp_path / "out")
    with pytest.raises(TrainingError, match="no examples to distil on"):
        run(assistant, start, [[]], tmp_path / "out")
    with pytest.raises(TrainingError, match="the same model"):
        run(assistant, assistant, by_context, tmp_path / "out")
    with pytest.raises(StudentError, match="not a whole student"):
        run(assistant, tmp_path / "absent", by_context, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_student_of_another_task_is_refused(assistant, start, by_context, tmp_path):
    stranger = students.load(start)
    students.save(replace(stranger, info={**stranger.info, "task": "library"}), tmp_path / "stranger")
    with pytest.raises(StudentError, match="a student for 'library', not 'tests.toy_task'"):
        run(assistant, tmp_path / "stranger", by_context, tmp_path / "out")


def test_an_assistant_that_is_broken_ends_with_a_remedy(assistant, start, by_context, tmp_path):
    broken = students.load(assistant)
    broken.model.model.norm.weight.data.fill_(float("nan"))
    students.save(broken, tmp_path / "broken")
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        run(tmp_path / "broken", start, by_context, tmp_path / "out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"divergence": "kl"}, "divergence: "),
        ({"ce_weight": 1.5}, "ce_weight: "),
        ({"align": "words"}, "align: "),
        ({"align": "text", "divergence": "reverse"}, "align: text has no reverse divergence"),
        ({"base": "x"}, "unknown parameter 'base'"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(ParamsError, match=f"training: {message}"):
        Distillation.read({**PARAMS, **wrong}, "training")
