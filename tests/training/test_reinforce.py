"""Reinforcement on a tiny model of the real architecture: the reward rises, and only where rewards differ."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from small_homes import plain_home
from toy_model import saved_student, tiny_base, tiny_student
from toy_task import TASK, Vending, examples

from lib.core.task import Example, Score
from lib.model import student as students
from lib.model.codec import Codec, Reading
from lib.model.generate import Prefix, decode
from lib.tasks import load as load_task
from lib.training import finetune, monitor
from lib.training.branches import Branch, collate, visible
from lib.training.grpo import COLUMNS, GroupTrainer, grow
from lib.training.layers import prepare
from lib.training.log import StepLog, read_steps
from lib.training.params import TrainingError
from lib.training.reinforce import make_trainer, reinforce
from lib.training.reinforce_params import ReinforceParams
from lib.training.sampling import Group, Pool, Rollouts, Sample, Sampler, look
from lib.training.workdir import folder

PARAMS = {
    "learning_rate": 1.0e-3,
    "samples": 6,
    "groups_per_step": 4,
    "groups_at_once": 4,
    "max_new": 12,
    "row_tokens": 256,
    "max_steps": 6,
    "guard_every": 3,
    "precision": "fp32",
    "checkpoint_minutes": 0.0,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A student that has learnt how an answer looks, but not yet which item is meant."""
    place = tmp_path_factory.mktemp("start")
    taught = {"base": str(saved_student(place / "untaught")), "max_steps": 90, "learning_rate": 3.0e-3}
    taught |= {"row_tokens": 256, "rows_per_step": 2, "rows_at_once": 2, "precision": "fp32"}
    return finetune.train(taught, TASK, examples(60, 6, items=2), place / "student").folder


@pytest.fixture(scope="module")
def requests():
    return examples(10, 4, seed=5, items=2)


@pytest.fixture(scope="module")
def dev():
    return [replace(e, level=f"T{i % 2}") for i, e in enumerate(e for g in examples(4, 3, seed=6, items=2) for e in g)]


def run(start, requests, dev, out, task=TASK, **changes):
    return reinforce({**PARAMS, **changes}, task, start, requests, dev, out)


def steps(result):
    return read_steps(result.folder / "steps.csv")


def weights(folder):
    return students.load(folder).model.state_dict()


def trainer_of(start, requests, dev, work, task=TASK, **changes) -> GroupTrainer:
    """The trainer of all requests, without a look at the pool."""
    (work / "checkpoints").mkdir(parents=True)
    params = ReinforceParams.read({**PARAMS, **changes})
    student = students.load(start)
    prepare(student.model, params)
    pool = Pool([e for g in requests for e in g], [[i] for i in range(40)], 40, 0.5)
    return make_trainer(params, task, student, start, pool, dev, work)


class First(Vending):
    """Whatever is asked for, the machine's first item is right; another one is a little better than nothing."""

    def references(self, context, text="", rng=None):
        return super().references(context, text)

    def score(self, example, calls):
        right = bool(calls) and all(c["arguments"]["item"] == example.context["items"][0] for c in calls)
        return Score(right, 1.0 if right else 0.1 * bool(calls), "" if right else "wrong_target")


def test_reward_rises_and_the_logs_say_so(start, requests, dev, tmp_path):
    result = run(start, requests, dev, tmp_path / "out", task=First(), max_steps=40, guard_every=20)
    rows = steps(result)
    assert [r["step"] for r in rows] == list(range(1, 41)) and set(COLUMNS) < set(rows[0])
    first, last = (sum(r["reward"] for r in part) / 10 for part in (rows[:10], rows[-10:]))
    assert last > first + 0.1
    assert result.reward == pytest.approx(sum(r["reward"] for r in rows[-20:]) / 20)
    assert 0 < result.kept <= result.seen == 40
    assert all(0 <= r[c] <= 1 for r in rows for c in ("reward", "exact", "dropped", "none", "invalid"))
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-5) and max(r["kl"] for r in rows) > 0.001
    lines = monitor.read(result.folder / "guards.csv")
    assert [(x["step"], x["level"]) for x in lines] == [(s, v) for s in (0, 20, 40) for v in ("T0", "T1", "all")]
    whole = [x["reward"] for x in lines if x["level"] == "all"]
    assert whole[0] < 0.5 and whole[-1] > 0.8
    assert not folder(tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({}, ()),
        ({"together": 3, "precision": "bf16"}, ()),
        ({"freeze_below": 2}, ("layers.0.", "layers.1.")),
        ({"method": "lora", "lora_rank": 4}, ()),
    ],
)
def test_trainable_weights_move_and_the_start_does_not(start, requests, dev, tmp_path, changes, still):
    before = {p.name: p.read_bytes() for p in start.iterdir()}
    result = run(start, requests, dev, tmp_path / "out", **changes)
    old, new = weights(start), weights(result.folder)
    assert {n for n in old if torch.equal(old[n], new[n])} == {n for n in old if any(s in n for s in still)}
    assert {p.name: p.read_bytes() for p in start.iterdir()} == before


