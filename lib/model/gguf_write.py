"""GGUF, the one file that runs in llama.cpp: writes a student's folder; lib/model/gguf_read.py reads one.

Matrices are quantised by the ``gguf`` package, vectors stay in fp32; the tokenizer and all of ``student.json`` (under
``supertiny.student``) are in the file too, so that lib/predict.py needs nothing else. Tensor names and the order of
query and key rows for llama.cpp's rotary embedding follow its format (github.com/ggml-org/llama.cpp,
convert_hf_to_gguf.py, MIT); the token embedding is also the output layer. An importance matrix was no better here.

A feed-forward layer that several layers share (lib/model/feed_forward.py) is written once, and units of zeros at the
end of one are left out. llama.cpp refuses such a file; lib/runtime reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Ggml
from numpy.typing import NDArray
from tqdm.auto import tqdm

from lib.model.gguf_read import (
    BIASED,
    DIGITS,
    FFN,
    GROUP_KEY,
    LAYER,
    QWEN,
    STUDENT_KEY,
    GgufError,
    GgufFile,
    reorder,
    tensor_name,
    whole_blocks,
)
from lib.model.vocabulary import Vocabulary

__all__ = ["KINDS", "GgufError", "GgufFile", "export", "reorder", "tensor_name"]

EMBEDDING = "token_embd.weight"
KINDS = {"f16": Ggml.F16, "q8_0": Ggml.Q8_0, "q5_0": Ggml.Q5_0, "q4_0": Ggml.Q4_0}
"""What a matrix can be quantised to: but for f16, rows in blocks of 32 weights with one fp16 scale."""

Floats = NDArray[np.float32]


def export(folder: Path, path: Path, kind: str = "q8_0", embedding: str | None = None) -> Path:
    """Writes the student in ``folder`` (lib/model/student.py) to ``path``.

    ``kind``: what matrices are quantised to; ``embedding``: the token embedding's kind, if it is another.

    Raises GgufError for an unknown kind, weights that are not finite, experts, or a folder without a student.
    """
    kinds = {EMBEDDING: embedding or kind}
    config, info, vocabulary = _read_folder(folder)
    if info.get("pruned", {}).get("experts"):
        raise GgufError(f"{folder}: it has experts, which run in torch alone: export a student without")
    arrays = dict(_tensors(folder, config))
    for number in range(0, config["num_hidden_layers"], config.get("ffn_group", 1)):
        _trim(arrays, number)
    types = {n: KINDS[fitting(kinds.get(n, kind), a.shape[1])] for n, a in arrays.items() if a.ndim == 2}
    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(part, "llama")
    _write_config(writer, config, info, vocabulary)
    most = max(types.values(), key=lambda ggml: sum(arrays[n].size for n, its in types.items() if its == ggml))
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{most.name}"])
    _write_tokenizer(writer, vocabulary)
    for name, array in tqdm(arrays.items(), desc=path.name, disable=None, leave=False):
        packed = gguf.quants.quantize(array, types[name]) if name in types else array
        writer.add_tensor(name, packed, raw_dtype=types.get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.replace(path)


def _trim(arrays: dict[str, Floats], number: int) -> None:
    """Leaves out units of zeros at the end of a layer's feed-forward, so that whole blocks are left."""
    gate, up, down = (f"blk.{number}.ffn_{part}.weight" for part in ("gate", "up", "down"))
    used = int(np.flatnonzero(arrays[down].any(0)).max(initial=0)) + 1
    width = whole_blocks(used)
    arrays |= {gate: arrays[gate][:width], up: arrays[up][:width], down: arrays[down][:, :width]}


def fitting(kind: str, width: int) -> str:
    """``kind``, or f16 for a matrix whose rows of ``width`` are no whole blocks. Raises GgufError if it is unknown.

    >>> fitting("q4_0", 576), fitting("q4_0", 100)
    ('q4_0', 'f16')
    """
    if kind not in KINDS:
        raise GgufError(f"unknown GGUF kind '{kind}': use one of {', '.join(KINDS)}")
    return "f16" if width % gguf.GGML_QUANT_SIZES[KINDS[kind]][0] else kind


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Vocabulary]:
    try:
        config, info, tokenizer = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("config.json", "student.json", "tokenizer.json")
        )
    except (OSError, json.JSONDecodeError) as error:
        raise GgufError(f"{folder}: no student to export ({error}); give a folder that a training wrote") from error
    return config, info, Vocabulary(tokenizer, info["controls"])


def _write_config(
    writer: gguf.GGUFWriter, config: dict[str, Any], info: dict[str, Any], vocabulary: Vocabulary
) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(f"super-tiny {info['task']}")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_string(STUDENT_KEY, json.dumps({**info, "pre_tokenizer": vocabulary.json["pre_tokenizer"]}))
    writer.add_vocab_size(len(vocabulary))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    if (group := config.get("ffn_group", 1)) > 1:
        writer.add_uint32(GROUP_KEY, group)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope_theta(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def rope_theta(config: dict[str, Any]) -> float:
    """The rotary base; transformers 5 keeps it in ``rope_parameters``. GgufError for scaled rotary embeddings."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise GgufError(f"rope type '{rope['rope_type']}' is not exported: use a base with plain rotary embeddings")
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)


def _write_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    tokens, types = [b""] * len(vocabulary), [int(gguf.TokenType.NORMAL)] * len(vocabulary)
    for token, number in vocabulary.json["model"]["vocab"].items():
        tokens[number] = token.encode()
    for added in vocabulary.json["added_tokens"]:
        tokens[added["id"]] = added["content"].encode()
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    splits = json.dumps(vocabulary.json["pre_tokenizer"])
    known = {"smollm": json.dumps(DIGITS["type"]), "qwen2": json.dumps(QWEN)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(next((name for name, part in known.items() if part in splits), "gpt-2"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.json["model"]["merges"]] or ["Ġ Ġ"])
    writer.add_bos_token_id(vocabulary.start)
    writer.add_eos_token_id(vocabulary.end)
    writer.add_eot_token_id(vocabulary.end)
    writer.add_pad_token_id(vocabulary.end)
    writer.add_add_bos_token(False)


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Floats]]:
    """GGUF names and fp32 arrays of a folder's weights, in llama.cpp's order. Raises GgufError."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    biased = BIASED if config.get("attention_bias") else ()
    names = [EMBEDDING, "output_norm.weight"]
    group = config.get("ffn_group", 1)
    parts = [(i, part) for i in range(config["num_hidden_layers"]) for part in LAYER]
    names += [f"blk.{i}.{part}.weight" for i, part in parts if part not in FFN or not i % group]
    names += [f"blk.{i}.{part}.bias" for i in range(config["num_hidden_layers"]) for part in biased]
    names += [] if config.get("tie_word_embeddings") else ["output.weight"]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name in names:
        if tensor_name(name) not in weights:
            raise GgufError(f"{folder}: model.safetensors lacks '{tensor_name(name)}': give a folder of a training")
        array = weights[tensor_name(name)].astype(np.float32)
        if not np.isfinite(array).all():
            raise GgufError(f"{folder}: '{tensor_name(name)}' has values that are not finite: train the model again")
        part = name.split(".")[-2]
        yield name, reorder(array, heads[part]) if part in heads else array
