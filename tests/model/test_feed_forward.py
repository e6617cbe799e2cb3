"""Feed-forward layers that are shared are one in storage, in files and in the graph, and count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from toy_model import tiny_student
from toy_task import TASK, Vending

from lib.compression.prune import Importance, Sizes, prune
from lib.model import student as students
from lib.model.base import Base
from lib.model.feed_forward import Weights, share
from lib.model.gguf_read import GgufError, GgufFile
from lib.model.gguf_write import export
from lib.model.student import Student
from lib.runtime.onnx_engine import OnnxModel, build

IDS = [int(i) for i in np.random.default_rng(0).integers(0, 300, 40)]
UNITS = 3 * 64  # weights of a unit of the tiny model


def logits(student: Student) -> torch.Tensor:
    with torch.no_grad():
        return student.model(torch.tensor([IDS])).logits[0]


def alike(found: np.ndarray, student: Student) -> float:
    return float(np.corrcoef(found, logits(student)[-1].numpy())[0, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, of which 0 and 1, and 2 and 3, share their feed-forward layer."""
    student = tiny_student(5, seed=3)
    share(student.model, 2)
    return students.save(student, tmp_path_factory.mktemp("shared") / "student")


def whole(student: Student) -> Student:
    """A copy in which each layer has its own."""
    layers, heads = torch.ones(5), torch.ones(5, 1)
    return prune(student, Importance(layers, torch.ones(5, 128), heads), Sizes())


def test_shared_layers_share_their_storage_and_are_saved_once(folder: Path) -> None:
    student = students.load(folder)
    layers = student.model.model.layers
    pointers = [layer.mlp.up_proj.weight.data_ptr() for layer in layers]
    assert pointers[0] == pointers[1] != pointers[2] == pointers[3] != pointers[4]
    with torch.no_grad():
        layers[1].mlp.down_proj.weight.add_(1)
    assert torch.equal(layers[0].mlp.down_proj.weight, layers[1].mlp.down_proj.weight)
    saved = {name for name in load_file(folder / "model.safetensors") if "gate_proj" in name}
    assert saved == {f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 2, 4)}
    own = whole(students.load(folder))
    torch.testing.assert_close(logits(own), logits(students.load(folder)))
    sizes = Weights.of(student.model), Weights.of(own.model)
    assert sizes[0].stored == sizes[1].stored - 2 * 128 * UNITS == sum(p.numel() for p in student.model.parameters())
    assert sizes[0].active == sizes[1].active == sizes[1].stored, "as much is computed"


def test_shared_layers_are_once_in_a_file_and_in_the_graph(folder: Path, tmp_path: Path) -> None:
    file = GgufFile(export(folder, tmp_path / "shared.gguf"))
    student = students.load(folder)
    assert sorted(name for name in file.kinds if "ffn_up" in name) == [f"blk.{i}.ffn_up.weight" for i in (0, 2, 4)]
    assert file.parameters == Weights.of(student.model).stored
    own = students.save(whole(student), tmp_path / "whole")
    more = export(own, tmp_path / "whole.gguf").stat().st_size - file.path.stat().st_size
    twice = 2 * 128 * UNITS * 34 / 32
    assert twice <= more < twice + 1024, "the bytes that stood twice, and their names"
    again = students.load(file.path)
    assert again.model.model.layers[0].mlp is again.model.model.layers[1].mlp
    assert alike(logits(again)[-1].numpy(), student) > 0.995
    file.check_shapes(len(student.vocabulary))
    graph = onnx.load_from_string(build(file, 64)).graph
    names = [w.name for w in graph.initializer]
    assert len({*names}) == len(names)
    for part in ("ffn_gate", "ffn_down"):
        matrices = [node.input[1] for node in graph.node if node.op_type == "MatMulNBits" and part in node.input[1]]
        assert matrices == [f"blk.{i}.{part}.weight.w" for i in (0, 0, 2, 2, 4)] and {*matrices} <= {*names}
    assert alike(OnnxModel(file, 1).feed(IDS), student) > 0.995


def test_a_shared_student_that_lacks_a_tensor_is_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    broken = students.save(students.load(folder), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(students.StudentError, match=r"lacks model\.layers\.2\.mlp\.up_proj\.weight"):
        students.load(broken)
    with pytest.raises(GgufError, match=r"lacks 'model\.layers\.2\.mlp\.up_proj\.weight'"):
        export(broken, tmp_path / "broken.gguf")


def test_a_shared_student_that_gets_new_tokens_stays_shared(folder: Path) -> None:
    class More(Vending):
        def controls(self) -> list[str]:
            return ["Explode(", *super().controls()]

    grown = students.updated(students.load(folder), More()).model
    assert len({layer.mlp for layer in grown.model.layers}) == 3 and grown.config.ffn_group == 2
    cut = students.build(TASK, Base(grown, students.load(folder).vocabulary.json, {}), 400, [0, 1, 4]).model
    assert len({layer.mlp for layer in cut.model.layers}) == 3 and cut.config.ffn_group == 1


def test_units_of_zeros_are_not_stored(tmp_path: Path) -> None:
    """As of layers that differ in width."""
    student = tiny_student(3, seed=3)
    with torch.no_grad():
        mlp = student.model.model.layers[1].mlp
        for weight in (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T):
            weight[50:] = 0
    folder = students.save(student, tmp_path / "narrow")
    sizes = Weights.of(student.model)
    assert sizes.stored == sizes.active == student.model.num_parameters() - 78 * UNITS
    file = GgufFile(export(folder, tmp_path / "narrow.gguf"))
    assert [int(file.tensors[f"blk.{i}.ffn_up.weight"].shape[1]) for i in range(3)] == [128, 64, 128]
    file.check_shapes(len(student.vocabulary))
    assert alike(logits(students.load(file.path))[-1].numpy(), student) > 0.995
    assert alike(OnnxModel(file, 1).feed(IDS), student) > 0.995
