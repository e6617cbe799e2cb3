"""Answers that the student gives to requests of packed rows: its own, where it was asked, and the same every time."""

import pytest
import torch
from toy_model import tiny_student
from toy_task import TASK, examples

from lib.model.codec import Codec
from lib.training.on_policy import SPARE, answered
from lib.training.packing import IGNORED, Packer, collate


@pytest.fixture(scope="module")
def student():
    return tiny_student(layers=2)


@pytest.fixture(scope="module")
def rows(student):
    packer = Packer(Codec(TASK, student.vocabulary), examples(6, 6, items=3), 256)
    return [packer.row(i) for i in range(packer.rows_until(1))]


def answer(student, rows, share=0.5, temperature=1.0, seed="1/0"):
    return answered(student.model, rows, {student.vocabulary.end}, share, temperature, seed)


def segments(rows):
    return [(block.prefix, s) for row in rows for block in row for s in block.segments]


def test_a_share_of_the_requests_gets_the_students_answer(student, rows):
    new = segments(answer(student, rows))
    sampled = [s.sampled for _, s in new]
    assert 0.2 < sum(sampled) / len(sampled) < 0.8
    for (prefix, old), (kept, segment) in zip(segments(rows), new, strict=True):
        assert prefix == kept
        request = old.ids[: len(old.ids) - old.answer]
        assert segment.ids[: len(request)] == request
        assert len(segment.ids) == len(request) + segment.answer
        assert 0 < segment.answer <= old.answer + SPARE
        assert segment.sampled or segment == old


def test_cold_answers_are_the_greedy_ones(student, rows):
    for prefix, segment in segments(answer(student, rows[:1], share=1.0, temperature=1e-4)):
        ids = prefix + segment.ids
        with torch.no_grad():
            best = student.model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
        assert best[len(ids) - segment.answer - 1 : -1] == segment.ids[-segment.answer :]


def test_equal_seeds_answer_equally_and_others_do_not(student, rows):
    assert answer(student, rows) == answer(student, rows)
    assert answer(student, rows) != answer(student, rows, seed="1/1")
    assert answer(student, rows, share=0.0) == rows


def test_all_are_answered_alike_with_and_without_a_shared_prefix(student, rows, monkeypatch):
    import lib.training.on_policy as module

    one = answer(student, rows[:2], share=1.0, temperature=1e-4)
    whole = module._batches
    monkeypatch.setattr(module, "_batches", lambda rows, chosen, shared: whole(rows, chosen, shared=False))
    assert answer(student, rows[:2], share=1.0, temperature=1e-4) == one


def test_a_batch_says_which_answers_were_sampled(student, rows):
    new = answer(student, rows)
    batch = collate(new, student.vocabulary.end)
    answers = batch["labels"] != IGNORED
    assert int((answers & batch["sampled"]).sum()) == sum(s.answer for _, s in segments(new) if s.sampled)
    assert int((answers & ~batch["sampled"]).sum()) == sum(s.answer for _, s in segments(new) if not s.sampled)
