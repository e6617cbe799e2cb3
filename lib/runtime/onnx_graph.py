"""A llama GGUF as a graph of ONNX, made in memory, with the very weights of the file.

Quantised matrices stay quantised: a block of 32 weights of GGUF is a block of ONNX Runtime's ``MatMulNBits``, whole
numbers and one scale. Query, key and value, and gate and up, are one matrix each. Attention with its rotary embedding
is one node (``GroupQueryAttention``), which appends to keys and values in place: a layer has ten nodes. The operators
are those of ONNX Runtime's contrib set (github.com/microsoft/onnxruntime, docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
import onnx
from gguf import GGMLQuantizationType as Ggml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lib.model.gguf_read import GgufFile

BLOCK = 32
CONTRIB = "com.microsoft"
INT8 = 4
"""``accuracy_level``: activations are quantised to 8 bits a block, as llama.cpp does."""
FLOATS = (Ggml.F32, Ggml.F16)
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Blocks:
    """A quantised matrix: ``numbers`` (rows, width), unsigned, zero in their middle; ``scales`` of blocks."""

    bits: int
    numbers: Bytes
    scales: Floats

    def widened(self, bits: int) -> Blocks:
        """The same weights as numbers of ``bits``."""
        return Blocks(bits, self.numbers + (_middle(bits) - _middle(self.bits)), self.scales)


@dataclass(frozen=True)
class Graph:
    """``model``: the serialised graph; it takes embeddings, and the keys and values of each layer."""

    model: bytes
    layers: int
    kv_heads: int
    head_size: int


def _middle(bits: int) -> np.uint8:
    return np.uint8(1 << bits - 1)


def _q4_0(raw: Bytes) -> Bytes:
    return np.concatenate([raw & 15, raw >> 4], -1)


def _q5_0(raw: Bytes) -> Bytes:
    high = np.unpackbits(raw[..., :4], axis=-1, bitorder="little")
    low: Bytes = _q4_0(raw[..., 4:])
    return low + 16 * high + (_middle(8) - np.uint8(16))


def _q8_0(raw: Bytes) -> Bytes:
    return raw + _middle(8)  # from signed to unsigned, modulo 256


_UNPACK: dict[Ggml, tuple[int, Callable[[Bytes], Bytes]]] = {
    Ggml.Q4_0: (4, _q4_0),
    Ggml.Q5_0: (8, _q5_0),
    Ggml.Q8_0: (8, _q8_0),
}
"""Kinds of blocks with a scale in 16 bits before the numbers, and nothing else."""


def readable(file: GgufFile) -> bool:
    """Whether all matrices are of a kind that runs as it is: blocks with one scale, or not quantised."""
    return all(t.tensor_type in (*_UNPACK, *FLOATS) for t in file.tensors.values())


def blocks(tensor: gguf.ReaderTensor) -> Blocks:
    """The numbers and scales of a quantised matrix."""
    bits, unpack = _UNPACK[tensor.tensor_type]
    width, rows = (int(n) for n in tensor.shape)
    raw = np.asarray(tensor.data).reshape(rows, width // BLOCK, -1)
    scales = raw[..., :2].copy().view(np.float16)[..., 0].astype(np.float32)
    return Blocks(bits, unpack(raw[..., 2:]).reshape(rows, width), scales)


def floats(tensor: gguf.ReaderTensor) -> Floats:
    """Any tensor in fp32."""
    found: Floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return found


class _Builder:
    """Nodes and weights as they are added; ``x`` names a layer's input throughout."""

    def __init__(self, file: GgufFile, context_tokens: int) -> None:
        self.tensors, self.config = file.tensors, file.config()
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        size = self.config["head_dim"]
        turns = 1 / self.config["rope_parameters"]["rope_theta"] ** (np.arange(0, size, 2) / size)
        angles = np.arange(context_tokens)[:, None] * turns
        self.constant("cos", np.cos(angles).astype(np.float32))
        self.constant("sin", np.sin(angles).astype(np.float32))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = CONTRIB, **more: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **more))

    def multiply(self, x: str, names: Sequence[str], out: str) -> str:
        """``x`` times the rows of all matrices of ``names``."""
        tensors = [self.tensors[f"{name}.weight"] for name in names]
        if any(t.tensor_type not in _UNPACK for t in tensors):
            joined = np.concatenate([floats(t) for t in tensors]).T
            self.add("MatMul", [x, self.constant(f"{out}.w", joined)], [out], domain="")
            return out
        parts = [blocks(t) for t in tensors]
        bits = max(part.bits for part in parts)
        parts = [part.widened(bits) for part in parts]
        numbers = np.concatenate([part.numbers for part in parts])
        rows, width = numbers.shape
        packed = numbers if bits == 8 else numbers[:, 0::2] | numbers[:, 1::2] << 4
        weights = self.constant(f"{out}.w", packed.reshape(rows, width // BLOCK, -1))
        scales = self.constant(f"{out}.s", np.concatenate([part.scales for part in parts]))
        sizes = {"K": width, "N": rows, "bits": bits, "block_size": BLOCK, "accuracy_level": INT8}
        self.add("MatMulNBits", [x, weights, scales], [out], **sizes)
        return out

    def normalise(self, x: str, add: str, name: str) -> tuple[str, str]:
        """The sum of ``x`` and ``add``, if there is one, and its root mean square norm."""
        weight = self.constant(f"{name}.w", floats(self.tensors[f"{name}.weight"]))
        epsilon = {"epsilon": self.config["rms_norm_eps"]}
        if not add:
            self.add("SimplifiedLayerNormalization", [x, weight], [name], domain="", axis=-1, **epsilon)
            return x, name
        self.add("SkipSimplifiedLayerNormalization", [x, add, weight], [name, "", "", f"{name}.sum"], **epsilon)
        return f"{name}.sum", name

    def layer(self, number: int, x: str, add: str) -> tuple[str, str]:
        """One layer; its result is the sum of the two that are returned."""
        at = f"blk.{number}"
        x, normed = self.normalise(x, add, f"{at}.attn_norm")
        together = self.multiply(normed, [f"{at}.attn_{part}" for part in "qkv"], f"{at}.qkv")
        kept = [f"past.{number}.key", f"past.{number}.value"]
        inputs = [together, "", "", *kept, "last", "total", "cos", "sin"]
        outputs = [f"{at}.attention", f"present.{number}.key", f"present.{number}.value"]
        heads = {"num_heads": self.config["num_attention_heads"], "kv_num_heads": self.config["num_key_value_heads"]}
        self.add("GroupQueryAttention", inputs, outputs, **heads, do_rotary=1, rotary_interleaved=1)
        add = self.multiply(f"{at}.attention", [f"{at}.attn_output"], f"{at}.attended")
        x, normed = self.normalise(x, add, f"{at}.ffn_norm")
        both = self.multiply(normed, [f"{at}.ffn_gate", f"{at}.ffn_up"], f"{at}.both")
        self.add("Split", [both], [f"{at}.gate", f"{at}.up"], domain="", axis=-1, num_outputs=2)
        self.add("QuickGelu", [f"{at}.gate"], [f"{at}.gated"], alpha=1.0)  # SiLU
        self.add("Mul", [f"{at}.gated", f"{at}.up"], [f"{at}.product"], domain="")
        return x, self.multiply(f"{at}.product", [f"{at}.ffn_down"], f"{at}.out")

    def head(self, x: str, add: str) -> None:
        """The logits of the last token."""
        _, normed = self.normalise(x, add, "output_norm")
        self.add("Gather", [normed, self.constant("end", np.array([-1]))], ["final"], domain="", axis=1)
        self.multiply("final", ["output" if "output.weight" in self.tensors else "token_embd"], "logits")


def build(file: GgufFile, context_tokens: int) -> Graph:
    """The graph of ``file``, for sequences of up to ``context_tokens``.

    Inputs: ``embeddings`` (1, tokens, hidden); ``total``, the tokens after this call, and ``last``, its last position;
    ``past.N.key`` and ``past.N.value`` (1, kv_heads, room, head size), with room for all of them. Outputs: ``logits``
    (1, 1, vocabulary); ``present.N.key`` and ``present.N.value``, the same memory as the past.
    """
    builder = _Builder(file, context_tokens)
    config = builder.config
    layers, kv_heads, size = config["num_hidden_layers"], config["num_key_value_heads"], config["head_dim"]
    x, add = "embeddings", ""
    for number in range(layers):
        x, add = builder.layer(number, x, add)
    builder.head(x, add)
    info, shape = helper.make_tensor_value_info, [1, kv_heads, "room", size]
    states = [f"{number}.{part}" for number in range(layers) for part in ("key", "value")]
    inputs = [info("embeddings", TensorProto.FLOAT, [1, "tokens", config["hidden_size"]])]
    inputs += [info("last", TensorProto.INT32, [1]), info("total", TensorProto.INT32, [])]
    inputs += [info(f"past.{state}", TensorProto.FLOAT, shape) for state in states]
    outputs = [info("logits", TensorProto.FLOAT, [1, 1, None])]
    outputs += [info(f"present.{state}", TensorProto.FLOAT, shape) for state in states]
    graph = helper.make_graph(builder.nodes, "llama", inputs, outputs, builder.weights)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=versions, ir_version=10)
    return Graph(model.SerializeToString(), layers, kv_heads, size)
