"""A Qwen2 as a base: the same numbers as transformers' own class, from a padded folder and from a GGUF, to the end."""

import json

import gguf
import pytest
import torch
from toy_model import trained_bpe
from toy_task import TASK, examples
from transformers import LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lib.compression import compressed_tensors
from lib.compression.prune import Sizes, measure, prune
from lib.model import student as students
from lib.model.base import BaseError, load_base
from lib.model.gguf_read import QWEN
from lib.model.gguf_write import export
from lib.model.torch_student import TorchStudent
from lib.runtime.gguf_student import KINDS, GgufStudent
from lib.training import distill

PADDING = 128  # rows of the embedding for which there is no token, as a Qwen2.5-7B has


def tokenizer():
    """The tokenizer with Qwen2's way to split text."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": QWEN, "behavior": "Isolated", "invert": False}
    return {**trained_bpe(), "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}


def qwen(padding=0, hidden=64, seed=0, tied=True):
    torch.manual_seed(seed)
    sizes = {"hidden_size": hidden, "intermediate_size": 128, "num_hidden_layers": 3, "rope_theta": 1_000_000.0}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.2}
    vocab_size = len(tokenizer()["model"]["vocab"]) + padding
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=vocab_size, tie_word_embeddings=tied, **sizes, **heads)).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.5)
    return model


def saved(folder, model):
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return folder


def written(path, model):
    """The model as llama.cpp's converter writes a Qwen2: rows of queries and keys in transformers' order."""
    config, writer = model.config, gguf.GGUFWriter(path, "qwen2")
    for add, value in (
        (writer.add_embedding_length, config.hidden_size),
        (writer.add_block_count, config.num_hidden_layers),
        (writer.add_feed_forward_length, config.intermediate_size),
        (writer.add_head_count, config.num_attention_heads),
        (writer.add_head_count_kv, config.num_key_value_heads),
        (writer.add_layer_norm_rms_eps, config.rms_norm_eps),
        (writer.add_context_length, config.max_position_embeddings),
        (writer.add_rope_freq_base, 1_000_000.0),
    ):
        add(value)
    tokens = sorted(tokenizer()["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["content"] for token in tokenizer()["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t, _ in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer()["model"]["merges"]])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model):
    with torch.no_grad():
        return model(torch.arange(5, 60)[None]).logits


def test_a_folder_and_a_gguf_have_the_numbers_of_transformers_own_class(tmp_path):
    model = qwen()
    for source in (saved(tmp_path / "folder", model), written(tmp_path / "qwen.gguf", model)):
        base = load_base(str(source))
        assert type(base.model) is LlamaForCausalLM
        torch.testing.assert_close(logits(base.model), logits(model), atol=1e-4, rtol=1e-4)
        assert base.tokenizer["pre_tokenizer"] == tokenizer()["pre_tokenizer"]


def test_a_student_of_a_padded_one_is_pruned_exported_and_answers(tmp_path):
    model = qwen(PADDING)
    student = students.build(TASK, str(saved(tmp_path / "base", model)), vocab_size=400, layers=3)
    asked = [e for group in examples(4, 3) for e in group]
    small = prune(student, measure(student, TASK, asked), Sizes(layers=2, ffn_width=96, kv_heads=1))
    assert {w.shape for n, w in small.model.state_dict().items() if n.endswith("o_proj.bias")} == {(64,)}
    folder = students.save(small, tmp_path / "student")
    requests = [(e.text, e.context) for e in asked[:6]]
    torch_answers = TorchStudent(students.load(folder), TASK, max_new=8).answer_many(requests)
    path = export(folder, tmp_path / "student.gguf", "f16")
    again = TorchStudent(students.load(path), TASK, max_new=8).answer_many(requests)
    assert [a.raw for a in again] == [a.raw for a in torch_answers]
    for runtime in KINDS:
        system = GgufStudent(path, TASK, grammar=False, threads=1, max_new=8, runtime=runtime)
        found = [system.answer(*request) for request in requests]
        same = sum(a.raw == b.raw for a, b in zip(found, torch_answers, strict=True))
        assert same >= 5, runtime
    eight = students.load(compressed_tensors.write(folder, tmp_path / "int8", "int8"))
    assert len(TorchStudent(eight, TASK, max_new=8).answer_many(requests)) == 6


def test_models_of_padded_and_plain_vocabularies_are_distilled(tmp_path, capsys):
    pair = [
        students.save(students.build(TASK, str(saved(tmp_path / f"base{i}", model)), 100_000, 3), tmp_path / f"{i}")
        for i, model in enumerate((qwen(PADDING, hidden=128, seed=1, tied=False), qwen()))
    ]
    params = {"max_steps": 2, "row_tokens": 256, "learning_rate": 3.0e-3, "precision": "fp32", "top_k": 0}
    by_context = examples(6, 4)
    result = distill.train(params, TASK, *pair, by_context, tmp_path / "out", by_context[:2])
    assert result.kl_after < result.kl_before
    assert "base0: 128 rows of its embedding have no token and are dropped" in capsys.readouterr().out
    assert [students.load(folder).info.get("padding") for folder in pair] == [PADDING, None]


def test_one_with_a_sliding_window_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "use_sliding_window": True}))
    with pytest.raises(BaseError, match="plain qwen2"):
        load_base(str(tmp_path))
