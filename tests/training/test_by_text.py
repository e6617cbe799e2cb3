"""An assistant of another vocabulary: answers are aligned by their text, and the student comes nearer to it."""

import json

import pytest
import torch
import toy_model
from test_finetune import read_steps
from test_qwen import qwen, saved
from toy_model import tiny_student
from toy_task import TASK, examples

from lib.model import student as students
from lib.training import distill
from lib.training.distill import FAR, ByText, divergences
from lib.training.finetune import train
from lib.training.params import Distillation
from lib.training.trainer import RowBatches

pytestmark = pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")

PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "precision": "fp32", "align": "text", "ce_weight": 0.0}
OTHER_WORDS = ["give me the brown bread and a glass of water", "refill every row up to the brim, salt and nuts", "gum"]
ROWS = Distillation.read({"max_steps": 1, "row_tokens": 128, "precision": "fp32"}, "training")


@pytest.fixture(scope="module")
def by_context():
    return examples(12, 4, items=3)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory, by_context):
    """Of a Qwen2, with its tokenizer and its way to split text; taught a little."""
    folder = tmp_path_factory.mktemp("assistant")
    with pytest.MonkeyPatch.context() as words:
        words.setattr(toy_model, "WORDS", OTHER_WORDS)
        base = saved(folder / "base", qwen(hidden=64, seed=3))
    settings = {key: PARAMS[key] for key in ("row_tokens", "learning_rate", "precision")}
    settings |= {"base": str(base), "layers": 3, "vocab_size": 100_000, "max_steps": 20}
    return train(settings, TASK, by_context, folder / "assistant").folder


@pytest.fixture
def batch(assistant, start, by_context):
    """Both students, the loss between them, and one batch of rows for both."""
    pair = students.load(assistant), students.load(start)
    rows = RowBatches(ROWS, TASK, pair[1], by_context, pair[0].vocabulary)
    return *pair, ByText(pair[0].vocabulary, pair[1].vocabulary, "cpu"), rows([0, 1])


def spoken(student):
    """Logits and tokens of two texts, which the vocabularies cut at different places."""
    vocabulary = student.vocabulary
    told = [[*vocabulary.encode_text(t), vocabulary.end] for t in ("two teas and an apple", "refill up to the brim")]
    ids = torch.tensor(sum(told, []))
    return torch.randn(len(ids), len(vocabulary), generator=torch.Generator().manual_seed(0)), ids


def test_answers_are_aligned_by_their_text(batch):
    assistant, student, loss, _ = batch
    seen, inner = [], loss._merged
    loss.loss._merge_probabilities_with_alignment_groups = lambda p, g, ids: seen.append((g, ids)) or inner(p, g, ids)
    known, own = spoken(assistant), spoken(student)
    loss(known, own)
    assert loss.loss.last_matched_loss > 0 and loss.loss.last_unmatched_loss > 0
    vocabularies = student.vocabulary, assistant.vocabulary
    texts = [
        [b"".join(v.bytes[ids[i]] for i in group) for group in groups]
        for v, (groups, ids) in zip(vocabularies, seen, strict=True)
    ]
    assert texts[0] == texts[1]
    answers = own[1].tolist().count(student.vocabulary.end)
    assert texts[0].count(b"<|im_end|>") == answers > 1, "one piece for the end of each answer"
    assert [ids for _, ids in seen] == [own[1].tolist(), known[1].tolist()], "no token is left out"
    assert max(len(group) for groups, _ in seen for group in groups) > 1, "some pieces have several tokens"


def test_both_read_the_same_requests(batch):
    assistant, student, _, inputs = batch
    for r in range(2):
        texts = [
            s.vocabulary.decode(found["input_ids"][r].tolist())
            for s, found in ((student, inputs), (assistant, inputs["assistant"]))
        ]
        assert texts[0] == texts[1] and texts[0]


def test_an_answer_that_a_vocabulary_writes_otherwise_spoils_no_other(start):
    vocabulary = students.load(start).vocabulary
    told = [[*vocabulary.encode_text(text), vocabulary.end] for text in ("tea", "an apple")]
    ends = distill._ends(torch.tensor(sum(told, [])), vocabulary).tolist()
    assert ends[: len(told[0])][-2:] == [3, FAR] and ends[-2:] == [FAR + 8, 2 * FAR]
    assert ends == sorted(ends)


def test_for_one_vocabulary_it_is_the_divergence_of_all_tokens(start):
    vocabulary = students.load(start).vocabulary
    ids = torch.tensor([*vocabulary.encode_text("two teas and an apple"), vocabulary.end])
    torch.manual_seed(0)
    known, own = torch.randn(2, len(ids), len(vocabulary)).unbind()
    found = ByText(vocabulary, vocabulary, "cpu")((known, ids), (own, ids))
    assert found.sum().item() == pytest.approx(divergences(known, own).sum().item(), rel=1e-3)


def test_it_is_the_loss_of_trl(batch):
    """Its own merge, of one group after another, gives the same value and gradient."""
    assistant, student, loss, _ = batch
    known, (logits, answers) = spoken(assistant), spoken(student)
    found = []
    for own_merge in (False, True):
        given = logits.clone().requires_grad_()
        if own_merge:
            del loss.loss._merge_probabilities_with_alignment_groups
        value = loss(known, (given, answers)).mean()
        value.backward()
        found.append((value.detach(), given.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_the_student_comes_nearer_to_an_assistant_of_another_vocabulary(assistant, start, by_context, tmp_path):
    params = {**PARAMS, "max_steps": 20}
    result = distill.train(params, TASK, assistant, start, by_context[:10], tmp_path / "out", by_context[10:])
    rows = read_steps(result.folder / "steps.csv")
    assert rows[-1]["divergence"] < 0.8 * rows[0]["divergence"]
    assert result.kl_after < 0.9 * result.kl_before
    known = json.loads((result.folder / "student.json").read_text())
    assert known["training"]["align"] == "text" and known["controls"]
    assert len(students.load(result.folder).vocabulary) == len(students.load(start).vocabulary)


def test_rows_at_once_equal_rows_in_turn(assistant, start, by_context, tmp_path):
    logs = []
    for at_once in (1, 4):
        params = {**PARAMS, "max_steps": 1, "rows_per_step": 4, "rows_at_once": at_once, "row_tokens": 128}
        result = distill.train(params, TASK, assistant, start, by_context, tmp_path / f"{at_once}")
        logs += read_steps(result.folder / "steps.csv")
    for column in ("loss", "ce", "divergence"):
        assert logs[0][column] == pytest.approx(logs[1][column], rel=1e-3)


def test_models_of_one_vocabulary_are_compared_by_tokens_all_the_same(start, by_context, tmp_path):
    assistant = students.save(tiny_student(2, seed=1), tmp_path / "assistant")
    losses = []
    for align in ("tokens", "text"):
        params = {**PARAMS, "max_steps": 2, "align": align}
        result = distill.train(params, TASK, assistant, start, by_context, tmp_path / align, by_context[:2])
        losses.append([row["loss"] for row in read_steps(result.folder / "steps.csv")] + [result.kl_after])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
