"""ONNX Runtime reads a student's file as it is: the same weights, the same logits as torch, one sequence at a time."""

import gguf as package
import numpy as np
import pytest
import torch
from toy_model import saved_student

from lib.model import student as students
from lib.model.gguf_read import GgufFile
from lib.model.gguf_write import export
from lib.runtime import onnx_engine
from lib.runtime.onnx_engine import OnnxModel, suits

IDS = [int(i) for i in np.random.default_rng(0).integers(0, 300, 40)]
KINDS = ("q4_0", "q5_0", "q8_0", "f16")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    student = saved_student(folder / "student")
    return {kind: GgufFile(export(student, folder / f"{kind}.gguf", kind)) for kind in KINDS}


def torch_logits(student, ids):
    with torch.no_grad():
        return student.model(torch.tensor([ids])).logits[0, -1].numpy()


def alike(found, expected):
    return float(np.corrcoef(found, expected)[0, 1])


@pytest.mark.parametrize("kind", KINDS[:3])
def test_blocks_are_the_weights_of_the_file(files, kind):
    for name, tensor in files[kind].tensors.items():
        if tensor.tensor_type.name.lower() != kind:
            continue
        expected = package.quants.dequantize(tensor.data, tensor.tensor_type)
        numbers, scales = onnx_engine.blocks(tensor)
        found = numbers.astype(np.float32).reshape(*scales.shape, -1) * scales[..., None]
        assert np.array_equal(found.reshape(expected.shape), expected), name


@pytest.mark.parametrize(("kind", "least"), [("q4_0", 0.995), ("q5_0", 0.995), ("q8_0", 0.999), ("f16", 0.99999)])
def test_logits_are_those_of_torch_with_the_same_weights(files, kind, least):
    """What rounded weights are multiplied with is rounded to 8 bits, too; fp16 weights run in fp32."""
    expected = torch_logits(students.load(files[kind].path), IDS)
    found = OnnxModel(files[kind], 2).feed(IDS)
    assert alike(found, expected) > least
    if kind == "f16":
        assert found == pytest.approx(expected, abs=1e-3)


def test_matrices_of_different_kinds_are_joined(tmp_path):
    file = GgufFile(export(saved_student(tmp_path / "s"), tmp_path / "s.gguf", "q4_0", "q8_0"))
    assert suits(file) == "onnx"
    assert alike(OnnxModel(file, 1).feed(IDS), torch_logits(students.load(file.path), IDS)) > 0.99


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sequence_may_be_fed_in_pieces_forgotten_and_taken_up(files, threads, monkeypatch):
    monkeypatch.setattr(onnx_engine, "BATCH", 8)
    monkeypatch.setattr(onnx_engine, "ROOM", 4)
    model = OnnxModel(files["f16"], threads)
    whole = model.feed(IDS).copy()
    assert model.length == len(IDS)
    model.keep(30)
    state = model.state()
    assert model.feed(IDS[30:]) == pytest.approx(whole, abs=1e-4)
    other = model.feed(IDS[:3]).copy()
    assert alike(other, whole) < 0.999
    model.restore(state)
    assert model.length == 30
    for token in IDS[30:]:
        pieces = model.feed([token])
    assert pieces == pytest.approx(whole, abs=1e-4)


def test_no_more_is_read_than_there_is_room_for(files):
    model = OnnxModel(files["q8_0"], 1, context_tokens=50)
    model.feed(IDS)
    with pytest.raises(RuntimeError, match="no room for 80 tokens: it reads 50"):
        model.feed(IDS)
    assert model.length == len(IDS)
    model.keep(0)
    model.feed(IDS)


def test_what_cannot_be_loaded_or_read_is_one_error(files, monkeypatch):
    with pytest.raises(RuntimeError, match="ONNX Runtime cannot load it"):
        onnx_engine._open(b"no model", 1)
    model = OnnxModel(files["q8_0"], 1)
    monkeypatch.setattr(model, "_row", lambda token: np.zeros(3, np.float32))
    with pytest.raises(RuntimeError, match="could not read 2 tokens after 0"):
        model.feed([1, 2])
