"""GGUF: what is written can be read back, llama.cpp computes what torch computes, broken files are named."""

import json

import gguf as package
import numpy as np
import pytest
import torch
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.core.task import Control
from lib.model import student as students
from lib.model.base import Base
from lib.model.gguf_write import KINDS, GgufError, GgufFile, export, reorder, tensor_name
from lib.model.torch_student import TorchStudent
from lib.model.vocabulary import START
from lib.runtime.gguf_student import GgufStudent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("gguf") / "student")


@pytest.fixture(scope="module")
def files(folder):
    return {kind: export(folder, folder.parent / f"student-{kind}.gguf", kind) for kind in KINDS}


def test_reordering_can_be_undone():
    weight = np.arange(128 * 6).reshape(128, 6)
    moved = reorder(weight, heads=4)
    assert not np.array_equal(moved, weight)
    assert np.array_equal(reorder(moved, heads=4, back=True), weight)


def test_tensor_names():
    assert tensor_name("blk.11.ffn_down.weight") == "model.layers.11.mlp.down_proj.weight"
    assert tensor_name("token_embd.weight") == "model.embed_tokens.weight"
    with pytest.raises(KeyError):
        tensor_name("blk.0.ffn_gate_inp.weight")


def test_everything_is_in_the_file(folder, files):
    info = json.loads((folder / "student.json").read_text())
    saved = students.load(folder)
    for path in files.values():
        file = GgufFile(path)
        assert {**file.student, "pre_tokenizer": None} == {**info, "pre_tokenizer": None}
        vocabulary = file.vocabulary()
        assert vocabulary.controls == saved.vocabulary.controls
        for pieces in ([START, " refill the Crème Brûlée 日本茶 12", Control("=5")], ["<|im_end|>\x04"]):
            assert vocabulary.encode(pieces) == saved.vocabulary.encode(pieces)
            ids = vocabulary.encode(pieces)
            assert vocabulary.decode(ids) == saved.vocabulary.decode(ids)


def test_weights_come_back_within_the_precision(folder, files):
    original = students.load(folder).model.state_dict()
    for kind, most in (("f16", 1e-3), ("q8_0", 1e-2), ("q4_0", 0.12)):
        for name, array in GgufFile(files[kind]).weights():
            expected = original[name].numpy()
            assert array.shape == expected.shape
            assert np.abs(array - expected).max() <= most * max(np.abs(expected).max(), 1e-6)
    assert files["q4_0"].stat().st_size < files["q8_0"].stat().st_size < files["f16"].stat().st_size


def test_embedding_can_be_finer_than_the_rest(folder, files):
    path = export(folder, folder.parent / "mixed.gguf", "q4_0", embedding="q8_0")
    kinds = {t.name: t.tensor_type.name for t in package.GGUFReader(path).tensors}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_up.weight"] == "Q4_0"
    assert kinds["blk.0.attn_norm.weight"] == "F32"


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_reads_every_kind_as_torch_does(files, kind):
    """The first token's probability; llama.cpp rounds what it multiplies with too, which may turn a close choice."""
    path = files[kind]
    requests = [(e.text, e.context) for group in examples(6, 2) for e in group]
    expected = TorchStudent(students.load(path), TASK, max_new=1).answer_many(requests)
    student = GgufStudent(path, TASK, grammar=False, threads=1, max_new=1, runtime="server")
    pairs = [(student.answer(*request), right) for request, right in zip(requests, expected, strict=True)]
    ratios = [found.confidence / right.confidence for found, right in pairs if found.raw == right.raw]
    assert len(ratios) >= 0.5 * len(pairs)
    assert np.median(np.abs(np.log(ratios))) < 0.1


@pytest.mark.parametrize(("kind", "tokens"), [("f16", 10), ("q8_0", 1)])
def test_llama_cpp_writes_the_same_tokens_as_torch(files, kind, tokens):
    """Q8_0 rounds the activations too in llama.cpp: close choices of a random model turn, on each processor others.

    Half of the answers would never be equal by chance.
    """
    torch_student = TorchStudent(students.load(files[kind]), TASK, max_new=tokens)
    gguf_student = GgufStudent(files[kind], TASK, grammar=False, threads=1, max_new=tokens, runtime="server")
    same = 0
    requests = [(e.text, e.context) for group in examples(6, 4) for e in group]
    for (text, context), expected in zip(requests, torch_student.answer_many(requests), strict=True):
        answer = gguf_student.answer(text, context)
        same += answer.raw == expected.raw
        assert answer.prompt_tokens == expected.prompt_tokens
    assert same >= 0.5 * len(requests)


