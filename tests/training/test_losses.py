"""The losses of a distillation: nothing for equal models, torch's figures, and gradients that push the right way."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lib.training.distill import divergences

TOKENS, VOCABULARY = 6, 40
KINDS = ("forward", "reverse")


@pytest.fixture
def logits():
    """Of an assistant and a student, (tokens, vocabulary)."""
    random = torch.Generator().manual_seed(0)
    return 3 * torch.randn(TOKENS, VOCABULARY, generator=random), 3 * torch.randn(TOKENS, VOCABULARY, generator=random)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 1, 7, VOCABULARY, 1000])
def test_equal_logits_have_no_divergence_and_no_gradient(logits, kind, top_k):
    student = logits[0].clone().requires_grad_()
    loss = divergences(logits[0], student + 2.5, kind, top_k)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.zeros(TOKENS), atol=1e-5, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 3])
def test_different_logits_have_one(logits, kind, top_k):
    assert divergences(*logits, kind, top_k).min() > 0


def test_over_the_whole_vocabulary_it_is_torchs(logits):
    p, q = (x.log_softmax(-1) for x in logits)
    expected = {"forward": (q, p), "reverse": (p, q)}
    for kind, (log, target) in expected.items():
        theirs = F.kl_div(log, target, reduction="none", log_target=True).sum(-1)
        torch.testing.assert_close(divergences(*logits, kind, VOCABULARY), theirs)


def test_merging_classes_never_adds_divergence(logits):
    found = [divergences(*logits, top_k=top_k) for top_k in (1, 5, 20, VOCABULARY)]
    assert all((more >= less - 1e-5).all() for less, more in pairwise(found))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 4])
def test_a_step_down_the_gradient_comes_nearer(logits, kind, top_k):
    student = logits[1].clone().requires_grad_()
    before = divergences(logits[0], student, kind, top_k)
    before.sum().backward()
    after = divergences(logits[0], student - 0.05 * student.grad, kind, top_k)
    assert (after <= before + 1e-5).all() and after.sum() < before.sum()


def test_forward_covers_what_reverse_may_leave_out():
    """An assistant with two likely tokens, a student that knows one of them."""
    assistant, student = torch.tensor([[4.0, 4.0, 0.0]]), torch.tensor([[4.0, -4.0, 0.0]])
    pull = {}
    for kind in ("forward", "reverse"):
        learnt = student.clone().requires_grad_()
        divergences(assistant, learnt, kind).sum().backward()
        pull[kind] = -learnt.grad[0, 1].item()
    assert pull["forward"] > 10 * abs(pull["reverse"])


def test_mass_outside_the_top_k_is_not_free():
    """A student that gives a token outside the assistant's top-k much is pulled back through the class of others."""
    assistant, student = torch.tensor([[5.0, 4.0, -5.0, -5.0]]), torch.tensor([[5.0, 4.0, 5.0, -5.0]]).requires_grad_()
    divergences(assistant, student, "forward", top_k=2).sum().backward()
    assert student.grad[0, 2] > 0.1


def test_extreme_logits_stay_numbers():
    assistant, student = torch.tensor([[80.0, -80.0, 0.0]]), torch.tensor([[-80.0, 80.0, 0.0]]).requires_grad_()
    for kind in KINDS:
        for top_k in (0, 1):
            loss = divergences(assistant, student, kind, top_k).sum()
            loss.backward()
            assert loss.isfinite() and student.grad.isfinite().all()
