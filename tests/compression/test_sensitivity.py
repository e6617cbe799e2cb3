"""What rounding costs: importance is what flows in, sensitivity is what flows out, bytes go where they help most."""

import numpy as np
import pytest
import torch
from toy_model import tiny_student
from toy_task import TASK, examples

from lib.compression.sensitivity import (
    EMBEDDING,
    PROJECTIONS,
    Probe,
    Sensitivity,
    SensitivityError,
    choose,
    measure_importance,
    sensitivities,
)
from lib.core.files import read_jsonl
from lib.model.gguf_kinds import rounded
from lib.model.gguf_write import GgufFile, export
from lib.model.student import save

ROWS = [e for group in examples(3, 4, items=3) for e in group]


@pytest.fixture(scope="module")
def student():
    return tiny_student(layers=4)


def test_importance_is_the_mean_square_of_inputs(student):
    """Against the layers' inputs for the same ids, unpacked."""
    found = measure_importance(student, TASK, ROWS[:1])
    assert set(found) == {f"blk.{i}.{part}.weight" for i in range(4) for part in PROJECTIONS}
    batch = Probe(student, TASK, ROWS[:1]).batches[0]
    ids = batch["input_ids"][:, : int(batch["tokens"])]
    layer, seen = student.model.model.layers[2].mlp, []
    handles = [m.register_forward_pre_hook(lambda m, x: seen.append(x[0])) for m in (layer.up_proj, layer.down_proj)]
    with torch.no_grad():
        student.model(ids)
    for handle in handles:
        handle.remove()
    for name, inputs in zip(("up", "down"), seen, strict=True):
        np.testing.assert_allclose(found[f"blk.2.ffn_{name}.weight"], inputs[0].square().mean(0), rtol=1e-3)


def test_importance_does_not_depend_on_padding_or_batches(student):
    one = measure_importance(student, TASK, ROWS, row_tokens=80)
    several = measure_importance(student, TASK, ROWS, row_tokens=80, rows_at_once=3)
    for name, array in one.items():
        np.testing.assert_allclose(several[name], array, rtol=1e-4)


def test_rounding_ends_with_the_context(student):
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    probe = Probe(student, TASK, ROWS)
    assert probe.kl({}) == pytest.approx(0, abs=1e-7)
    with probe.rounding({"blk.1.ffn_up.weight": "q4_0"}, {}):
        inside = student.model.model.layers[1].mlp.up_proj.weight
        expected = rounded(before["model.layers.1.mlp.up_proj.weight"].numpy(), "q4_0")
        np.testing.assert_array_equal(inside.detach().numpy(), expected)
    for name, value in student.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_finer_kinds_cost_less(student):
    probe = Probe(student, TASK, ROWS)
    names = [f"blk.{i}.{part}.weight" for i in range(4) for part in PROJECTIONS]
    costs = [probe.kl(dict.fromkeys(names, kind)) for kind in ("f16", "q8_0", "q5_0", "q4_0")]
    assert costs == sorted(costs)
    assert costs[-1] > 10 * costs[1]


def test_groups_cover_every_matrix_once(student, tmp_path):
    out = tmp_path / "sensitivity.jsonl"
    found = sensitivities(student, TASK, ROWS, out, parts=2)
    assert len(found) == 1 + 2 * len(PROJECTIONS)
    names = [name for group in found for name in group.tensors]
    assert sorted(names) == sorted([EMBEDDING, *(f"blk.{i}.{p}.weight" for i in range(4) for p in PROJECTIONS)])
    assert [Sensitivity.read(row) for row in read_jsonl(out)] == found
    for group in found:
        assert group.kl["q4_0"] > group.kl["q5_0"] > group.kl["q8_0"] >= 0
        assert group.size("q4_0") < group.size("q5_0") < group.size("q8_0")


def test_an_interrupted_measurement_goes_on(student, tmp_path, monkeypatch):
    whole = sensitivities(student, TASK, ROWS, tmp_path / "whole.jsonl", parts=1)
    out, asked = tmp_path / "broken.jsonl", []
    measure = Probe.kl

    def failing(probe, kinds, importance=None):
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return measure(probe, kinds, importance)

    monkeypatch.setattr(Probe, "kl", failing)
    with pytest.raises(KeyboardInterrupt):
        sensitivities(student, TASK, ROWS, out, parts=1)
    assert not out.exists()
    assert sensitivities(student, TASK, ROWS, out, parts=1) == whole
    assert len(asked) == len(whole) + 1


def group(name, rows, q4, q8):
    return Sensitivity(name, {name: (rows, 32)}, {"q4_0": q4, "q8_0": q8, "q5_0": q4 / 4})


def test_bytes_go_where_they_save_most():
    found = [group("a", 10, 1.0, 0.0), group("b", 10, 3.0, 0.0), group("c", 1000, 4.0, 0.0)]
    least = sum(g.size("q4_0") for g in found)
    assert set(choose(found, least, finer=("q8_0",)).values()) == {"q4_0"}
    room = found[1].size("q8_0") - found[1].size("q4_0")
    assert choose(found, least + room, finer=("q8_0",)) == {"a": "q4_0", "b": "q8_0", "c": "q4_0"}
    assert choose(found, least + 2 * room + 500, finer=("q8_0",), rest=500)["a"] == "q8_0"
    assert choose(found, least + room // 4, finer=("q5_0", "q8_0"))["b"] == "q5_0"
    assert set(choose(found, 10**6, finer=("q5_0", "q8_0")).values()) == {"q8_0"}


def test_the_file_keeps_to_the_budget(student, tmp_path):
    folder = save(student, tmp_path / "student")
    smallest = GgufFile(export(folder, tmp_path / "small.gguf", "q4_0"))
    found = sensitivities(student, TASK, ROWS, tmp_path / "s.jsonl", parts=2)
    budget = smallest.path.stat().st_size + 20_000
    tensors = choose(found, budget, rest=smallest.rest)
    path = export(folder, tmp_path / "best.gguf", "q4_0", tensors=tensors)
    assert smallest.path.stat().st_size < path.stat().st_size <= budget
    assert GgufFile(path).kinds == tensors
    probe = Probe(student, TASK, ROWS)
    assert probe.kl(tensors) < probe.kl(smallest.kinds)


def test_what_cannot_be_measured_or_chosen_is_named(student, tmp_path):
    with pytest.raises(SensitivityError, match="no examples"):
        measure_importance(student, TASK, [])
    with pytest.raises(SensitivityError, match="unknown kind 'q2_k'"):
        sensitivities(student, TASK, ROWS, tmp_path / "x.jsonl", kind="q2_k")
    found = [group("a", 10, 1.0, 0.0)]
    with pytest.raises(SensitivityError, match="'q6_k' was not measured"):
        choose(found, 10**6, finer=("q6_k",))
    with pytest.raises(SensitivityError, match="q4_0 needs 170 bytes more than 10: raise the budget"):
        choose(found, 10, finer=())
