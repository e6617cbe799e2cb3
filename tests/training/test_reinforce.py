"""Reinforcement on a tiny model of the real architecture: the reward rises, and only where rewards differ."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from small_homes import plain_home
from test_finetune import kill_after, moved, told
from toy_model import saved_student, tiny_base, tiny_student
from toy_task import TASK, Vending, examples

from lib.core.params import ParamsError
from lib.core.task import Example, Score
from lib.model import student as students
from lib.model.codec import Codec, Reading
from lib.model.torch_student import Prefix, batches, decode
from lib.tasks import load as load_task
from lib.training import finetune, monitor, reinforce
from lib.training.layers import answer_logits
from lib.training.params import Reinforcement, TrainingError
from lib.training.reinforce import COLUMNS, POOL, ReinforceTrainer, tries
from lib.training.sampling import Group, Pool, Sample, Sampler, sample, try_pool

PARAMS = {
    "learning_rate": 1.0e-3,
    "samples": 6,
    "groups_per_step": 4,
    "groups_at_once": 4,
    "max_new": 12,
    "row_tokens": 256,
    "max_steps": 4,
    "guard_every": 2,
    "precision": "fp32",
    "checkpoint_minutes": 0.0,
}


def settings(**changes):
    return Reinforcement.read({**PARAMS, **changes}, "training")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A student that has learnt how an answer looks, but not yet which item is meant."""
    place = tmp_path_factory.mktemp("start")
    taught = {"base": str(saved_student(place / "untaught", layers=2)), "max_steps": 90, "learning_rate": 3.0e-3}
    taught |= {"row_tokens": 256, "rows_per_step": 2, "rows_at_once": 2, "precision": "fp32"}
    return finetune.train(taught, TASK, examples(60, 6, items=2), place / "student").folder


@pytest.fixture(scope="module")
def by_context():
    return examples(10, 4, seed=5, items=2)


@pytest.fixture(scope="module")
def requests(start, by_context):
    """All requests with their prompts."""
    codec = Codec(TASK, students.load(start).vocabulary)
    return [(e, codec.prompt(e.context, e.text)) for group in by_context for e in group]


@pytest.fixture(scope="module")
def dev():
    return [replace(e, level=f"T{i % 2}") for i, e in enumerate(e for g in examples(4, 3, seed=6, items=2) for e in g)]


def run(start, by_context, dev, out, task=TASK, **changes):
    return reinforce.train({**PARAMS, **changes}, task, start, by_context, dev, out)


def trainer_of(start, by_context, work, task=TASK, **changes) -> ReinforceTrainer:
    """The trainer of all requests, without a look at the pool."""
    (work / "checkpoints").mkdir(parents=True)
    params = settings(**changes)
    pool = Pool([e for group in by_context for e in group], [[i] for i in range(40)], list(range(40)), 0.5)
    size = params.groups_per_step, params.groups_at_once
    return ReinforceTrainer(task, students.load(start), students.load(start), pool, params, work, size)


class First(Vending):
    """Whatever is asked for, the machine's first item is right; another one is a little better than nothing."""

    def references(self, context, text="", rng=None):
        return super().references(context, text)

    def score(self, example, calls):
        right = bool(calls) and all(c["arguments"]["item"] == min(example.context["items"]) for c in calls)
        return Score(right, 1.0 if right else 0.1 * bool(calls), "" if right else "wrong_target")


def test_reward_rises_and_the_logs_say_so(start, by_context, dev, tmp_path):
    result = run(start, by_context, dev, tmp_path / "out", task=First(), max_steps=40, guard_every=20)
    rows = told(result)
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
    assert not (tmp_path / "out.part").exists()
    table = pd.read_csv(result.folder / POOL).set_index("of")
    assert table.loc["level", ["tried", "kept"]].tolist() == [result.seen, result.kept]


@pytest.mark.parametrize(
    "changes", [{}, {"together": 3, "precision": "bf16"}, {"method": "lora", "lora_rank": 4}, {"kl": 0.0}]
)
def test_all_weights_move_and_the_start_does_not(start, by_context, dev, tmp_path, changes):
    before = {p.name: p.read_bytes() for p in start.iterdir()}
    result = run(start, by_context, dev, tmp_path / "out", **changes)
    assert moved(start, result.folder) == set(students.load(start).model.state_dict())
    assert {p.name: p.read_bytes() for p in start.iterdir()} == before


