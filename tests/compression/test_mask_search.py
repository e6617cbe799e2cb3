"""Masks, their odds, and the search: masks compute what cuts do, gradients point up, and dead parts are found."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch
from test_prune import ROWS, logits, wide_student
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples
from transformers import LlamaConfig, LlamaForCausalLM

from lib.compression.prune import Importance, Sizes, measure, prune
from lib.compression.shape import (
    Layout,
    Parts,
    SearchParams,
    _rewards,
    _within,
    advantages,
    draw,
    gradient,
    masked,
    project,
    search,
)
from lib.core.params import ParamsError
from lib.model import student
from lib.model.codec import Codec
from lib.model.student import Student
from lib.training.finetune import train
from lib.training.packing import Packer, collate

GROUPS = examples(12, 6, items=3)
FLAT = [e for examples in GROUPS for e in examples]
SMALL = {"steps": 6, "samples": 3, "rows": 1, "row_tokens": 192, "block": 32}


def measured(model: Student) -> Importance:
    return measure(model, TASK, FLAT[:8])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Two layers that answer some requests rightly and some wrongly."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {"row_tokens": 256, "learning_rate": 4.0e-3, "max_steps": 40, "precision": "fp32"}
    settings |= {"base": str(saved_student(folder / "start", layers=2, seed=1))}
    return student.load(train(settings, TASK, examples(60, 6, seed=5, items=3), folder / "out").folder)


def odd_masks(model: Student, seed: int) -> tuple[Parts, Layout, Sizes]:
    """Random masks that keep as many units and heads in each layer."""
    rng = Random(seed)
    config = model.model.config
    layout = Layout(measure(model, TASK, ROWS[:2]), block=48)
    depth, kv = config.num_hidden_layers, config.num_key_value_heads
    kept = {name: torch.zeros(depth, n, dtype=torch.bool) for name, n in (("ffn", 8), ("kv_heads", kv))}
    for i in range(depth):
        kept["ffn"][i, rng.sample(range(8), 5)] = True
        kept["kv_heads"][i, rng.sample(range(kv), 2)] = True
    layers = torch.tensor([True, *(rng.random() < 0.5 for _ in range(depth - 2)), True])
    return {"layers": layers, **kept}, layout, Sizes(int(layers.sum()), 80, 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_masked_student_computes_what_the_cut_one_does(seed: int) -> None:
    whole = wide_student(5)
    before = logits(whole)
    kept, layout, sizes = odd_masks(whole, seed)
    with masked(whole.model, kept, layout):
        inside = logits(whole)
    scores = Importance(kept["layers"].float(), layout.units(kept["ffn"]).float(), kept["kv_heads"].float())
    torch.testing.assert_close(inside, logits(prune(whole, scores, sizes)), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(inside, before, atol=1e-2)
    torch.testing.assert_close(logits(whole), before, atol=0, rtol=0)


def test_masks_end_with_an_error_inside() -> None:
    whole = wide_student(3)
    before = logits(whole)
    kept, layout, _ = odd_masks(whole, 0)
    with pytest.raises(KeyError), masked(whole.model, kept, layout):
        raise KeyError
    torch.testing.assert_close(logits(whole), before, atol=0, rtol=0)


def test_expected_counts_meet_the_budget() -> None:
    torch.manual_seed(0)
    values = 6 * torch.randn(5, 9, dtype=torch.float64)
    values[:, 0], values[:, 1] = torch.inf, -torch.inf
    new = project(values, 4.7)
    assert new.sigmoid().sum(-1).tolist() == pytest.approx([4.7] * 5, abs=1e-6)
    assert new[:, 0].eq(torch.inf).all() and new[:, 1].eq(-torch.inf).all(), "what is decided stays"
    assert (new[:, 2:].argsort() == values[:, 2:].argsort()).all(), "the order of the parts stays"
    assert project(torch.full((3,), torch.inf), 3).eq(torch.inf).all()


def brute_force(odds: torch.Tensor) -> torch.Tensor:
    """The gradient of the expected worth by the logits, over all masks of three parts."""
    total = torch.zeros_like(odds)
    for bits in product((0.0, 1.0), repeat=3):
        mask = torch.tensor(bits, dtype=odds.dtype)
        chance = torch.where(mask > 0, odds, 1 - odds).prod()
        total += chance * worth(mask) * (mask - odds)
    return total


def worth(mask: torch.Tensor) -> torch.Tensor:
    """The first two parts help together alone, the third one harms."""
    return 0.8 * mask[..., 0] * mask[..., 1] + 0.1 * mask[..., 0] - 0.4 * mask[..., 2]


def test_the_estimated_gradient_is_that_of_all_masks() -> None:
    values = {"layers": torch.full((1,), torch.inf).double(), "kv_heads": torch.tensor([[0.5, -0.3, 0.8]]).double()}
    exact = brute_force(values["kv_heads"][0].sigmoid())
    total = torch.zeros(3, dtype=torch.float64)
    for seed in range(1500):
        kept = draw(values, 4, seed)
        rewards = worth(kept["kv_heads"][:, 0].double())
        better = (rewards - rewards.mean()) * 4 / 3
        total += gradient(values, kept, better)["kv_heads"][0] / 1500
    torch.testing.assert_close(total, exact, atol=0.012, rtol=0)
    kept = draw(values, 4000, 1)
    found = gradient(values, kept, advantages(worth(kept["kv_heads"][:, 0].double())))["kv_heads"][0]
    assert (found.sign() == exact.sign()).all() and exact.sign().tolist() == [1, 1, -1]
    assert torch.cosine_similarity(found, exact, dim=0) > 0.99


@pytest.mark.parametrize("free", [False, True])
def test_the_estimated_gradient_of_the_loss_is_that_of_all_masks(free: bool) -> None:
    """Two layers of two blocks: sixteen masks, each with the model's own loss."""
    model = wide_student(2)
    layout = Layout(measured(model), block=64)
    batch = collate([Packer(Codec(TASK, model.vocabulary), GROUPS, 192).row(0)], model.vocabulary.end)
    masks = torch.tensor([*product((False, True), repeat=4)]).view(16, 2, 2)
    kept = {"layers": torch.ones(16, 2, dtype=torch.bool), "kv_heads": torch.ones(16, 2, 3, dtype=torch.bool)}
    reward = _rewards(model.model, {**kept, "ffn": masks}, layout, batch)
    assert len({round(float(r), 4) for r in reward}) == 16, "every mask has a loss of its own"
    fixed = {"layers": torch.full((2,), torch.inf).double(), "kv_heads": torch.full((2, 3), torch.inf).double()}
    start = torch.tensor([[0.9, -0.2], [0.4, -0.8]]).double()
    values = {**fixed, "ffn": _within("ffn", start, 1.2, free)}
    odds = values["ffn"].sigmoid()
    assert odds.sum(-1).tolist() == pytest.approx([1.2, 1.2], abs=1e-6) or free
    assert float(odds.sum()) == pytest.approx(2.4, abs=1e-6)
    chances = torch.where(masks, odds, 1 - odds).flatten(1).prod(1)
    exact = (chances[:, None, None] * reward[:, None, None] * (masks.double() - odds)).sum(0)
    total = torch.zeros(2, 2).double()
    for seed in range(1500):
        drawn = draw(values, 4, seed)
        found = reward[(drawn["ffn"].flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1)]
        total += gradient(values, drawn, (found - found.mean()) * 4 / 3)["ffn"] / 1500
    torch.testing.assert_close(total, exact, atol=0.1 * float(exact.abs().max()), rtol=0)


