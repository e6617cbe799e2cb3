"""Reads GGUF, the file format of llama.cpp: the weights, the tokenizer and ``student.json`` of a llama model.

All types of weights that the ``gguf`` package unpacks are read; only this project's students (lib/model/gguf_write.py)
have ``student.json`` in them. Qwen2 is read as what it is, a llama with biases (Qwen2.5 Technical Report, arXiv
2412.15115, section 2). Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Ggml
from numpy.typing import NDArray

from lib.model.vocabulary import TokenizerJson, Vocabulary, added_token, byte_tokenizer

STUDENT_KEY = "supertiny.student"
GROUP_KEY = "supertiny.ffn_group"  # so many layers share the feed-forward tensors of the first of them
FFN = ("ffn_gate", "ffn_up", "ffn_down")
BLOCK = 32  # weights of a row that are quantised together
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
BIASED = ("attn_q", "attn_k", "attn_v", "attn_output")
ARCHITECTURES = ("llama", "qwen2")
OTHER_TYPE = "export the student again, as q8_0 for instance"
AGAIN = "copy or download it again"
DIGITS: dict[str, Any] = {"type": "Digits", "individual_digits": True}
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = {"Regex": _QWEN}
"""How Qwen2 splits text: the pattern in its tokenizer.json."""


class GgufError(ValueError):
    """A GGUF file that cannot be read or written; the message names the file and the remedy."""


def reorder(weight: NDArray[Any], heads: int, back: bool = False) -> NDArray[Any]:
    """Rows of queries or keys, (heads x head size, hidden), from transformers' rotary order to llama.cpp's, or back."""
    half = weight.shape[0] // heads // 2
    shape = (heads, half, 2, -1) if back else (heads, 2, half, -1)
    return weight.reshape(shape).swapaxes(1, 2).reshape(weight.shape)


def whole_blocks(width: int) -> int:
    """The least multiple of BLOCK that is at least ``width``."""
    return -(-width // BLOCK) * BLOCK


def tensor_name(name: str) -> str:
    """A GGUF tensor's name in transformers: ``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP and kind == "weight":
        return f"{TOP[stem]}.weight"
    block, number, part = stem.split(".")
    if block != "blk" or part not in (BIASED if kind == "bias" else LAYER):
        raise KeyError(name)
    return f"model.layers.{number}.{LAYER[part]}.{kind}"