def test_the_reference_is_the_start_and_stays(start, requests, dev, tmp_path):
    trainer = trainer_of(start, requests, dev, tmp_path / "work")
    trainer.train()
    old = weights(start)
    for name, weight in trainer.ref_model.state_dict().items():
        assert torch.equal(weight, old[name]), name
    assert any(not torch.equal(w, old[n]) for n, w in trainer.model.state_dict().items())


class Constant(Vending):
    """Everything is as good as everything else."""

    def score(self, example, calls):
        return Score(False, 0.4, "wrong_target")


def test_groups_without_spread_give_no_gradient(start, requests, dev, tmp_path):
    trainer = trainer_of(start, requests, dev, tmp_path / "work", task=Constant(), max_steps=2, kl=0.5, loss="dapo")
    asked = trainer.source([0, 1, 2, 3], 1)
    readable = [g for g in asked if all(not s.invalid for s in g.samples)]
    assert readable and not any(g.spread for g in readable)
    trainer.source = lambda places, step: readable[:1] * 4
    trainer.train()
    assert [r["dropped"] for r in trainer.log_file.rows] == [1.0, 1.0]
    assert [r["loss"] for r in trainer.log_file.rows] == [0.0, 0.0]
    old = weights(start)
    assert all(torch.equal(w, old[n]) for n, w in trainer.model.state_dict().items())


