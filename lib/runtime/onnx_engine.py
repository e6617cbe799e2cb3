"""ONNX Runtime in this process: a student's GGUF, token ids in, logits out, one sequence at a time.

The graph is made in memory with the very weights of the file. Quantised matrices stay quantised: a block of 32 weights
of GGUF is a block of ONNX Runtime's ``MatMulNBits``, whole numbers and one scale. Query, key and value, and gate and
up, are one matrix each. Attention with its rotary embedding is one node (``GroupQueryAttention``), which appends to
keys and values in place: forgetting tokens is a number, keeping a context is a copy. The operators are those of ONNX
Runtime's contrib set (github.com/microsoft/onnxruntime, docs/ContribOperators.md).
"""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

import gguf
import numpy as np
import onnx
import onnxruntime as ort
from gguf import GGMLQuantizationType as Ggml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lib.model.gguf_read import BLOCK, GgufFile

BATCH = 512  # tokens that are read at a time
ROOM = 512  # tokens that there is room for at first; it is doubled as often as it has to be
CONTRIB = "com.microsoft"
INT8 = 4  # ``accuracy_level``: activations are quantised to 8 bits a block, as llama.cpp does
FLOATS = (Ggml.F32, Ggml.F16)
Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int8]
Floats = NDArray[np.float32]


MAPPED = 1 << 20  # bytes from which a block of memory is one of its own
M_MMAP_THRESHOLD = -3  # in glibc's malloc.h


