"""Masks, their odds, and the search: masks compute what cuts do, gradients point up, and dead parts are found."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from test_prune import ROWS, logits, wide_student
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples
from transformers import LlamaConfig, LlamaForCausalLM

from lib.compression import masks, teacher_forcing
from lib.compression.mask_search import SearchParams, search
from lib.compression.masks import Layout, masked
from lib.compression.prune import Importance, PruneError, measure, prune
from lib.compression.search_log import SearchLog
from lib.compression.shape import Shape
from lib.model import student
from lib.model.codec import Codec
from lib.model.generate import Prefix, decode
from lib.model.student import Student
from lib.training.finetune import train
from lib.training.log import read_steps
from lib.training.packing import PackingError

GROUPS = examples(12, 6, items=3)
SMALL = {"steps": 6, "samples": 3, "rows": 1, "row_tokens": 192, "block": 32, "precision": "fp32"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Two layers that answer some requests rightly and some wrongly."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {"row_tokens": 256, "learning_rate": 4.0e-3, "max_steps": 150, "precision": "fp32"}
    settings |= {"base": str(saved_student(folder / "start", layers=2, seed=1))}
    return student.load(train(settings, TASK, examples(60, 6, seed=5, items=3), folder / "out").folder)


def odd_masks(model: Student, seed: int) -> tuple[masks.Parts, Layout, dict[str, int]]:
    """Random masks that keep as many channels and groups in each layer, some channels in blocks of odd sizes."""
    rng = Random(seed)
    config = model.model.config
    layout = Layout(measure(model, TASK, ROWS[:2]), block=48)
    depth, kv = config.num_hidden_layers, config.num_key_value_heads
    kept = {name: torch.zeros(depth, n, dtype=torch.bool) for name, n in (("channels", 3), ("groups", kv))}
    for i in range(depth):
        kept["channels"][i, [rng.randrange(2), 2]] = True
        kept["groups"][i, rng.sample(range(kv), 2)] = True
    layers = torch.tensor([True, *(rng.random() < 0.5 for _ in range(depth - 2)), True])
    return {"layers": layers, **kept}, layout, {"layers": int(layers.sum()), "channels": 80, "groups": 2}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_masked_student_computes_what_the_cut_one_does(seed: int) -> None:
    whole = wide_student(5)
    before = logits(whole)
    kept, layout, sizes = odd_masks(whole, seed)
    with masked(whole.model, kept, layout):
        inside = logits(whole)
    scores = Importance(kept["layers"].float(), layout.channels(kept["channels"]).float(), kept["groups"].float())
    torch.testing.assert_close(inside, logits(prune(whole, scores, **sizes)), atol=1e-4, rtol=1e-4)
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
    sizes = torch.tensor([64.0] * 8 + [10.0], dtype=torch.float64)
    new = masks.project(values, 301, sizes)
    assert (new.sigmoid() * sizes).sum(-1).tolist() == pytest.approx([301] * 5, abs=1e-6)
    assert new[:, 0].eq(torch.inf).all() and new[:, 1].eq(-torch.inf).all(), "what is decided stays"
    assert (new[:, 2:].argsort() == values[:, 2:].argsort()).all(), "the order of the parts stays"
    torch.testing.assert_close(masks.project(new, 301, sizes), new)
    assert masks.project(torch.full((3,), torch.inf), 3).eq(torch.inf).all()


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
    values = {"layers": torch.full((1,), torch.inf).double(), "groups": torch.tensor([[0.5, -0.3, 0.8]]).double()}
    exact = brute_force(values["groups"][0].sigmoid())
    total = torch.zeros(3, dtype=torch.float64)
    for seed in range(1500):
        kept = masks.draw(values, 4, seed)
        rewards = worth(kept["groups"][:, 0].double())
        better = (rewards - rewards.mean()) * 4 / 3
        total += masks.gradient(values, kept, better)["groups"][0] / 1500
    torch.testing.assert_close(total, exact, atol=0.012, rtol=0)
    kept = masks.draw(values, 4000, 1)
    found = masks.gradient(values, kept, masks.advantages(worth(kept["groups"][:, 0].double())))["groups"][0]
    assert (found.sign() == exact.sign()).all() and exact.sign().tolist() == [1, 1, -1]
    assert torch.cosine_similarity(found, exact, dim=0) > 0.99


def test_parts_of_a_layer_that_is_off_learn_nothing() -> None:
    values = {"layers": torch.zeros(2).double(), "groups": torch.zeros(2, 3).double()}
    kept = {"layers": torch.tensor([[True, False], [True, False]]), "groups": torch.rand(2, 2, 3) < 0.5}
    found = masks.gradient(values, kept, torch.tensor([1.0, -1.0]).double())
    assert found["groups"][1].eq(0).all()
    assert masks.advantages(torch.tensor([0.3, 0.3, 0.3])).eq(0).all(), "equal masks teach nothing"


def test_forced_answers_are_exact_where_greedy_decoding_is(trained: Student) -> None:
    codec = Codec(TASK, trained.vocabulary)
    end = trained.vocabulary.end
    seen = set()
    for i, example in enumerate(e for group in GROUPS for e in group[:3]):
        batch = teacher_forcing.draw(codec, [[example]], 1, 256, str(i))
        refs = batch.asked[0].refs
        prompt = codec.prompt(example.context, example.text, refs=refs)
        gold = codec.target(example, refs)
        free = decode(trained.model, Prefix.read(trained.model, []), [prompt.ids], {end}, [len(gold) + 8])[0]
        graded = teacher_forcing.grade(trained.model, codec, batch)
        assert (list(free.ids) == gold) == bool(graded.exact)
        assert graded.likelihood < 0
        seen.add(graded.exact)
    assert seen == {0.0, 1.0}, "the test needs right and wrong answers"


def test_a_batch_is_graded_as_its_requests_are_alone(trained: Student) -> None:
    codec = Codec(TASK, trained.vocabulary)
    large = examples(2, 4, seed=9, items=9)
    batch = teacher_forcing.draw(codec, [*GROUPS, *large], 3, 160, "x")
    assert 1 < batch.inputs["input_ids"].shape[0] <= 3 and int(batch.inputs["tokens"].max()) <= 160
    whole = teacher_forcing.grade(trained.model, codec, batch)
    alone = []
    for asked in batch.asked:
        prompt = codec.prompt(asked.example.context, asked.example.text, refs=asked.refs)
        answer = codec.target(asked.example, asked.refs)
        with torch.no_grad():
            found = trained.model(torch.tensor([prompt.ids + answer])).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
        alone.append(float(found.gather(-1, torch.tensor(answer)[:, None]).mean()))
    assert whole.likelihood == pytest.approx(sum(alone) / len(alone), rel=1e-3)
    again = teacher_forcing.draw(codec, [*GROUPS, *large], 3, 160, "x")
    assert torch.equal(again.inputs["input_ids"], batch.inputs["input_ids"])


def test_an_answer_that_does_not_end_is_worth_nothing(trained: Student) -> None:
    codec = Codec(TASK, trained.vocabulary)
    batch = teacher_forcing.draw(codec, [GROUPS[0][:1]], 1, 256, "0")
    asked = batch.asked[0]
    answer = codec.target(asked.example, asked.refs)
    assert teacher_forcing._worth(codec, batch, 0, answer) == (1.0, True)
    assert teacher_forcing._worth(codec, batch, 0, [*answer[:-1], answer[0]]) == (0.0, False)
    assert teacher_forcing._worth(codec, batch, 0, [answer[-1], *answer]) == (0.0, False)


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


def test_the_search_finds_the_parts_that_do_nothing(trained: Student, tmp_path: Path) -> None:
    wide = with_dead_parts(trained)
    torch.testing.assert_close(logits(wide), logits(trained), atol=1e-3, rtol=1e-3)
    weights = {name: value.clone() for name, value in wide.model.state_dict().items()}
    shape = Shape(layers=2, channels=128, groups=1, measured=8, chosen="search")
    params = SearchParams(**{**SMALL, "steps": 60, "samples": 8, "block": 128, "trust": 0.0, "learning_rate": 1.0})
    found = search(wide, TASK, GROUPS, shape, params, tmp_path)
    small = prune(wide, found, 2, 128, 1)
    assert small.info["layers"] == [0, 1], "the layer between did nothing"
    torch.testing.assert_close(logits(small), logits(trained), atol=1e-3, rtol=1e-3)
    assert all(torch.equal(value, weights[name]) for name, value in wide.model.state_dict().items())
    assert float(found.layers.sum()) == pytest.approx(2, abs=1e-4)
    assert found.channels.sum(-1).tolist() == pytest.approx([128] * 3, abs=1e-2)
    assert found.groups.sum(-1).tolist() == pytest.approx([1] * 3, abs=1e-4)
    rows = read_steps(tmp_path / "steps.csv")
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["entropy"] < rows[0]["entropy"]
    first, last = (sum(row["reward"] for row in part) for part in (rows[:10], rows[-10:]))
    assert last > first


def test_what_is_not_cut_is_not_searched() -> None:
    whole = wide_student(4)
    found = search(whole, TASK, GROUPS, Shape(layers=3, measured=4), SearchParams(**SMALL))
    assert found.channels.min() > 0.99 and found.groups.min() > 0.99
    assert found.layers[[0, -1]].min() > 0.99 and float(found.layers.sum()) == pytest.approx(3, abs=1e-4)
    outer = search(whole, TASK, GROUPS, Shape(layers=2, measured=4), SearchParams(**SMALL))
    assert prune(whole, outer, layers=2).info["layers"] == [0, 3]


def test_equal_seeds_find_the_same_and_a_killed_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = tiny_student(3), Shape(channels=64, measured=4)

    def run(name: str, **changes: object) -> Importance:
        return search(model, TASK, GROUPS, shape, SearchParams(**{**SMALL, **changes}), tmp_path / name)

    whole = run("whole")
    assert not torch.equal(run("other", seed=1).channels, whole.channels)
    add = SearchLog.add
    with monkeypatch.context() as patch:
        patch.setattr(SearchLog, "add", lambda self, row, new: add(self, row, new) if row["step"] < 4 else stop())
        with pytest.raises(KeyboardInterrupt):
            run("out")
    with (tmp_path / "out" / "steps.csv").open("a") as file:
        file.write("4,0.5,0.5,-1,0.6,100,1\n5,0.5")
    assert torch.equal(run("out").channels, whole.channels)
    logs = [read_steps(tmp_path / name / "steps.csv") for name in ("whole", "out")]
    assert [[r["step"], r["reward"]] for r in logs[0]] == [[r["step"], r["reward"]] for r in logs[1]]
    with monkeypatch.context() as patch:
        patch.setattr(SearchLog, "add", lambda *given: stop())
        assert torch.equal(run("out").channels, whole.channels), "a finished search tries nothing more"
    with pytest.raises(PruneError, match="another student, shape, parameters or examples; delete this folder"):
        run("out", learning_rate=1.0)
    (tmp_path / "out" / "state.safetensors").write_bytes(b"12345678" * 4)
    with pytest.raises(PruneError, match="damaged"):
        run("out")


def stop() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 5}, "search: unknown key 'step'; known: steps, samples"),
        ({"samples": 1}, "search: samples=1 is not allowed"),
        ({"likelihood": 1.5}, "search: likelihood=1.5 is not allowed"),
        ({"learning_rate": 0.0}, "search: learning_rate=0.0"),
        ({"precision": "fp16"}, "search: precision='fp16'"),
    ],
)
def test_wrong_parameters_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(PruneError, match=message):
        SearchParams.read(values)


def test_impossible_searches_are_named() -> None:
    model = tiny_student(3)
    with pytest.raises(PruneError, match="cuts nothing"):
        search(model, TASK, GROUPS, Shape(channels=128))
    with pytest.raises(PruneError, match="channels: 200 of 128"):
        search(model, TASK, GROUPS, Shape(channels=200))
    with pytest.raises(PruneError, match="no examples"):
        search(model, TASK, [], Shape(channels=64))
    with pytest.raises(PackingError, match="none of the requests of 12 contexts fits a row of 16: raise row_tokens"):
        search(model, TASK, GROUPS, Shape(channels=64, measured=4), SearchParams(**{**SMALL, "row_tokens": 16}))
