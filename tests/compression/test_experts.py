"""Experts: masks are the units that matter most to a domain, and one decision for a request holds in all layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_model import tiny_student
from toy_task import TASK, examples

from lib.compression import models
from lib.compression.experts import domains, router
from lib.compression.models import Job, compress
from lib.compression.prune import measure
from lib.compression.shape import Shape, cut
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.feed_forward import Weights
from lib.model.gguf_read import GgufError
from lib.model.gguf_write import export
from lib.model.student import Student
from lib.model.torch_student import TorchStudent, complete
from lib.training.layers import answer_logits
from lib.training.packing import Packer, collate
from lib.training.params import Distillation

GROUPS = examples(12, 6, items=3)
FLAT = [e for examples in GROUPS for e in examples]
SHAPE = Shape(ffn_width=48, experts=2, measured=100)


@pytest.fixture(scope="module")
def dense() -> Student:
    return tiny_student(3, seed=1)


@pytest.fixture(scope="module")
def divided(dense: Student) -> Student:
    return cut(TASK, dense, SHAPE, GROUPS)


def test_masks_are_the_most_important_units_of_each_domain(dense: Student, divided: Student) -> None:
    experts = divided.model.experts
    assert experts.masks.sum(-1).eq(48).all() and experts.masks.shape == (3, 3, 128)
    tools = [e.gold[0][0]["name"] for e in FLAT]
    assert tools.count("Give") > tools.count("Refill") > 0
    for mask, name in ((1, "Give"), (2, "Refill")):
        own = [e for e, tool in zip(FLAT, tools, strict=True) if tool == name]
        best = measure(dense, TASK, own, contexts=False).ffn.topk(48).indices
        assert experts.masks[mask].gather(1, best).all()
    assert experts.masks[0].gather(1, measure(dense, TASK, FLAT).ffn.topk(48).indices).all()
    assert not torch.equal(experts.masks[1], experts.masks[2])
    union = experts.masks.any(0)
    for layer, used in zip(divided.model.model.layers, union, strict=True):
        assert layer.mlp.down_proj.weight[:, ~used].eq(0).all() and layer.mlp.up_proj.weight[~used].eq(0).all()
    sizes, whole = Weights.of(divided.model), dense.model.num_parameters()
    assert sizes.stored == whole - 3 * 64 * int((~union).sum())
    assert sizes.active == whole - 3 * 64 * 3 * (128 - 48)


def test_the_router_tells_domains_apart_by_their_tokens() -> None:
    embedding = torch.randn(12, 32, generator=torch.Generator().manual_seed(0))
    requests = [[0, 1, k] for k in (2, 3, 4)] + [[5, 1, k] for k in (2, 3, 4)] + [[6, 6, 1]]
    table = router(embedding, requests, [0, 0, 0, 1, 1, 1, 2])
    found = [int(table[ids].sum(0).argmax()) for ids in ([0, 1, 7], [5, 1, 7], [6, 1, 6])]
    assert table.shape == (12, 3) and found == [0, 1, 2]
    assert domains(FLAT[:1] + FLAT, 2)[1:] == domains(FLAT, 2)


def test_one_decision_holds_for_a_request_in_all_layers(divided: Student) -> None:
    codec, experts = Codec(TASK, divided.vocabulary), divided.model.experts
    row = Packer(codec, GROUPS[:4], 400).row(0)
    batch: dict[str, Any] = collate([row], divided.vocabulary.end)
    seen: list[torch.Tensor] = []
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0][0] != 0))
        for layer in divided.model.model.layers
    ]
    with torch.no_grad():
        answer_logits(divided.model, batch)
    for hook in hooks:
        hook.remove()
    assert experts.chosen == 0, "what is read next is no request"
    at, used = 0, set()
    for block in row:
        parts = [(block.prefix, 0)]
        parts += [(s.ids, experts.expert(s.ids[: len(s.ids) - s.answer])) for s in block.segments]
        for ids, mask in parts:
            used.add(mask)
            for layer, ran in enumerate(seen):
                off = ~experts.masks[mask, layer]
                assert not ran[at : at + len(ids), off].any() and ran[at : at + len(ids), ~off].float().mean() > 0.9
            at += len(ids)
    assert used == {0, 1, 2}


def test_decoding_runs_the_experts_that_training_does(divided: Student) -> None:
    codec = Codec(TASK, divided.vocabulary)
    for example in FLAT[:6]:
        row = Packer(codec, [[example]], 400).row(0)
        first: list[torch.Tensor] = []
        prompt = codec.prompt(example.context, example.text)
        assert row[0].prefix == prompt.prefix or sorted(row[0].prefix) == sorted(prompt.prefix)
        row[0].prefix[:], row[0].segments[0].ids[: len(prompt.request)] = prompt.prefix, prompt.request

        def keep(logits: torch.Tensor, rows: list[int], first: list[torch.Tensor] = first) -> Any:
            first.append(logits[0])
            best = logits.log_softmax(-1).max(-1)
            return best.indices, best.values

        complete(divided.model, [prompt], divided.vocabulary.end, 1, keep)
        with torch.no_grad():
            trained, _ = answer_logits(divided.model, collate([row], divided.vocabulary.end))
        torch.testing.assert_close(first[0], trained[0], atol=1e-3, rtol=1e-3)
    together = TorchStudent(divided, TASK, max_new=8).answer_many([(e.text, e.context) for e in FLAT[:12]])
    alone = [TorchStudent(divided, TASK, max_new=8).answer(e.text, e.context) for e in FLAT[:12]]
    assert [answer.raw for answer in together] == [answer.raw for answer in alone]


def test_experts_are_recovered_and_kept(dense: Student, tmp_path: Path) -> None:
    start = students.save(dense, tmp_path / "dense")
    settings = {"row_tokens": 256, "learning_rate": 5.0e-4, "max_steps": 30, "precision": "fp32", "ce_weight": 0.0}
    job = Job(TASK, start, GROUPS[:9], GROUPS[9:])
    rows = compress(job, Distillation.read(settings, "training"), SHAPE, tmp_path / "out")
    assert len(rows) == 1 and rows[0]["kl_after"] < rows[0]["kl_before"] and rows[0]["removed"] > 0
    made, before = (students.load(path).model for path in (tmp_path / "out", tmp_path / "out_steps" / "1_pruned"))
    assert torch.equal(made.experts.masks, before.experts.masks)
    union, weight = made.experts.masks.any(0), [model.model.layers[1].mlp.up_proj.weight for model in (made, before)]
    assert weight[0][~union[1]].eq(0).all() and not torch.equal(*weight)
    assert Weights.of(made) == Weights.of(before) and rows[0]["parameters"] == Weights.of(made).stored
    with pytest.raises(GgufError, match="experts, which run in torch alone"):
        export(tmp_path / "out", tmp_path / "out.gguf")


def test_impossible_experts_are_named(dense: Student) -> None:
    with pytest.raises(ParamsError, match="experts: 4 of requests of 2 kinds"):
        cut(TASK, dense, Shape(ffn_width=48, experts=4), GROUPS)
    for values, message in (
        ({"experts": 2}, "experts: at least 2, with ffn_width"),
        ({"experts": 1, "ffn_width": 8}, "experts: at least 2, with ffn_width"),
        ({"experts": 2, "ffn_width": 8, "shared": 2}, "experts: only with ffn_width and measured"),
    ):
        with pytest.raises(ParamsError, match=message):
            Shape.read(values, "shape")
    entry = {"of": "03_assistant", "kind": "q8_0", "shape": {"ffn_width": 8, "experts": 2}}
    with pytest.raises(ParamsError, match="models: six: shape: experts: they run in torch, no file holds them"):
        models.read({"six": entry}, {})
