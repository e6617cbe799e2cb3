"""ONNX Runtime in this process: a student's GGUF, token ids in, logits out, one sequence at a time.

Its kernels are chosen for the processor that it finds when it starts. The graph is made from the file when it is opened
(lib/runtime/onnx_graph.py). Keys and values stay in fp32 arrays that the graph appends to, so that forgetting tokens is
a number and keeping a context is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from lib.model.gguf_read import GgufFile
from lib.runtime import onnx_graph
from lib.runtime.onnx_graph import Floats

BATCH = 512
"""Tokens that are read at a time."""
ROOM = 512
"""Tokens that there is room for at first; it is doubled as often as it has to be."""
_ERRORS_ONLY = 3


class EngineError(RuntimeError):
    """A file that ONNX Runtime cannot load, or a call that failed."""


class OnnxModel:
    """A model and one sequence of tokens that it has read; ``length``: how many."""

    def __init__(self, file: GgufFile, threads: int, context_tokens: int = 4096) -> None:
        """Loads the model. Raises EngineError where ONNX Runtime cannot."""
        graph = onnx_graph.build(file, context_tokens)
        self._session = _open(graph.model, threads)
        self._embedding = file.tensors["token_embd.weight"]
        self._rows: dict[int, Floats] = {}
        self.length, self._most = 0, context_tokens
        self._logits = np.zeros((1, 1, int(self._embedding.shape[1])), np.float32)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(self._logits))
        self._kept = np.zeros((graph.layers, 2, 1, graph.kv_heads, 0, graph.head_size), np.float32)
        self._grow(1)

    def _grow(self, tokens: int) -> None:
        """Makes room for ``tokens`` keys and values; those that were read stay. Raises EngineError."""
        if tokens > self._most:
            raise EngineError(f"no room for {tokens} tokens: it reads {self._most}")
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

        Raises EngineError where there is no room for them.
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
            raise EngineError(f"ONNX Runtime could not read {len(ids)} tokens after {self.length} ({error})") from error
        self.length = total

    def _row(self, token: int) -> Floats:
        """A token's embedding, unpacked once."""
        if token not in self._rows:
            row = self._embedding._replace(data=self._embedding.data[token : token + 1])
            self._rows[token] = onnx_graph.floats(row)[0]
        return self._rows[token]

    def keep(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        self.length = min(length, self.length)

    def state(self) -> Floats:
        """The keys and values of what was read, (layers, 2, 1, kv_heads, length, head size)."""
        return self._kept[..., : self.length, :].copy()

    def restore(self, state: Floats, length: int) -> None:
        """Takes up a ``state`` of ``length`` tokens in place of what was read. Raises EngineError."""
        self._grow(length)
        self._kept[..., :length, :] = state[..., :length, :]
        self.length = length


def _open(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")  # threads rest between two calls
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot load it ({error})") from error