def test_free_layers_share_one_budget(trained: Student) -> None:
    """The second layer's units do nothing: more of the first one's stay."""
    model = Student(prune(trained, measured(trained), Sizes()).model, trained.vocabulary, trained.info)
    with torch.no_grad():
        model.model.model.layers[1].mlp.down_proj.weight.zero_()
    changed = {"steps": 30, "samples": 6, "block": 32, "trust": 0.0, "learning_rate": 0.5}
    params, sizes = SearchParams(**{**SMALL, **changed}), Sizes(ffn_width=64)
    found = search(model, TASK, GROUPS, sizes, measured(model), params, free=True)
    assert float(found.ffn.sum()) == pytest.approx(2 * 64, abs=1e-2)
    assert found.ffn[0].sum() > 64 + 10 > 64 - 10 > found.ffn[1].sum()
    small = prune(model, found, sizes, free=True)
    widths = [int((layer.mlp.down_proj.weight != 0).any(0).sum()) for layer in small.model.model.layers]
    assert widths[0] > 64 and small.model.config.intermediate_size >= widths[0]
    equal = search(model, TASK, GROUPS, sizes, measured(model), params)
    assert equal.ffn.sum(-1).tolist() == pytest.approx([64, 64], abs=1e-2)


def test_parts_of_a_layer_that_is_off_learn_nothing() -> None:
    values = {"layers": torch.zeros(2).double(), "kv_heads": torch.zeros(2, 3).double()}
    kept = {"layers": torch.tensor([[True, False], [True, False]]), "kv_heads": torch.rand(2, 2, 3) < 0.5}
    found = gradient(values, kept, torch.tensor([1.0, -1.0]).double())
    assert found["kv_heads"][1].eq(0).all()
    assert advantages(torch.tensor([0.3, 0.3, 0.3])).eq(0).all(), "equal masks teach nothing"


