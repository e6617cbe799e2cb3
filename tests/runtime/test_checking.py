"""A proposed answer is read in one pass: accepted, or continued to what the model would have written anyway."""

import math
from dataclasses import replace

import numpy as np
import pytest
from toy_model import saved_student
from toy_task import TASK

from lib.core.task import Answer, TaskError
from lib.model.gguf_read import GgufFile
from lib.model.gguf_write import export
from lib.runtime import onnx_engine
from lib.runtime.checking import NEVER, Checked, Draft, drafted, logprobs
from lib.runtime.gguf_student import ByServer, GgufStudent, Rules
from lib.runtime.onnx_engine import OnnxModel

CONTEXT = {"items": ["Tea", "Oat Bar", "Crème Brûlée", "Salt Nuts", "Rye Bread", "日本茶"]}
TEXTS = ("one tea please", "refill the oat bar to 30", "label it 日本茶", "hand out salt nuts")
GIVE = [{"name": "Give", "arguments": {"item": "Rye Bread"}}]
PROPOSALS = (
    [],
    GIVE,
    [{"name": "Refill", "arguments": {"item": "Tea", "amount": 12}}],
    [{"name": "Label", "arguments": {"item": "日本茶", "text": "it 日本茶"}}],
    GIVE * 2,
)


class Fixed:
    """A System that always answers the same."""

    name = "fixed"

    def __init__(self, answer):
        self._answer = answer

    def answer(self, text, context):
        return self._answer


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checking")
    return export(saved_student(folder / "student"), folder / "f16.gguf", "f16")


@pytest.fixture
def model(path):
    return GgufStudent(path, TASK, threads=1)


@pytest.fixture
def passes(model, monkeypatch):
    """The tokens of each forward pass."""
    found, run = [], model._runtime._model._run
    monkeypatch.setattr(model._runtime._model, "_run", lambda ids: found.append(list(ids)) or run(ids))
    return found


@pytest.mark.parametrize("proposed", PROPOSALS, ids=str)
def test_what_is_not_accepted_changes_no_answer(model, path, proposed):
    fresh = GgufStudent(path, TASK, threads=1)
    for text in TEXTS:
        own, checked = fresh.answer(text, CONTEXT), model.answer(text, CONTEXT, proposed)
        assert (checked.raw, checked.calls, checked.error) == (own.raw, own.calls, own.error)
        assert checked.confidence == pytest.approx(own.confidence, rel=1e-3)
        assert model.answer(text, CONTEXT).raw == own.raw, "what was read of a proposal is forgotten"


def test_what_the_model_would_write_is_its_answer_in_one_pass(model, passes):
    for text in TEXTS:
        prompt, rules = model.codec.prompt(CONTEXT, text), Rules(TASK.grammar(tuple(CONTEXT["items"])))
        own = model._runtime.complete(prompt, rules, 256)
        model.answer("something else", CONTEXT)
        passes.clear()
        checked = model._runtime.complete(prompt, rules, 256, Draft(own.ids, NEVER))
        assert checked.ids == own.ids and not own.cut_off
        assert checked.logprob == pytest.approx(own.logprob, abs=1e-2)
        assert len(passes) == 1


def test_a_proposal_is_accepted_by_its_least_likely_token(model, path, passes):
    model.answer(TEXTS[0], CONTEXT)
    prompt = model.codec.prompt(CONTEXT, TEXTS[1])
    draft = drafted(model.codec, GIVE, prompt.refs, 0, 256)
    rows = OnnxModel(GgufFile(path), 1).feed_for([*prompt.ids, *draft.ids[:-1]], len(draft.ids))
    rules = model._runtime._grammars.start(TASK.grammar(prompt.refs), TASK.copied(TEXTS[1]))
    found = logprobs(rows, draft.ids, rules)
    assert 0 < len(found) < len(draft.ids), "some tokens have no alternative"
    passes.clear()
    accepted = model.answer(TEXTS[1], CONTEXT, GIVE, math.exp(min(found)) * 0.99)
    assert accepted.calls == GIVE and len(passes) == 1
    assert accepted.confidence == pytest.approx(math.exp(sum(found)), rel=1e-3)
    assert model.answer(TEXTS[1], CONTEXT, GIVE, math.exp(min(found)) * 1.01).calls != GIVE


def test_what_the_grammar_does_not_allow_is_never_accepted(model):
    label = [{"name": "Label", "arguments": {"item": "Tea", "text": "nothing that was said"}}]
    unknown = [{"name": "Give", "arguments": {"item": "Gum"}}]
    for proposed in (label, unknown, GIVE * 100):
        assert model.answer(TEXTS[0], CONTEXT, proposed, 0.0).raw == model.answer(TEXTS[0], CONTEXT).raw


def test_a_checked_system_pays_for_both_and_checks_only_what_is_proposed(model):
    proposed = Answer(GIVE, new_tokens=5, prompt_tokens=7, cached_tokens=2, llm_calls=1)
    own = model.answer(TEXTS[0], CONTEXT)
    found = Checked(Fixed(proposed), model, 1e-30).answer(TEXTS[0], CONTEXT)
    assert found.calls == GIVE
    assert (found.prompt_tokens, found.llm_calls) == (own.prompt_tokens + 7, 1)
    for nothing in (
        replace(proposed, confidence=0.0),
        replace(proposed, error="no"),
        replace(proposed, ask={"a": "b"}),
    ):
        assert Checked(Fixed(nothing), model, 1e-30).answer(TEXTS[0], CONTEXT).raw == own.raw
    assert Checked(Fixed(proposed), model).answer(TEXTS[0], CONTEXT).raw == own.raw


def test_llama_cpp_checks_nothing_and_says_so(model):
    prompt = model.codec.prompt(CONTEXT, TEXTS[0])
    with pytest.raises(TaskError, match="use the runtime 'onnx'"):
        ByServer(None, model.codec.vocabulary).complete(prompt, None, 9, Draft([0], NEVER))


def test_logits_of_several_places_are_those_of_each(path, monkeypatch):
    monkeypatch.setattr(onnx_engine, "BATCH", 8)
    ids = [int(i) for i in np.random.default_rng(0).integers(0, 300, 20)]
    model = OnnxModel(GgufFile(path), 1)
    rows = model.feed_for(ids, 5)
    assert model.length == len(ids)
    for i, row in enumerate(rows):
        model.keep(15 + i)
        assert model.feed(ids[15 + i : 16 + i]) == pytest.approx(row, abs=1e-4)