def _map_large_blocks() -> None:
    """Makes glibc give freed copies of keys and values back to the system: its heap would keep 60 MB (mallopt(3))."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED)


class OnnxModel:
    """A model and one sequence of tokens that it has read; ``length``: how many."""

    def __init__(self, file: GgufFile, threads: int, context_tokens: int = 4096) -> None:
        """Loads the model. Raises RuntimeError where ONNX Runtime cannot."""
        _map_large_blocks()
        self._session = _open(build(file, context_tokens), threads)
        embedding = file.tensors["token_embd.weight"]
        self._row = cache(partial(_row, embedding))
        self.length, self._most = 0, context_tokens
        self._logits = np.zeros((1, 1, int(embedding.shape[1])), np.float32)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(self._logits))
        config = file.config()
        layers, kv_heads, size = config["num_hidden_layers"], config["num_key_value_heads"], config["head_dim"]
        self._kept = np.zeros((layers, 2, 1, kv_heads, 0, size), np.float32)
        self._grow(1)

    def _grow(self, tokens: int) -> None:
        """Makes room for ``tokens`` keys and values; those that were read stay. Raises RuntimeError."""
        if tokens > self._most:
            raise RuntimeError(f"no room for {tokens} tokens: it reads {self._most}")
        room = self._kept.shape[-2] or ROOM
        while room < tokens:
            room *= 2
        if room == self._kept.shape[-2]:
            return
        larger = np.zeros((*self._kept.shape[:-2], room, self._kept.shape[-1]), np.float32)
        larger[..., : self.length, :] = self._kept[..., : self.length, :]
        self._kept = larger
        for number, layer in enumerate(larger):
            for part, memory in zip(("key", "value"), layer, strict=True):
                value = ort.OrtValue.ortvalue_from_numpy(memory)  # the same memory
                self._binding.bind_ortvalue_input(f"past.{number}.{part}", value)
                self._binding.bind_ortvalue_output(f"present.{number}.{part}", value)

    def feed(self, ids: Sequence[int]) -> Floats:
        """Reads at least one more token. Returns the logits after the last, (vocabulary,), valid until the next call.

        Raises RuntimeError where there is no room for them.
        """
        self._grow(self.length + len(ids))
        for start in range(0, len(ids), BATCH):
            self._run(ids[start : start + BATCH])
        return self._logits[0, 0]

    def _run(self, ids: Sequence[int]) -> None:
        total = self.length + len(ids)
        self._binding.bind_cpu_input("embeddings", np.stack([self._row(token) for token in ids])[None])
        self._binding.bind_cpu_input("last", np.array([total - 1], np.int32))
        self._binding.bind_cpu_input("total", np.array(total, np.int32))
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its own classes, which it does not export
            read = f"{len(ids)} tokens after {self.length}"
            raise RuntimeError(f"ONNX Runtime could not read {read} ({error})") from error
        self.length = total

    def keep(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        self.length = min(length, self.length)

    def state(self) -> Floats:
        """The keys and values of what was read, (layers, 2, 1, kv_heads, length, head size)."""
        return self._kept[..., : self.length, :].copy()

    def restore(self, state: Floats) -> None:
        """Takes up a ``state`` in place of what was read. Raises RuntimeError."""
        self._grow(length := state.shape[-2])
        self._kept[..., :length, :] = state
        self.length = length


def _row(embedding: gguf.ReaderTensor, token: int) -> Floats:
    row: Floats = floats(embedding._replace(data=embedding.data[token : token + 1]))[0]
    return row


def _open(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.force_spinning_stop", "1")  # threads rest between two calls
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RuntimeError(f"ONNX Runtime cannot load it ({error})") from error


def _q4_0(raw: Bytes) -> Numbers:
    return np.concatenate([raw & 15, raw >> 4], -1).view(np.int8) - np.int8(8)


def _q5_0(raw: Bytes) -> Numbers:
    high = np.unpackbits(raw[..., :4], axis=-1, bitorder="little").view(np.int8)
    return _q4_0(raw[..., 4:]) + 16 * high - np.int8(8)


def _q8_0(raw: Bytes) -> Numbers:
    return raw.view(np.int8)


_UNPACK: dict[Ggml, tuple[int, Callable[[Bytes], Numbers]]] = {
    Ggml.Q4_0: (4, _q4_0),
    Ggml.Q5_0: (8, _q5_0),
    Ggml.Q8_0: (8, _q8_0),
}
"""Kinds of blocks with a scale in 16 bits before the numbers, and nothing else; with the bits that numbers run in."""


def suits(file: GgufFile) -> str:
    """``onnx`` if all matrices run as they are, as blocks with one scale or not quantised; else ``server``."""
    return "onnx" if all(t.tensor_type in (*_UNPACK, *FLOATS) for t in file.tensors.values()) else "server"


def blocks(tensor: gguf.ReaderTensor) -> tuple[Numbers, Floats]:
    """The numbers, (rows, width), of a quantised matrix, and the scales of its blocks, (rows, blocks)."""
    width, rows = (int(n) for n in tensor.shape)
    raw = np.asarray(tensor.data).reshape(rows, width // BLOCK, -1)
    scales = raw[..., :2].copy().view(np.float16)[..., 0].astype(np.float32)
    return _UNPACK[tensor.tensor_type][1](raw[..., 2:]).reshape(rows, width), scales


def floats(tensor: gguf.ReaderTensor) -> Floats:
    """Any tensor in fp32."""
    found: Floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return found


class _Builder:
    """Nodes and weights as they are added; ``x`` names a layer's input throughout."""

    def __init__(self, file: GgufFile, context_tokens: int) -> None:
        self.tensors, self.config = file.tensors, file.config()
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        size = self.config["head_dim"]
        turns = 1 / self.config["rope_parameters"]["rope_theta"] ** (np.arange(0, size, 2) / size)
        angles = np.arange(context_tokens)[:, None] * turns
        self.constant("cos", np.cos(angles).astype(np.float32))
        self.constant("sin", np.sin(angles).astype(np.float32))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """The name of an initializer, which is there once however often it is asked for."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = CONTRIB, **more: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **more))

    def multiply(self, x: str, names: Sequence[str], out: str) -> str:
        """``x`` times the rows of all matrices of ``names``, and their biases."""
        if f"{names[0]}.bias" in self.tensors:
            bias = self.constant(f"{out}.b", np.concatenate([floats(self.tensors[f"{name}.bias"]) for name in names]))
            self.add("Add", [self._product(x, names, f"{out}.product"), bias], [out], domain="")
            return out
        return self._product(x, names, out)

    def _product(self, x: str, names: Sequence[str], out: str) -> str:
        tensors = [self.tensors[f"{name}.weight"] for name in names]
        own = tensors[0].name  # that of the layer that has it, where others share it
        if any(t.tensor_type not in _UNPACK for t in tensors):
            joined = np.concatenate([floats(t) for t in tensors]).T
            self.add("MatMul", [x, self.constant(f"{own}.w", joined)], [out], domain="")
            return out
        bits = max(_UNPACK[t.tensor_type][0] for t in tensors)
        signed, scales = (np.concatenate(parts) for parts in zip(*map(blocks, tensors), strict=True))
        rows, width = signed.shape
        numbers = signed.view(np.uint8) + np.uint8(1 << bits - 1)  # unsigned, modulo 256
        packed = numbers if bits == 8 else numbers[:, 0::2] | numbers[:, 1::2] << 4
        weights = self.constant(f"{own}.w", packed.reshape(rows, width // BLOCK, -1))
        sizes = {"K": width, "N": rows, "bits": bits, "block_size": BLOCK, "accuracy_level": INT8}
        self.add("MatMulNBits", [x, weights, self.constant(f"{own}.s", scales)], [out], **sizes)
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


def build(file: GgufFile, context_tokens: int) -> bytes:
    """The serialised graph of ``file``, for sequences of up to ``context_tokens``.

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
    graph = helper.make_graph(builder.nodes, "llama", inputs, outputs, [*builder.weights.values()])
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=versions, ir_version=10)
    return model.SerializeToString()