def test_confidence_is_the_models_probability(files):
    expected = TorchStudent(students.load(files["f16"]), TASK, max_new=1).answer("one tea please", {"items": ["Tea"]})
    found = GgufStudent(files["f16"], TASK, grammar=False, threads=1, max_new=1).answer(
        "one tea please", {"items": ["Tea"]}
    )
    assert found.raw == expected.raw
    assert found.confidence == pytest.approx(expected.confidence, rel=0.02)


def test_a_student_of_a_trimmed_depth_and_other_shape_runs(tmp_path):
    base = tiny_student(layers=4)
    smaller = students.build(TASK, Base(base.model, base.vocabulary.json, {}), vocab_size=10, layers=[0, 3])
    path = export(students.save(smaller, tmp_path / "s"), tmp_path / "s.gguf", "q8_0")
    assert GgufFile(path).config()["num_hidden_layers"] == 2
    assert GgufStudent(path, TASK, threads=1).answer("one tea please", {"items": ["Tea"]}).calls is not None


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95])
def test_truncated_file_is_named(files, tmp_path, share):
    whole = files["q8_0"].read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(GgufError, match="cut.gguf: not a whole GGUF"):
        GgufFile(path)


def test_other_files_are_named(tmp_path):
    with pytest.raises(GgufError, match="no such file"):
        GgufFile(tmp_path / "absent.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(GgufError, match="text.gguf: not a whole GGUF"):
        GgufFile(tmp_path / "text.gguf")
    for architecture, message in (("bert", "architecture 'bert'"), ("llama", "not one of this project's models")):
        writer = package.GGUFWriter(tmp_path / "other.gguf", architecture)
        writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(GgufError, match=message):
            _ = GgufFile(tmp_path / "other.gguf").student


def test_what_cannot_be_exported_is_named(folder, tmp_path):
    path = tmp_path / "x.gguf"
    for wrong in ({"kind": "q3_k"}, {"embedding": "q3_k"}):
        with pytest.raises(GgufError, match="unknown GGUF kind 'q3_k': use one of .*q8_0"):
            export(folder, path, **wrong)
    with pytest.raises(GgufError, match="no student to export"):
        export(tmp_path, tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_exported(tmp_path):
    student = tiny_student(layers=2)
    student.model.model.layers[1].mlp.up_proj.weight.data[3, 4] = torch.nan
    folder = students.save(student, tmp_path / "student")
    with pytest.raises(GgufError, match="model.layers.1.mlp.up_proj.weight' has values that are not finite"):
        export(folder, tmp_path / "x.gguf")
    (folder / "model.safetensors").unlink()
    students.save(tiny_student(layers=1), tmp_path / "shallow")
    (tmp_path / "shallow" / "model.safetensors").rename(folder / "model.safetensors")
    with pytest.raises(GgufError, match="lacks 'model.layers.1"):
        export(folder, tmp_path / "x.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


@pytest.mark.parametrize(("number", "message"), [(99, "unknown type"), (15, "is of type Q8_K")])
def test_unsupported_types_are_named(files, tmp_path, number, message):
    """The number of a type stands after a tensor's name, the count of its dimensions and the dimensions."""
    data = bytearray(files["f16"].read_bytes())
    name = b"blk.3.ffn_down.weight"
    at = data.index(name) + len(name) + 4 + 2 * 8
    assert data[at] == package.GGMLQuantizationType.F16
    data[at] = number
    data[at - 16 : at] = np.array([256, 16], np.uint64).tobytes()
    path = tmp_path / "odd.gguf"
    path.write_bytes(data)
    with pytest.raises(GgufError, match=f"odd.gguf.*{message}.*export the student again"):
        GgufFile(path)


def test_torch_is_not_needed_to_read(files):
    import subprocess
    import sys

    code = "import sys; from lib.model.gguf_read import GgufFile; from pathlib import Path; "
    code += f"GgufFile(Path({str(files['f16'])!r}))"
    code += ".vocabulary(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loaded_model_is_tied(files):
    model = students.load(files["q8_0"]).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32