def test_the_reference_is_the_start_and_stays(start, by_context, tmp_path):
    trainer = trainer_of(start, by_context, tmp_path / "work")
    trainer.train()
    old = students.load(start).model.state_dict()
    assert all(torch.equal(weight, old[name]) for name, weight in trainer.start.state_dict().items())
    assert any(not torch.equal(weight, old[name]) for name, weight in trainer.model.state_dict().items())


def test_groups_without_spread_change_nothing(start, by_context, tmp_path):
    class Constant(Vending):
        def score(self, example, calls):
            return Score(False, 0.4, "wrong_target")

    trainer = trainer_of(start, by_context, tmp_path / "work", task=Constant(), max_steps=2, kl=0.5)
    readable = [g for g in trainer.sample([0, 1, 2, 3]) if all(not s.reading.error for s in g.samples)]
    trainer.sample = lambda places: readable[:1] * 4
    trainer.train()
    assert [(r["dropped"], r["loss"]) for r in trainer.step_log.rows] == [(1.0, 0.0)] * 2
    old = students.load(start).model.state_dict()
    assert all(torch.equal(w, old[n]) for n, w in trainer.model.state_dict().items())


def test_the_loss_is_that_of_trl_and_so_is_its_gradient(start, by_context, tmp_path):
    """GRPO as TRL writes it, with a prompt for each answer: the mean over an answer's tokens, then over answers."""
    trainer = trainer_of(start, by_context, tmp_path / "work", temperature=0.7, kl=0.5)
    noise = torch.Generator().manual_seed(1)
    for weight in trainer.start.parameters():
        weight += 0.01 * torch.randn(weight.shape, generator=noise)
    iterator = iter([{"places": torch.tensor([0, 1, 2, 3])}])
    groups = trainer.sample([0, 1, 2, 3])
    (batch,), _ = trainer.get_batch_samples(iterator, 1, torch.device("cpu"))
    ours = trainer.token_losses(*answer_logits(trainer.model, batch), batch)
    gradients = torch.autograd.grad(ours["loss"].sum(), [trainer.model.model.embed_tokens.weight])
    theirs, kls = [], []
    for group in groups:
        rewards = torch.tensor([s.reward for s in group.samples])
        for s, advantage in zip(group.samples, (rewards - rewards.mean()) / (rewards.std() + 1e-4), strict=True):
            logps, start_logps = (_logprobs(m, group.prompt.ids, s.ids) for m in (trainer.model, trainer.start))
            kl = (start_logps - logps).exp() - (start_logps - logps) - 1
            loss = -advantage * (logps - logps.detach()).exp() + 0.5 * kl
            theirs.append(loss.mean() if group.spread else 0.0 * loss.mean())
            kls += [kl.detach()] if group.spread else []
    expected = torch.stack(theirs).mean()
    torch.testing.assert_close(ours["loss"].sum(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours["kl"].sum(), torch.cat(kls).mean(), atol=1e-5, rtol=1e-4)
    again = torch.autograd.grad(expected, [trainer.model.model.embed_tokens.weight])
    torch.testing.assert_close(gradients[0], again[0], atol=1e-4, rtol=1e-3)


def _logprobs(model, prompt, ids):
    logits = model(torch.tensor([prompt + list(ids)])).logits[0, len(prompt) - 1 : -1] / 0.7
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def test_equal_answers_are_one_with_all_their_advantages(requests):
    samples = [
        Sample(ids, Reading("", []), reward, False) for ids, reward in (([1, 2], 1.0), ([3], 0.0), ([1, 2], 1.0))
    ]
    group = Group(requests[0][1], samples)
    one, other = tries(group, settings())
    assert (one.ids[-2:], one.answer, one.count, other.count) == ([1, 2], 2, 2, 1)
    assert one.advantage == pytest.approx(-other.advantage, abs=1e-6) and one.advantage > 0
    same = replace(group, samples=samples[:1] * 2)
    assert [(s.advantage, s.count) for s in tries(same, settings(anchors=1.0))] == [(0.0, 0)]
    right = replace(group, samples=[replace(samples[0], exact=True)] * 2)
    assert [(s.advantage, s.count) for s in tries(right, settings(anchors=1.0))] == [(2.0, 2)]
    assert [(s.advantage, s.count) for s in tries(right, settings())] == [(0.0, 0)]


def test_accumulated_groups_equal_groups_at_once(start, by_context, dev, tmp_path):
    results = [run(start, by_context, dev, tmp_path / f"{n}", groups_at_once=n, max_steps=2, kl=0.1) for n in (1, 4)]
    for one, other in zip(*map(told, results), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["reward"] == other["reward"] and one["kl"] == pytest.approx(other["kl"], abs=1e-4)
    old, new = (students.load(r.folder).model.state_dict() for r in results)
    for name, weight in old.items():
        torch.testing.assert_close(weight, new[name], atol=2e-3, rtol=1e-2)


def test_a_seed_repeats_and_another_does_not(start, by_context, dev, tmp_path):
    one, same, other = (
        run(start, by_context, dev, tmp_path / f"{i}", seed=s, max_steps=2) for i, s in enumerate((1, 1, 2))
    )
    assert told(one) == told(same) != told(other)
    assert not moved(one.folder, same.folder)


def test_an_interrupted_training_resumes_where_it_was(start, by_context, dev, tmp_path, monkeypatch):
    whole = run(start, by_context, dev, tmp_path / "whole")
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, dev, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("lib.training.reinforce.try_pool", None)  # the pool is not tried again
    again = run(start, by_context, dev, tmp_path / "out")
    assert again.steps == whole.steps == 4 and again.kept == whole.kept
    for one, other in zip(told(whole), told(again), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    one, other = (monitor.read(r.folder / "guards.csv") for r in (whole, again))
    assert one == other
    old, new = (students.load(r.folder).model.state_dict() for r in (whole, again))
    for name, weight in old.items():
        torch.testing.assert_close(weight, new[name], atol=1e-5, rtol=1e-4)


def test_work_of_other_parameters_data_or_start_is_not_resumed(start, by_context, dev, tmp_path, monkeypatch):
    kill_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(start, by_context, dev, tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="another kl; delete this folder"):
        run(start, by_context, dev, tmp_path / "out", kl=0.1)
    with pytest.raises(TrainingError, match="the examples"):
        run(start, by_context[1:], dev, tmp_path / "out")
    shutil.copytree(start, tmp_path / "student")
    (tmp_path / "student" / "student.json").write_text((start / "student.json").read_text() + "\n")
    with pytest.raises(TrainingError, match="another start"):
        run(tmp_path / "student", by_context, dev, tmp_path / "out")


def test_work_without_a_checkpoint_is_begun_anew(start, by_context, dev, tmp_path, monkeypatch):
    out, tried = tmp_path / "out", []
    monkeypatch.setattr("lib.training.reinforce.try_pool", lambda *given: tried.append(1) or try_pool(*given))
    with monkeypatch.context() as killing:
        kill_after(0, killing)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(start, by_context, dev, out, checkpoint_minutes=10.0, temperature=0.9)
    result = run(start, by_context, dev, out, checkpoint_minutes=10.0, max_steps=2)
    assert len(tried) == 2, "once for each temperature"
    assert {line["step"] for line in monitor.read(out / "guards.csv")} == {0, 2}
    again = run(start, by_context, dev, out, checkpoint_minutes=10.0, max_steps=2)
    assert len(tried) == 2 and (again.kept, again.seen) == (result.kept, result.seen), "finished"
    assert again.reward == pytest.approx(result.reward)


def test_a_constant_reward_ends_before_training(start, by_context, dev, tmp_path):
    class Zero(Vending):
        def score(self, example, calls):
            return Score(False, 0.0, "wrong_target")

    with pytest.raises(TrainingError, match=r"equal rewards \(mean 0\.00\).*raise temperature"):
        run(start, by_context, dev, tmp_path / "out", task=Zero())


def test_probabilities_that_are_no_numbers_end_with_a_remedy(start, by_context, dev, tmp_path):
    student = students.load(start)
    student.model.model.norm.weight.data.fill_(float("nan"))
    broken = students.save(student, tmp_path / "broken")
    with pytest.raises(TrainingError, match="no numbers; lower learning_rate"):
        run(broken, by_context, dev, tmp_path / "out")


def test_bad_input_is_named_before_any_work(start, by_context, dev, tmp_path):
    with pytest.raises(TrainingError, match="no examples to learn from"):
        run(start, [], dev, tmp_path / "out")
    with pytest.raises(TrainingError, match="no development set"):
        run(start, by_context, [], tmp_path / "out")
    with pytest.raises(TrainingError, match="absent: reinforcement starts from a student's folder"):
        run(tmp_path / "absent", by_context, dev, tmp_path / "out")
    with pytest.raises(students.StudentError, match="'tests.toy_task', not 'home'"):
        run(start, by_context, dev, tmp_path / "out", task=load_task("home"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample": 8}, "unknown parameter 'sample'"),
        ({"samples": 1}, "samples: "),
        ({"groups_at_once": 3}, "groups_at_once: 3 does not divide groups_per_step"),
        ({"kl": -1.0}, "kl: "),
        ({"temperature": 0.0}, "temperature: "),
        ({"rows_per_step": 4}, "unknown parameter 'rows_per_step'"),
        ({"pool": 9, "pool_shares": {"a": 0.7, "b": 0.4}}, "pool_shares: .*at most 1 together"),
        ({"pool_shares": {"a": 0.5}}, "pool_shares: needs a pool above 0"),
        ({"pool": 9, "together": 2, "pool_shares": {"a": 0.5}}, "pool_shares: needs .* together: 1"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(ParamsError, match=f"training: {message}"):
        settings(**wrong)


def test_the_time_cap_stops_the_training_with_an_examination(start, by_context, dev, tmp_path):
    result = run(start, by_context, dev, tmp_path / "out", max_steps=1000, max_minutes=1.0e-6, guard_every=1000)
    assert result.steps == 1 and "1 of 1,000 steps" in result.stopped
    assert pd.read_csv(result.folder / "guards.csv")["step"].unique().tolist() == [0, 1]


def test_unfinished_and_unreadable_answers_get_nothing(start, requests):
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    groups = sample(student.model, codec, settings(max_new=3), requests[:8], 4, Sampler(1.0, "a"))
    short = [s for g in groups for s in g.samples]
    assert all(len(s.ids) <= 3 for s in short)
    cut = [s for s in short if s.ids[-1] != student.vocabulary.end]
    assert cut and all((s.reward, s.reading.error) == (0, "no end") for s in cut)


def test_graded_and_binary_rewards(start, requests):
    class Half(Vending):
        def score(self, example, calls):
            return Score(True, 1.0) if calls in example.gold else Score(False, 0.5, "wrong_target")

    student = students.load(start)
    codec = Codec(Half(), student.vocabulary)
    for graded, middle in ((True, {0.5}), (False, set())):
        groups = sample(student.model, codec, settings(graded=graded), requests, 4, Sampler(1.0, "a"))
        assert {s.reward for g in groups for s in g.samples} - {0.0, 1.0} == middle


def test_the_pool_keeps_requests_whose_rewards_differ(start, by_context):
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    pool = try_pool(student.model, codec, settings(pool=20), by_context)
    assert 0 < pool.kept < pool.seen == 20 and 0 < pool.reward < 1
    assert pool == try_pool(student.model, codec, settings(pool=20), by_context)
    table = pool.table(Rated()).set_index(["of", "name"])
    assert table.loc[("level", "T0")].to_dict() == {"tried": 20, "kept": pool.kept}
    assert table.loc["trait"]["kept"].sum() == pool.kept
    half = pool.kept
    plan = [e.id for e, _ in pool.requests(range(2 * half), codec, seed=1)]
    assert sorted(plan[:half]) == sorted(plan[half:]) == sorted(pool.examples[i].id for (i,) in pool.runs)
    assert plan[:half] != plan[half:]


def test_anchors_are_requests_that_are_right_every_time(start, by_context):
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    plain, pool = (try_pool(student.model, codec, settings(anchors=n), by_context) for n in (0.0, 0.5))
    assert (pool.kept, pool.tried, plain.anchors) == (plain.kept, plain.tried, 0)
    assert pool.runs[: len(plain.runs)] == plain.runs and len(pool.runs) == len(plain.runs) + pool.anchors
    assert 0 < pool.anchors <= round(0.5 * pool.kept), "the start gets some requests right every time"
    assert not {i for (i,) in pool.runs[-pool.anchors :]} & {i for run in plain.runs for i in run}
    assert pool.table(TASK)["kept"].tolist() == plain.table(TASK)["kept"].tolist()
    asked = [e.id for e, _ in pool.requests(range(len(pool.runs)), codec, seed=1)]
    assert sorted(asked) == sorted(pool.examples[i].id for (i,) in pool.runs)


class Rated(Vending):
    """A machine whose refills are told from the rest."""

    def traits(self, example):
        return [example.gold[0][0]["name"]]


def test_the_pool_has_the_shares_that_are_asked_for(by_context, monkeypatch):
    mixed = [[replace(e, source="human" if g == 0 else "toy") for e in group] for g, group in enumerate(by_context)]
    monkeypatch.setattr("lib.training.sampling.sample", lambda m, c, p, asked, *a, **k: _spread(asked))
    student = tiny_student()
    codec = Codec(Rated(), student.vocabulary)
    for shares, counts in (({"human": 0.2, "Refill": 0.5}, (2, 5, 3)), ({"human": 0.9}, (4, 0, 6))):
        pool = try_pool(student.model, codec, settings(pool=10, pool_shares=shares), mixed)
        drawn = [pool.examples[i] for i in pool.tried]
        human = sum(e.source == "human" for e in drawn)
        refills = sum(e.source == "toy" and e.gold[0][0]["name"] == "Refill" for e in drawn)
        assert (len(drawn), human) == (10, counts[0]) and len(set(pool.tried)) == 10
        assert refills == counts[1] or "Refill" not in shares


def test_the_pool_is_drawn_by_level_or_by_context(by_context, monkeypatch):
    levels = [[replace(e, level="rare" if g == 0 else "often") for e in group] for g, group in enumerate(by_context)]
    drawn = []
    monkeypatch.setattr(
        "lib.training.sampling.sample", lambda m, c, p, asked, *a, **k: drawn.append(asked) or _spread(asked)
    )
    student = tiny_student()
    codec = Codec(TASK, student.vocabulary)
    pools = [try_pool(student.model, codec, settings(pool=10, together=n), levels) for n in (1, 3)]
    assert sum(e.level == "rare" for e, _ in drawn[0]) == 4
    assert [len(asked) for asked in drawn] == [10, 10] == [p.kept for p in pools]
    assert [len(run) for run in pools[1].runs] == [3, 1, 3, 1, 2]
    for run in pools[1].runs:
        assert len({pools[1].examples[i].id.split("-")[0] for i in run}) == 1
    prompts = [prompt for _, prompt in pools[1].requests(range(10), codec, seed=1)]
    assert len({tuple(p.prefix) for p in prompts}) <= len(pools[1].runs)


def _spread(requests):
    """Groups that all differ in reward."""
    samples = [Sample([1], Reading("", []), reward, False) for reward in (0.0, 1.0)]
    return [Group(prompt, samples) for _, prompt in requests]


def test_alarms_for_each_trick():
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
    chosen = [*requests[:4], requests[4], *requests[8:12]]
    prompts = [prompt for _, prompt in chosen]
    found = batches(prompts, 3, by_prefix=True)
    assert sorted(map(len, found)) == [1, 1, 1, 3, 3]
    assert all(len({tuple(prompts[i].prefix) for i in batch}) == 1 for batch in found)
    assert len(batches(prompts, 3, by_prefix=False)) == 3
    student = students.load(start)
    codec = Codec(TASK, student.vocabulary)
    one, other = (
        sample(student.model, codec, settings(samples=2, sequences_at_once=n), chosen, 2, _greedy) for n in (6, 2)
    )
    assert [[s.ids for s in g.samples] for g in one] == [[s.ids for s in g.samples] for g in other]


def _greedy(logits, rows):
    return logits.argmax(-1), logits.max(-1).values


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
