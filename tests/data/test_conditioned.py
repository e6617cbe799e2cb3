"""Learning with rewards: the prompt's last control, the best where none is named; at least half is accepted."""

import pickle
from collections import Counter
from dataclasses import replace

import pytest
from toy_model import tiny_base
from toy_task import TASK, examples

from lib.core.files import write_jsonl
from lib.core.task import Example
from lib.data import study_data
from lib.data.conditioned import BEST, CONTROLS, KEY, Reward, mixed
from lib.data.filter import FEW_REACH, NONE_REACHES, TESTED
from lib.model import student as students
from lib.model.codec import Codec
from lib.training import finetune
from lib.training.packing import Packer

ACCEPTED = [e for group in examples(3, 4) for e in group]


def rejected(count):
    reasons = [FEW_REACH, NONE_REACHES]
    return [replace(ACCEPTED[i % 12], id=f"r{i}", extra={"reason": reasons[i % 2]}) for i in range(count)]


def test_prompts_end_with_the_reward():
    task = Reward(TASK)
    codec = Codec(task, students.build(task, tiny_base(2), vocab_size=400, layers=2).vocabulary)
    plain = Codec(TASK, codec.vocabulary)
    for e, reward in zip(mixed(ACCEPTED[:2], rejected(2)), (BEST, BEST, 1, 0), strict=True):
        prompt, bare = (c.prompt(e.context, e.text) for c in (codec, plain))
        assert prompt.prefix == bare.prefix, "what requests of a context share is the same for all rewards"
        assert prompt.request == [*bare.request, codec.vocabulary.controls[str(CONTROLS[reward])]]
    asked = codec.prompt(ACCEPTED[0].context, ACCEPTED[0].text)
    assert asked.request[-1] == codec.vocabulary.controls[str(CONTROLS[BEST])]
    assert isinstance(pickle.loads(pickle.dumps(task)), Reward) and task.name == TASK.name


@pytest.mark.parametrize(("count", "kept"), [(4, 4), (12, 12), (40, 12)])
def test_at_least_half_is_accepted(count, kept):
    found = Counter(e.context[KEY] for e in mixed(ACCEPTED, rejected(count)))
    assert found[BEST] == 12 and found[0] + found[1] == kept and min(found[0], found[1]) > 1


def test_the_words_of_a_test_are_never_learnt(tmp_path):
    reasons = [TESTED, FEW_REACH, NONE_REACHES, "another"]
    rows = [replace(e, extra={"reason": r}) for e, r in zip(ACCEPTED, reasons, strict=False)]
    for name, some in (("tests", ACCEPTED[5:]), ("accepted", ACCEPTED[:5]), ("rejected", rows)):
        write_jsonl(tmp_path / f"{name}.jsonl", (e.to_dict() for e in some))

    class Plain:
        contexts = staticmethod(lambda path: {})
        resolve = staticmethod(lambda rows, contexts: list(rows))

    places = [tmp_path / f"{name}.jsonl" for name in ("tests", "accepted")]
    data = study_data.read(Plain(), [], *places, rejected=tmp_path / "rejected.jsonl")
    assert [e.extra["reason"] for e in data.refused] == [FEW_REACH, NONE_REACHES] and not data.unlabelled
    with pytest.raises(KeyError):
        Reward.of(rows[0])


def test_the_trainer_learns_each_answer_with_its_reward(tmp_path):
    """Of each request a right answer is accepted and a wrong one rejected."""
    right = [e for group in examples(30, 4, items=2) for e in group if e.gold[0][0]["name"] == "Give"]

    def other(e: Example) -> Example:
        name = next(n for n in e.context["items"] if n != e.gold[0][0]["arguments"]["item"])
        return replace(
            e, id=f"{e.id}w", gold=[[{"name": "Give", "arguments": {"item": name}}]], extra={"reason": NONE_REACHES}
        )

    task, mixture = Reward(TASK), mixed(right, [other(e) for e in right])
    groups = [[e] for e in mixture]
    base = students.save(students.build(task, tiny_base(2), vocab_size=400, layers=2), tmp_path / "base")
    params = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 2, "precision": "fp32", "base": str(base)}
    result = finetune.train(params, task, groups, tmp_path / "out")
    student = students.load(result.folder)
    assert {str(c) for c in CONTROLS} <= set(student.info["controls"])
    rows = Packer(Codec(task, student.vocabulary), groups, 256).epoch()
    found = Counter(s.ids[-s.answer - 1] for row in rows for block in row for s in block.segments)
    assert found == {student.vocabulary.controls[str(CONTROLS[r])]: len(right) for r in (0, BEST)}