def test_log_probabilities_of_packed_rows_are_those_of_the_sampling_and_of_trl(start, requests, dev, tmp_path):
    """TRL's own way gives every answer a copy of its prompt; ours must give the same numbers."""
    trainer = trainer_of(start, requests, dev, tmp_path / "work", temperature=0.7)
    output = trainer._generate_and_score_completions([{"prompt": str(i // 6)} for i in range(24)])
    mask = output["completion_mask"].bool()
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    seen = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    width = mask.shape[1]
    with torch.no_grad():
        ours, entropy, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, seen, width, batch_size=12, compute_entropy=True
        )
        theirs, other, _ = super(GroupTrainer, trainer)._get_per_token_logps_and_entropies(
            trainer.model, ids, seen, width, compute_entropy=True
        )
    assert 0 < mask.sum() < mask.numel() and not ours[~mask].any()
    torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy[mask], other[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours[mask], output["sampling_per_token_logps"][mask], atol=1e-4, rtol=1e-4)


def test_accumulated_groups_equal_groups_at_once(start, requests, dev, tmp_path):
    found = []
    for at_once in (1, 4):
        result = run(start, requests, dev, tmp_path / f"out{at_once}", groups_at_once=at_once, max_steps=3, kl=0.1)
        found.append((steps(result), weights(result.folder)))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["reward"] == other["reward"]
    for name, weight in found[0][1].items():
        torch.testing.assert_close(weight, found[1][1][name], atol=2e-3, rtol=1e-2)


def test_a_seed_repeats_and_another_does_not(start, requests, dev, tmp_path):
    one, same, other = (
        run(start, requests, dev, tmp_path / f"{i}", seed=s, max_steps=3) for i, s in enumerate((1, 1, 2))
    )
    clock = ("seconds", "tokens_per_s")
    told = [[{k: v for k, v in row.items() if k not in clock} for row in steps(r)] for r in (one, same, other)]
    assert told[0] == told[1] != told[2]
    assert all(torch.equal(w, weights(same.folder)[n]) for n, w in weights(one.folder).items())


def test_an_interrupted_training_goes_on_where_it_was(start, requests, dev, tmp_path, monkeypatch):
    whole = run(start, requests, dev, tmp_path / "whole")
    kill_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, requests, dev, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("lib.training.reinforce.look", None)  # the pool is not looked at again
    again = run(start, requests, dev, tmp_path / "out")
    assert again.steps == whole.steps == 6 and again.kept == whole.kept
    for name in ("reward", "kl", "dropped", "answer_tokens", "lr"):
        assert [r[name] for r in steps(again)] == pytest.approx([r[name] for r in steps(whole)], abs=1e-6), name
    one, other = (monitor.read(r.folder / "guards.csv") for r in (whole, again))
    assert one == other
    new = weights(again.folder)
    for name, weight in weights(whole.folder).items():
        torch.testing.assert_close(weight, new[name], atol=1e-5, rtol=1e-4)


def kill_after(count, monkeypatch):
    """Ends the training as Ctrl-C would, at the end of a step."""
    complete = StepLog.on_step_end

    def dying(self, args, state, control, **kwargs):
        if state.global_step > count:
            raise KeyboardInterrupt
        return complete(self, args, state, control, **kwargs)

    monkeypatch.setattr(StepLog, "on_step_end", dying)


def test_work_of_other_parameters_data_or_start_is_not_taken_up(start, requests, dev, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, requests, dev, tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="another kl; delete this folder"):
        run(start, requests, dev, tmp_path / "out", kl=0.1)
    with pytest.raises(TrainingError, match="the examples"):
        run(start, requests[1:], dev, tmp_path / "out")
    shutil.copytree(start, tmp_path / "student")
    (tmp_path / "student" / "student.json").write_text((start / "student.json").read_text() + "\n")
    with pytest.raises(TrainingError, match="another start"):
        run(tmp_path / "student", requests, dev, tmp_path / "out")


def test_a_constant_reward_ends_before_training(start, requests, dev, tmp_path):
    class Zero(Vending):
        def score(self, example, calls):
            return Score(False, 0.0, "wrong_target")

    with pytest.raises(TrainingError, match=r"reward is constant, 0\.00.*raise temperature"):
        run(start, requests, dev, tmp_path / "out", task=Zero())


def test_probabilities_that_are_no_numbers_end_with_a_remedy(start, requests, dev, tmp_path):
    student = students.load(start)
    student.model.model.norm.weight.data.fill_(float("nan"))
    broken = students.save(student, tmp_path / "broken")
    with pytest.raises(TrainingError, match="no numbers; lower learning_rate"):
        run(broken, requests, dev, tmp_path / "out")


def test_a_loss_that_is_no_number_ends_with_a_remedy(start, requests, dev, tmp_path, monkeypatch):
    from trl import GRPOTrainer

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda *a: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match="step 1: the loss is nan; lower learning_rate"):
        run(start, requests, dev, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_input_is_named_before_any_work(start, requests, dev, tmp_path):
    with pytest.raises(TrainingError, match="no examples to learn from"):
        run(start, [], dev, tmp_path / "out")
    with pytest.raises(TrainingError, match="no development set"):
        run(start, requests, [], tmp_path / "out")
    with pytest.raises(TrainingError, match="absent: reinforcement starts from a student's folder"):
        run(tmp_path / "absent", requests, dev, tmp_path / "out")
    with pytest.raises(TrainingError, match="freeze_below: 4"):
        run(start, requests, dev, tmp_path / "out", freeze_below=4)
    with pytest.raises(students.StudentError, match="'vending', not 'home'"):
        run(start, requests, dev, tmp_path / "out", task=load_task("home"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample": 8}, "unknown key 'sample'"),
        ({"samples": 1}, "samples=1"),
        ({"groups_at_once": 3}, "groups_at_once=3"),
        ({"kl": -1.0}, "kl=-1.0"),
        ({"loss": "ppo"}, "loss='ppo'"),
        ({"scale": "std"}, "scale='std'"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"rows_per_step": 4}, "rows_per_step=4"),
        ({"max_steps": 0}, "max_minutes"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(TrainingError, match=message):
        ReinforceParams.read({**PARAMS, **wrong})


@pytest.mark.parametrize("variant", [{"loss": "dr_grpo", "scale": "none"}, {"loss": "bnpo", "scale": "batch", "kl": 0}])
def test_variants_train(start, requests, dev, tmp_path, variant):
    result = run(start, requests, dev, tmp_path / "out", max_steps=2, **variant)
    assert result.steps == 2
    assert json.loads((result.folder / "student.json").read_text())["training"]["loss"] == variant["loss"]


def test_time_ends_the_training_with_an_examination(start, requests, dev, tmp_path):
    result = run(start, requests, dev, tmp_path / "out", max_steps=0, max_minutes=0.05, guard_every=1000)
    rows = steps(result)
    assert result.steps > 2 and rows[-1]["lr"] < max(r["lr"] for r in rows)
    lines = pd.read_csv(result.folder / "guards.csv")
    assert lines["step"].unique().tolist() == [0, result.steps]


def test_unfinished_and_unreadable_answers_get_nothing(start, requests):
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    asked = [(e, codec.prompt(e.context, e.text)) for e in requests[0] + requests[1]]
    ask = Rollouts(codec, samples=4, max_new=3, at_once=64).ask
    short = [s for g in ask(student.model, asked, Sampler(1.0, "a")) for s in g.samples]
    assert all(len(s.ids) <= 3 and len(s.logprobs) == len(s.ids) for s in short)
    cut = [s for s in short if s.ids[-1] != student.vocabulary.end]
    assert cut and all(s.reward == 0 and s.invalid and not s.nothing for s in cut)


def test_graded_and_binary_rewards(start, requests):
    class Half(Vending):
        def score(self, example, calls):
            return Score(True, 1.0) if calls in example.gold else Score(False, 0.5, "wrong_target")

    student = students.load(start)
    codec = Codec(Half(), student.vocabulary)
    asked = [(e, codec.prompt(e.context, e.text)) for g in requests for e in g]
    for graded, middle in ((True, {0.5}), (False, set())):
        rollouts = Rollouts(codec, 4, 12, 64, graded)
        rewards = {s.reward for g in rollouts.ask(student.model, asked, Sampler(1.0, "a")) for s in g.samples}
        assert rewards - {0.0, 1.0} == middle


def test_the_pool_keeps_requests_whose_rewards_differ(start, requests):
    student = students.load(start)
    rollouts = Rollouts(Codec(TASK, student.vocabulary), 4, 12, 32)
    pool = look(student.model, rollouts, requests, 20, 1, Sampler(1.0, "a"))
    assert 0 < pool.kept < pool.seen == 20 and 0 < pool.reward < 1
    assert pool == look(student.model, rollouts, requests, 20, 1, Sampler(1.0, "a"))
    half = pool.kept
    plan = [e.id for e, _ in pool.asked(range(2 * half), rollouts.codec)]
    assert sorted(plan[:half]) == sorted(plan[half:]) == sorted(pool.examples[i].id for (i,) in pool.runs)
    assert plan[:half] != plan[half:]


def test_the_pool_is_drawn_by_level_or_by_context(requests, monkeypatch):
    levels = [[replace(e, level="rare" if g == 0 else "often") for e in group] for g, group in enumerate(requests)]
    found = []
    codec = Codec(TASK, tiny_student().vocabulary)
    monkeypatch.setattr(Rollouts, "ask", lambda self, model, asked, *a, **k: found.append(asked) or spread(asked))
    pools = [look(None, Rollouts(codec, 2, 9, 9), levels, 10, n, Sampler(1.0, "a")) for n in (1, 3)]
    assert [sum(e.level == "rare" for e, _ in asked) for asked in found][0] == 4
    assert [len(asked) for asked in found] == [10, 10] == [p.kept for p in pools]
    assert [len(run) for run in pools[1].runs] == [3, 1, 3, 1, 2]
    for run in pools[1].runs:
        assert len({pools[1].examples[i].id.split("-")[0] for i in run}) == 1
    prompts = [prompt for _, prompt in pools[1].asked(range(10), codec)]
    assert len({tuple(p.prefix) for p in prompts}) == len(pools[1].runs)


def spread(asked):
    """Groups that all differ in reward."""
    samples = [Sample([1], [0.0], Reading("", []), reward, False) for reward in (0.0, 1.0)]
    return [Group(example, prompt, samples) for example, prompt in asked]


def test_guards_raise_an_alarm_for_each_trick():
    calm = {"step": 0, "level": "all", "n": 100, "accuracy": 0.8, "reward": 0.8, "none": 0.2, "invalid": 0.0}
    calm |= {"tokens": 6.0}
    level = {**calm, "level": "T0"}
    tricks = [
        ({"none": 0.5}, {}, "did nothing at first, 50 % now"),
        ({"invalid": 0.2}, {}, "could not be read"),
        ({"tokens": 9.0}, {}, "9.0 now"),
        ({}, {"accuracy": 0.6}, "T0 fell from 80 % right to 60 %"),
    ]
    for whole, part, text in tricks:
        (found,) = monitor.alarms([level, calm, {**level, "step": 9, **part}, {**calm, "step": 9, **whole}])
        assert text in found
    assert monitor.alarms([level, calm, {**level, "step": 9, "accuracy": 0.78}, {**calm, "step": 9}]) == []


def test_copies_share_what_comes_before_them():
    model = tiny_base(2).model
    rest = [[10], [11, 12, 13], [14, 15]]
    limits = [3, 5, 2, 4, 6, 1]
    single = decode(model, Prefix.read(model, [5, 6]), [r for r in rest for _ in range(2)], set(), limits)
    copies = decode(model, Prefix.read(model, [5, 6]), rest, set(), limits, copies=2)
    assert [d.ids for d in copies] == [d.ids for d in single]
    assert [len(d.logprobs) for d in copies] == limits


def test_requests_of_one_prefix_are_batched_together_and_answered_alike(start, requests):
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    asked = [(e, codec.prompt(e.context, e.text)) for e in (*requests[0], requests[1][0], *requests[2])]
    rollouts = Rollouts(codec, 2, 12, 6)
    batches = rollouts._batches([p for _, p in asked], True)
    assert sorted(map(len, batches)) == [1, 1, 1, 3, 3]
    assert all(len({tuple(asked[i][1].prefix) for i in batch}) == 1 for batch in batches)
    assert len(rollouts._batches([p for _, p in asked], False)) == 3
    greedy = [lambda logits, rows: (logits.argmax(-1), logits.max(-1).values)] * 2
    one, other = (
        r.ask(student.model, asked, g) for r, g in zip((rollouts, replace(rollouts, at_once=2)), greedy, strict=True)
    )
    assert [[s.ids for s in g.samples] for g in one] == [[s.ids for s in g.samples] for g in other]


def test_trees_share_beginnings_keep_the_order_and_leave_out_what_is_masked(monkeypatch):
    monkeypatch.setattr("lib.training.grpo.SHARED", 2)
    asked = [([7, 7, 8], [1, 2]), ([7, 7, 8], [3]), ([7, 7, 9, 9], [4]), ([5, 6], [5]), ([5, 6], [])]
    ids = [[0] * (4 - len(p)) + p + a + [0] * (2 - len(a)) for p, a in asked]
    seen = [[False] * (4 - len(p)) + [True] * len(p + a) + [False] * (2 - len(a)) for p, a in asked]
    (row,) = grow(ids, seen, width=2, row_tokens=100)
    assert [(b.ids, b.parent, b.answer) for b in row] == [
        ([7, 7], -1, 0),
        ([8, 1, 2], 0, 2),
        ([8, 3], 0, 1),
        ([9], 0, 0),
        ([9, 4], 3, 1),
        ([5], -1, 0),
        ([6, 5], 5, 1),
    ]
    assert [len(r) for r in grow(ids, seen, 2, row_tokens=10)] == [5, 2]
    assert [len(r) for r in grow(ids, seen, 2, row_tokens=1)] == [3, 2, 2]
    assert grow(ids, [[False] * 6] * 5, 2, 100) == []


def test_logits_of_a_tree_are_those_of_its_lines():
    model = tiny_base(2).model
    lines = [[5, 6, 7, 8, 1, 2], [5, 6, 7, 8, 3], [5, 6, 9, 4, 4], [11, 12, 13]]
    tree = [Branch([5, 6]), Branch([7], 0), Branch([8, 1, 2], 1, 2), Branch([8, 3], 1, 1)]
    tree += [Branch([9, 4, 4], 0, 2), Branch([11]), Branch([12, 13], 5, 1)]
    batch = collate([tree, [Branch([5])]], pad=0)
    with torch.no_grad():
        seen = visible(batch["branches"], batch["kin"])
        found = model(batch["input_ids"], attention_mask=seen, position_ids=batch["position_ids"])
        ends = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 7], [0, 1, 8, 9, 10], [11, 12, 13]]
        for line, places in zip(lines, ends, strict=True):
            alone = model(torch.tensor([line])).logits[0]
            torch.testing.assert_close(found.logits[0, places], alone, atol=1e-4, rtol=1e-4)
    assert batch["labels"][0].tolist()[:8] == [-100, -100, -100, -100, 1, 2, -100, 3]


def test_silence_is_worth_more_than_a_wrong_action_at_home():
    """The reward of the real task: nothing < something wrong would teach the student to guess."""
    home = load_task("home")
    act = {"name": "HassTurnOn", "arguments": {"name": "Sink"}}
    context = {"home": plain_home(), "area": None}
    wanted = Example("1", "sink on", context, [[act]], "L0", "test", "dev")
    other = [{"name": "HassTurnOn", "arguments": {"name": "Counter"}}]
    right, silent, wrong = (home.score(wanted, calls).reward for calls in ([act], [], other))
    assert right == 1.0 > silent > wrong
    nothing = replace(wanted, gold=[[]])
    assert home.score(nothing, []).reward == 1.0 and home.score(nothing, [act]).reward == 0.0
    assert home.score(wanted, [act, *other]).reward < silent
