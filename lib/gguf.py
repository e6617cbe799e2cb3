"""GGUF, the one file that runs in llama.cpp: writes a student folder, reads one back.

F16, Q8_0 or Q4_0 weights (blocks of 32 with one scale; the ``gguf`` package quantises), the tokenizer, and all of
``student.json`` under ``supertiny.student``, so that lib/predict.py needs nothing but the file. The tensor names and
the reordering of query and key rows for llama.cpp's rotary embedding follow its format
(github.com/ggml-org/llama.cpp, convert_hf_to_gguf.py, MIT); the token embedding is also the output layer.

>>> export(Path("runs/cpu/03_student"), Path("student-q8_0.gguf"), "q8_0")            # doctest: +SKIP
>>> GgufFile(Path("student-q8_0.gguf")).student["layers"][:3]                         # doctest: +SKIP
[0, 1, 2]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from lib.vocabulary import TokenizerJson, Vocabulary, byte_tokenizer

STUDENT_KEY = "supertiny.student"
KINDS = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
DIGITS: dict[str, Any] = {"type": "Digits", "individual_digits": True}


class GgufError(ValueError):
    """A GGUF file that cannot be read or written; the message names the file and the remedy."""


def reorder(weight: NDArray[Any], heads: int, back: bool = False) -> NDArray[Any]:
    """Moves query or key rows from transformers' half-split rotary order to llama.cpp's interleaved one, or back.

    ``weight``: (heads x head size, hidden).
    """
    half = weight.shape[0] // heads // 2
    shape = (heads, half, 2, -1) if back else (heads, 2, half, -1)
    return weight.reshape(shape).swapaxes(1, 2).reshape(weight.shape)


def export(folder: Path, path: Path, kind: str = "q8_0", embedding: str | None = None) -> Path:
    """Writes the student in ``folder`` (lib/student.py) to ``path``.

    ``embedding`` is the token embedding's kind, if it is to be finer than ``kind`` ("q8_0" in a "q4_0" file).
    Raises GgufError for an unknown kind or a folder without a student.
    """
    for name in (kind, embedding or kind):
        if name not in KINDS:
            raise GgufError(f"unknown GGUF kind '{name}': use one of {', '.join(KINDS)}")
    config, info, vocabulary = _read_folder(folder)
    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(part, "llama")
    _write_config(writer, config, info, vocabulary, kind)
    _write_tokenizer(writer, vocabulary)
    for name, array in _tensors(folder, config):
        _write_tensor(writer, name, array, embedding or kind if name == "token_embd.weight" else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.replace(path)


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
    writer: gguf.GGUFWriter, config: dict[str, Any], info: dict[str, Any], vocabulary: Vocabulary, kind: str
) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(f"super-tiny {info['task']}")
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_string(STUDENT_KEY, json.dumps({**info, "pre_tokenizer": vocabulary.json["pre_tokenizer"]}))
    writer.add_vocab_size(len(vocabulary))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
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
    digits = DIGITS["type"] in json.dumps(vocabulary.json["pre_tokenizer"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if digits else "gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.json["model"]["merges"]] or ["Ġ Ġ"])
    writer.add_bos_token_id(vocabulary.start)
    writer.add_eos_token_id(vocabulary.end)
    writer.add_eot_token_id(vocabulary.end)
    writer.add_pad_token_id(vocabulary.end)
    writer.add_add_bos_token(False)


def tensor_name(name: str) -> str:
    """A GGUF tensor's name in transformers: ``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    stem = name.removesuffix(".weight")
    if stem in TOP:
        return f"{TOP[stem]}.weight"
    block, number, part = stem.split(".")
    if block != "blk" or part not in LAYER:
        raise KeyError(name)
    return f"model.layers.{number}.{LAYER[part]}.weight"


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """GGUF names and fp32 arrays of a folder's weights, in llama.cpp's order."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    names = ["token_embd.weight", "output_norm.weight"]
    names += [f"blk.{i}.{part}.weight" for i in range(config["num_hidden_layers"]) for part in LAYER]
    names += [] if config.get("tie_word_embeddings") else ["output.weight"]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name in names:
        array = weights[tensor_name(name)].astype(np.float32)
        part = name.split(".")[-2]
        yield name, reorder(array, heads[part]) if part in heads else array


def _write_tensor(writer: gguf.GGUFWriter, name: str, array: NDArray[np.float32], kind: str) -> None:
    """Vectors stay in fp32; so does, in fp16, a matrix whose rows do not divide into blocks of 32."""
    quant = KINDS[kind][0]
    if array.ndim == 1:
        writer.add_tensor(name, array)
    elif quant is gguf.GGMLQuantizationType.F16 or array.shape[-1] % 32:
        writer.add_tensor(name, array.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quants.quantize(array, quant), raw_dtype=quant)


class GgufFile:
    """A llama GGUF opened for reading. Raises GgufError if it is absent, truncated or of another architecture."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise GgufError(f"{path}: no such file; train a model first (make reproduce) or give another path")
        try:
            self._reader = gguf.GGUFReader(path)
            architecture = self.get("general.architecture")
        except Exception as error:  # the reader raises whatever numpy and struct raise on broken bytes
            raise GgufError(f"{path}: not a whole GGUF file ({error}); copy or download it again") from error
        if architecture != "llama":
            raise GgufError(f"{path}: architecture '{architecture}'; expected 'llama'")

    def get(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    @property
    def is_student(self) -> bool:
        return self._reader.get_field(STUDENT_KEY) is not None

    @cached_property
    def student(self) -> dict[str, Any]:
        """``student.json`` of a model of ours. Raises GgufError for any other GGUF."""
        text = self.get(STUDENT_KEY)
        if text is None:
            raise GgufError(f"{self.path}: not one of this project's models (no '{STUDENT_KEY}'); export a student")
        info: dict[str, Any] = json.loads(text)
        return info

    def vocabulary(self) -> Vocabulary:
        """The vocabulary of a model of ours."""
        return Vocabulary(self.tokenizer(), self.student["controls"])

    def tokenizer(self) -> TokenizerJson:
        """The tokenizer rebuilt as the content of a ``tokenizer.json``."""
        if self.get("tokenizer.ggml.model") != "gpt2":
            raise GgufError(f"{self.path}: its tokenizer is not a byte-level BPE; use a model such as SmolLM2")
        tokens, types = self.get("tokenizer.ggml.tokens"), self.get("tokenizer.ggml.token_type")
        merges = [m.split(" ") for m in self.get("tokenizer.ggml.merges")]
        special = {int(gguf.TokenType.CONTROL): True, int(gguf.TokenType.USER_DEFINED): False}
        added = [(i, t, special[types[i]]) for i, t in enumerate(tokens) if types[i] in special]
        fresh = {i for i, _, is_special in added if not is_special}
        vocab = {t: i for i, t in enumerate(tokens) if i not in fresh}
        merges = [m for m in merges if m[0] in vocab and m[1] in vocab and "".join(m) in vocab]
        base = byte_tokenizer()
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        added_tokens = [{"id": i, "content": t, **flags, "special": s} for i, t, s in added]
        model = {**base["model"], "vocab": vocab, "merges": merges}
        return {**base, "pre_tokenizer": self._pre_tokenizer(), "added_tokens": added_tokens, "model": model}

    def _pre_tokenizer(self) -> dict[str, Any]:
        own = json.loads(self.get(STUDENT_KEY, "{}")).get("pre_tokenizer")
        level = byte_tokenizer()["pre_tokenizer"]
        known = {"smollm": {"type": "Sequence", "pretokenizers": [DIGITS, level]}, "gpt-2": level}
        name = self.get("tokenizer.ggml.pre")
        if own is None and name not in known:
            raise GgufError(f"{self.path}: pre-tokenizer '{name}' is unknown; take this model from its hub folder")
        found: dict[str, Any] = own or known[name]
        return found

    def config(self) -> dict[str, Any]:
        """The model's shape as keyword arguments of transformers' LlamaConfig."""
        keys = {
            "hidden_size": "embedding_length",
            "num_hidden_layers": "block_count",
            "intermediate_size": "feed_forward_length",
            "num_attention_heads": "attention.head_count",
            "num_key_value_heads": "attention.head_count_kv",
            "rms_norm_eps": "attention.layer_norm_rms_epsilon",
            "max_position_embeddings": "context_length",
        }
        config = {name: self.get(f"llama.{key}") for name, key in keys.items()}
        equal = config["hidden_size"] // config["num_attention_heads"]
        config["head_dim"] = self.get("llama.attention.key_length", equal)
        rope = {"rope_type": "default", "rope_theta": self.get("llama.rope.freq_base", 10_000.0)}
        tied = not any(t.name == "output.weight" for t in self._reader.tensors)
        return {**config, "rope_parameters": rope, "tie_word_embeddings": tied}

    def weights(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Transformers' names and fp32 arrays, dequantised."""
        config = self.config()
        heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
        for tensor in self._reader.tensors:
            array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            part = tensor.name.split(".")[-2]
            try:
                yield tensor_name(tensor.name), reorder(array, heads[part], back=True) if part in heads else array
            except (KeyError, ValueError) as error:
                raise GgufError(f"{self.path}: unexpected tensor '{tensor.name}'; expected a plain llama") from error
