"""A folder for a GPU server: half the bytes, reloaded by transformers with nearly the same logits."""

import json

import pytest
import torch
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.compression import compressed_tensors
from lib.compression.compressed_tensors import SCHEMES
from lib.model import student
from lib.model.gguf_write import export
from lib.model.torch_student import TorchStudent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("served") / "student")


@pytest.fixture(scope="module")
def written(folder):
    return {scheme: compressed_tensors.write(folder, folder.parent / scheme, scheme) for scheme in SCHEMES}


def logits(model):
    with torch.no_grad():
        return model.model(torch.arange(5, 60)[None]).logits.float().flatten()


@pytest.mark.parametrize(("scheme", "least"), [("fp8", 0.9), ("int8", 0.98)])
def test_reloaded_logits_are_close(folder, written, scheme, least):
    original, again = logits(student.load(folder)), logits(student.load(written[scheme]))
    assert least < torch.corrcoef(torch.stack([original, again]))[0, 1] < 1 - 1e-6, "activations are quantised too"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_byte_a_weight(folder, written, scheme):
    from safetensors.torch import load_file

    weights = load_file(written[scheme] / "model.safetensors")
    parts = [name for name in weights if name.endswith("_proj.weight")]
    assert len(parts) == 4 * 7
    assert {weights[name].dtype for name in parts} == {torch.int8 if scheme == "int8" else torch.float8_e4m3fn}
    assert all(weights[f"{name}_scale"].shape == (weights[name].shape[0], 1) for name in parts)
    layers = sum(weights[name].numel() for name in parts)
    embedding = weights["model.embed_tokens.weight"]
    assert embedding.dtype == torch.bfloat16
    size = (written[scheme] / "model.safetensors").stat().st_size
    assert size == pytest.approx(layers + 2 * embedding.numel(), rel=0.08)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_config_says_what_a_server_needs(written, scheme):
    config = json.loads((written[scheme] / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert config["quantization_status"] == "compressed"
    assert config["ignore"] == ["lm_head"]
    found = config["config_groups"]["group_0"]
    assert found["weights"]["strategy"] == "channel"
    assert found["input_activations"]["strategy"] == "token"
    assert found["input_activations"]["dynamic"] is True


def test_a_gguf_can_be_written_and_its_answers_are_scored(folder, tmp_path):
    path = export(folder, tmp_path / "s.gguf", "q8_0")
    assert compressed_tensors.main(["--model", str(path), "--out", str(tmp_path / "out"), "--scheme", "int8"]) == 0
    requests = [(e.text, e.context) for group in examples(2, 2) for e in group]
    answers = TorchStudent(student.load(tmp_path / "out"), TASK, max_new=4).answer_many(requests)
    assert len(answers) == len(requests)
    assert not list(tmp_path.glob("*.part"))


def test_the_original_is_untouched_and_replaced_folders_are_whole(folder, tmp_path):
    before = (folder / "model.safetensors").read_bytes()
    out = compressed_tensors.write(folder, tmp_path / "out", "int8")
    (out / "stale").write_text("")
    compressed_tensors.write(folder, out, "fp8")
    assert not (out / "stale").exists()
    assert (folder / "model.safetensors").read_bytes() == before


def test_what_cannot_be_written_is_named(folder, written, tmp_path, capsys):
    with pytest.raises(ValueError, match="quantised already"):
        compressed_tensors.write(written["int8"], tmp_path / "x", "fp8")
    with pytest.raises(ValueError, match="give another folder"):
        compressed_tensors.write(folder, folder, "fp8")
    broken = tiny_student(layers=1)
    broken.model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.inf
    student.save(broken, tmp_path / "broken")
    with pytest.raises(ValueError, match="up_proj.weight' has values that are not finite"):
        compressed_tensors.write(tmp_path / "broken", tmp_path / "x", "fp8")
    assert compressed_tensors.main(["--model", str(tmp_path / "absent"), "--out", str(tmp_path / "x")]) == 2
    assert "not a whole student" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
