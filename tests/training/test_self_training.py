"""Self-training: only what most samples agree on and the task can execute is accepted; everything else says why not."""

from dataclasses import replace

import pytest
from toy_model import saved_student
from toy_task import TASK, Vending, examples

from lib.core.params import ParamsError
from lib.model import student as students
from lib.training import self_training
from lib.training.params import SelfTraining
from lib.training.sampling import Group, Sample
from lib.training.self_training import DISAGREED, REFUSED, SOURCE, UNREAD, UNTAUGHT, label, quality

PARAMS = {"utterances": 4, "samples": 4, "agree": 3, "max_new": 2, "precision": "fp32"}
REQUESTS = [e for group in examples(1, 4, items=2) for e in group]
FIRST, SECOND, NONE = "Give(item=1)", "Give(item=2)", "none"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("model") / "student", layers=1)


@pytest.fixture
def says(monkeypatch):
    """Gives every request these answers instead of sampled ones."""

    def answered(codec, example, prompt, raw):
        reading = codec.read(codec.vocabulary.encode([raw]), prompt.refs)
        exact = not reading.error and codec.task.score(example, reading.calls).exact
        return Sample([1], reading, float(exact), exact)

    def given(*answers):
        def sample(model, codec, params, requests, samples, choose):
            return [Group(prompt, [answered(codec, e, prompt, raw) for raw in answers]) for e, prompt in requests]

        monkeypatch.setattr(self_training, "sample", sample)

    return given


@pytest.mark.parametrize(
    ("answers", "agreed", "reason"),
    [
        ([FIRST, SECOND, FIRST, FIRST], 3, ""),
        ([NONE] * 4, 4, ""),
        ([FIRST, SECOND, FIRST, SECOND], 2, DISAGREED),
        ([FIRST, NONE, FIRST, "?"], 2, DISAGREED),
        (["?", "Take(", FIRST, "?"], 3, UNREAD),
    ],
)
def test_what_most_samples_agree_on_is_accepted(model, says, answers, agreed, reason):
    says(*answers)
    rows = label(PARAMS, TASK, model, [replace(e, gold=[]) for e in REQUESTS])
    assert [row.example.id for row in rows] == [e.id for e in REQUESTS]
    for row in rows:
        assert (row.accepted, row.example.extra["agreed"]) == (not reason, agreed)
        assert row.example.extra.get("reason", "") == reason and row.example.source == SOURCE
        wanted = [{"name": "Give", "arguments": {"item": row.example.context["items"][0]}}]
        assert row.example.gold == [wanted if answers[0] == FIRST else []]


def test_what_the_task_refuses_is_rejected(model, says):
    class Refusing(Vending):
        def effect(self, calls, context):
            return None

    says(FIRST, FIRST, FIRST, "?")
    assert {row.example.extra["reason"] for row in label(PARAMS, Refusing(), model, REQUESTS)} == {REFUSED}


def test_nothing_is_learnt_of_an_answer_that_asks_back(model, says):
    class Asking(Vending):
        def parse(self, raw, refs):
            return [] if raw == "which?" else super().parse(raw, refs)

    says(*["which?"] * 4)
    assert {row.example.extra["reason"] for row in label(PARAMS, Asking(), model, REQUESTS)} == {UNTAUGHT}


def test_precision_is_that_of_the_accepted_ones(model, says):
    says(FIRST, FIRST, FIRST, SECOND)
    rows = label(PARAMS, TASK, model, REQUESTS)
    right = [e for e in REQUESTS if e.gold == [[{"name": "Give", "arguments": {"item": e.context["items"][0]}}]]]
    found = quality("toy", rows)
    assert (found["asked"], found["accepted"], found["acting"]) == (4, 4, 4)
    assert found["low"] < found["precision"] == len(right) / 4 < found["high"]
    says(FIRST, SECOND, FIRST, SECOND)
    assert quality("toy", label(PARAMS, TASK, model, REQUESTS))["accepted"] == quality("none", [])["accepted"] == 0


def test_an_untrained_model_labels_nothing_and_repeats_itself(model):
    rows = label({**PARAMS, "utterances": 2}, TASK, model, REQUESTS)
    assert len(rows) == 2 and not any(row.accepted for row in rows)
    assert rows == label({**PARAMS, "utterances": 2}, TASK, model, REQUESTS)


def test_no_utterances_load_no_model(tmp_path):
    assert label({**PARAMS, "utterances": 0}, TASK, tmp_path / "absent", REQUESTS) == []
    assert label(PARAMS, TASK, tmp_path / "absent", []) == []
    with pytest.raises(students.StudentError, match="not a whole student"):
        label(PARAMS, TASK, tmp_path / "absent", REQUESTS)


@pytest.mark.parametrize("agree", [2, 5])
def test_agreement_is_a_majority(agree):
    with pytest.raises(ParamsError, match=f"self_training: .*agree: {agree} is no majority of 4 samples"):
        SelfTraining.read({**PARAMS, "agree": agree}, "self_training")