def with_dead_parts(whole: Student) -> Student:
    """Twice the channels, a second group of heads and a third layer in the middle, none of which does anything."""
    config = whole.model.config
    sizes = {"num_hidden_layers": 3, "intermediate_size": 256, "num_key_value_heads": 2, "num_attention_heads": 4}
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig.from_dict({**config.to_dict(), **sizes, "head_dim": 32})).eval()
    model.load_state_dict({k: v for k, v in whole.model.state_dict().items() if ".layers." not in k}, strict=False)
    with torch.no_grad():
        for old, new in ((0, 0), (1, 2)):
            for name, weight in whole.model.model.layers[old].state_dict().items():
                place = model.model.layers[new].state_dict()[name]
                if place.dim() == 2 and name.split(".")[-2] in ("o_proj", "down_proj"):
                    place[:, weight.shape[1] :] = 0
                place[tuple(slice(0, n) for n in weight.shape)] = weight
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            model.model.layers[1].get_submodule(name).weight.zero_()
    return Student(model, whole.vocabulary, {**whole.info, "layers": [0, 0, 1]})


def test_the_search_finds_the_parts_that_do_nothing(trained: Student) -> None:
    wide = with_dead_parts(trained)
    torch.testing.assert_close(logits(wide), logits(trained), atol=1e-3, rtol=1e-3)
    weights = {name: value.clone() for name, value in wide.model.state_dict().items()}
    sizes = Sizes(layers=2, ffn_width=128, kv_heads=1)
    changed = {"steps": 40, "samples": 6, "block": 128, "trust": 0.0, "learning_rate": 1.0}
    found = search(wide, TASK, GROUPS, sizes, measured(wide), SearchParams(**{**SMALL, **changed}))
    small = prune(wide, found, sizes)
    assert small.info["layers"] == [0, 1], "the layer between did nothing"
    torch.testing.assert_close(logits(small), logits(trained), atol=1e-3, rtol=1e-3)
    assert all(torch.equal(value, weights[name]) for name, value in wide.model.state_dict().items())
    assert float(found.layers.sum()) == pytest.approx(2, abs=1e-4)
    assert found.ffn.sum(-1).tolist() == pytest.approx([128] * 3, abs=1e-2)
    assert found.kv_heads.sum(-1).tolist() == pytest.approx([1] * 3, abs=1e-4)


def test_what_is_not_cut_is_not_searched() -> None:
    whole = wide_student(4)
    found = search(whole, TASK, GROUPS, Sizes(layers=3), measured(whole), SearchParams(**SMALL))
    assert found.ffn.min() > 0.99 and found.kv_heads.min() > 0.99
    assert found.layers[[0, -1]].min() > 0.99 and float(found.layers.sum()) == pytest.approx(3, abs=1e-4)
    outer = search(whole, TASK, GROUPS, Sizes(layers=2), measured(whole), SearchParams(**SMALL))
    assert prune(whole, outer, Sizes(layers=2)).info["layers"] == [0, 3]


def test_equal_seeds_find_the_same() -> None:
    model = tiny_student(3)
    first, again, other = (
        search(model, TASK, GROUPS, Sizes(ffn_width=64), measured(model), SearchParams(**SMALL, seed=seed)).ffn
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_impossible_searches_are_named() -> None:
    model = tiny_student(3)
    with pytest.raises(ParamsError, match="cuts nothing"):
        search(model, TASK, GROUPS, Sizes(ffn_width=128), measured(model), SearchParams())
    with pytest.raises(ParamsError, match="ffn_width: 200 of 128"):
        search(model, TASK, GROUPS, Sizes(ffn_width=200), measured(model), SearchParams())
    with pytest.raises(ParamsError, match="search: samples: .* greater than or equal to 2"):
        SearchParams.read({"samples": 1}, "search")