class _Reader(gguf.GGUFReader):
    """Reads from a plain array in place of numpy's memmap, whose slices are slow, and never past the file's end."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, np.asarray(value) if name == "data" else value)

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> NDArray[Any]:
        found: NDArray[Any] = super()._get(offset, dtype, count, override_order)
        if len(found) < int(count):  # else a list that claims 2 ** 60 items would be read for years
            raise ValueError(f"it ends within what starts at byte {offset}")
        return found


class GgufFile:
    """A llama GGUF opened for reading. Raises GgufError if it is absent, truncated or of another architecture."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise GgufError(f"{path}: no such file; train a model first (make reproduce) or give another path")
        try:
            self._reader = _Reader(path)
            self.architecture = self.get("general.architecture")
        except Exception as error:  # the reader raises whatever numpy and struct raise on broken bytes
            if Ggml.__name__ in str(error):
                raise GgufError(f"{path}: weights of an unknown type ({error}); {OTHER_TYPE}") from error
            raise GgufError(f"{path}: not a whole GGUF file ({error}); {AGAIN}") from error
        if self.architecture not in ARCHITECTURES:
            expected = "expected 'llama' or 'qwen2': give a student's GGUF"
            raise GgufError(f"{path}: architecture '{self.architecture}'; {expected}")
        for kind, name in {tensor.tensor_type: tensor.name for tensor in self._reader.tensors}.items():
            try:
                gguf.quants.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
            except NotImplementedError as error:
                raise GgufError(
                    f"{path}: '{name}' is of type {kind.name}, which cannot be read; {OTHER_TYPE}"
                ) from error

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key. Raises GgufError where it is damaged."""
        field = self._reader.get_field(key)
        try:
            return default if field is None else field.contents()
        except (ValueError, TypeError, LookupError) as error:
            raise GgufError(f"{self.path}: '{key}' is damaged ({error!r:.200}); {AGAIN}") from error

    @property
    def is_student(self) -> bool:
        return self._reader.get_field(STUDENT_KEY) is not None

    @cached_property
    def student(self) -> dict[str, Any]:
        """``student.json`` of a model of ours. Raises GgufError for any other GGUF."""
        if not self.is_student:
            raise GgufError(f"{self.path}: not one of this project's models (no '{STUDENT_KEY}'); export a student")
        try:
            info: dict[str, Any] = json.loads(self.get(STUDENT_KEY))
            if not all(isinstance(text, str) for text in (info["task"], *info["controls"])):
                raise TypeError("task or controls are no texts")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise GgufError(f"{self.path}: '{STUDENT_KEY}' is damaged ({error!r:.200}); {AGAIN}") from error
        return info

    @cached_property
    def tensors(self) -> dict[str, gguf.ReaderTensor]:
        """All tensors by their GGUF names, as they lie in the file; a shared one by all names that it stands for."""
        found = {tensor.name: tensor for tensor in self._reader.tensors}
        group = self.ffn_group
        for number in [int(name.split(".")[1]) for name in found if re.fullmatch(r"blk\.\d+\.attn_norm\.weight", name)]:
            owners = {f"blk.{number}.{part}.weight": f"blk.{number - number % group}.{part}.weight" for part in FFN}
            found |= {name: found[owner] for name, owner in owners.items() if number % group and owner in found}
        return found

    @property
    def ffn_group(self) -> int:
        """How many layers share one feed-forward layer. Raises GgufError."""
        return int(self._above_0(GROUP_KEY, 1))

    @property
    def kinds(self) -> dict[str, tuple[str, int]]:
        """The kind of every matrix ("q8_0") and the width of its rows, by its GGUF name."""
        matrices = [tensor for tensor in self._reader.tensors if len(tensor.shape) == 2]
        return {t.name: (t.tensor_type.name.lower(), int(t.shape[0])) for t in matrices}

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return sum(int(t.n_elements) for t in self._reader.tensors)

    def vocabulary(self) -> Vocabulary:
        """The vocabulary of a model of ours."""
        try:
            return Vocabulary(self.tokenizer(), self.student["controls"])
        except GgufError:
            raise
        except Exception as error:  # the package tokenizers raises nothing narrower
            raise GgufError(f"{self.path}: its tokenizer is damaged ({error!r:.200}); {AGAIN}") from error

    def tokenizer(self) -> TokenizerJson:
        """The tokenizer rebuilt as the content of a ``tokenizer.json``."""
        if self.get("tokenizer.ggml.model") != "gpt2":
            raise GgufError(f"{self.path}: its tokenizer is not a byte-level BPE; use a model such as SmolLM2")
        tokens, types = self.get("tokenizer.ggml.tokens"), self.get("tokenizer.ggml.token_type")
        merges = [m.split(" ") for m in self.get("tokenizer.ggml.merges")]
        mark, control = int(gguf.TokenType.CONTROL), int(gguf.TokenType.USER_DEFINED)
        vocab = {t: i for i, t in enumerate(tokens) if types[i] != control}
        merges = [m for m in merges if m[0] in vocab and m[1] in vocab and "".join(m) in vocab]
        added = [added_token(t, i, types[i] == mark) for i, t in enumerate(tokens) if types[i] in (mark, control)]
        base = byte_tokenizer()
        model = {**base["model"], "vocab": vocab, "merges": merges}
        return {**base, "pre_tokenizer": self._pre_tokenizer(), "added_tokens": added, "model": model}

    def _pre_tokenizer(self) -> dict[str, Any]:
        level = byte_tokenizer()["pre_tokenizer"]
        known = {"smollm": {"type": "Sequence", "pretokenizers": [DIGITS, level]}, "gpt-2": level}
        split = {"type": "Split", "pattern": QWEN, "behavior": "Isolated", "invert": False}
        known["qwen2"] = {"type": "Sequence", "pretokenizers": [split, {**level, "use_regex": False}]}
        name = self.get("tokenizer.ggml.pre")
        found: dict[str, Any] | None = json.loads(self.get(STUDENT_KEY, "{}")).get("pre_tokenizer") or known.get(name)
        if found is None:
            raise GgufError(f"{self.path}: pre-tokenizer '{name}' is unknown; take this model from its hub folder")
        return found

    def config(self) -> dict[str, Any]:
        """The model's shape as keyword arguments of transformers' LlamaConfig. Raises GgufError."""
        keys = {
            "hidden_size": "embedding_length",
            "num_hidden_layers": "block_count",
            "intermediate_size": "feed_forward_length",
            "num_attention_heads": "attention.head_count",
            "num_key_value_heads": "attention.head_count_kv",
            "rms_norm_eps": "attention.layer_norm_rms_epsilon",
            "max_position_embeddings": "context_length",
        }
        config = {name: self._above_0(f"{self.architecture}.{key}") for name, key in keys.items()}
        equal = config["hidden_size"] // config["num_attention_heads"]
        config["head_dim"] = self._above_0(f"{self.architecture}.attention.key_length", equal)
        theta = self._above_0(f"{self.architecture}.rope.freq_base", 10_000.0)
        rope = {"rope_type": "default", "rope_theta": theta}
        tied = not any(t.name == "output.weight" for t in self._reader.tensors)
        biased = any(t.name == "blk.0.attn_q.bias" for t in self._reader.tensors)
        config |= {"ffn_group": self.ffn_group} if self.ffn_group > 1 else {}
        return {**config, "rope_parameters": rope, "tie_word_embeddings": tied, "attention_bias": biased}

    def _above_0(self, key: str, default: Any = None) -> Any:
        value = self.get(key, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise GgufError(f"{self.path}: '{key}' is {value!r:.80}, expected a number above 0; {AGAIN}")
        return value

    def check_shapes(self, tokens: int) -> None:
        """Raises GgufError where a tensor of a model with a vocabulary of ``tokens`` is missing or of another shape."""
        config = self.config()
        hidden, inner, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        queries, keys = (config[f"num_{kind}_heads"] * size for kind in ("attention", "key_value"))
        shapes = {"token_embd": [hidden, tokens], "output_norm": [hidden]}
        shapes |= {} if config["tie_word_embeddings"] else {"output": [hidden, tokens]}
        for name, shape in shapes.items():
            self._check_shape(name, shape)
        for layer in range(int(config["num_hidden_layers"])):
            gate = self.tensors.get(f"blk.{layer}.ffn_gate.weight")
            width = inner if gate is None else min(inner, int(gate.shape[-1]))  # layers may differ
            rows = {"attn_q": queries, "attn_k": keys, "attn_v": keys, "ffn_gate": width, "ffn_up": width}
            for part in LAYER:
                wide = {"attn_output": queries, "ffn_down": width}.get(part, hidden)
                shape = [hidden] if part.endswith("norm") else [wide, rows.get(part, hidden)]
                self._check_shape(f"blk.{layer}.{part}", shape)

    def _check_shape(self, name: str, shape: list[int]) -> None:
        tensor = self.tensors.get(f"{name}.weight")
        found = None if tensor is None else tensor.shape.tolist()
        if found != shape:
            raise GgufError(f"{self.path}: '{name}.weight' is of shape {found}, expected {shape}; {AGAIN}")

    def weights(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Transformers' names and fp32 arrays, dequantised; narrower layers with units of zeros."""
        config = self.config()
        heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
        heads = heads if self.architecture == "llama" else {}  # only llama's rows are in another order
        for name, tensor in self.tensors.items():
            array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            part = name.split(".")[-2]
            try:
                if part in FFN:
                    short = config["intermediate_size"] - array.shape[part == "ffn_down"]
                    array = np.pad(array, ((0, 0), (0, short)) if part == "ffn_down" else ((0, short), (0, 0)))
                yield tensor_name(name), reorder(array, heads[part], back=True) if part in heads else array
            except (KeyError, ValueError, IndexError) as error:
                raise GgufError(f"{self.path}: unexpected tensor '{name}'; expected a plain llama") from error
