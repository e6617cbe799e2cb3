"""llama.cpp in this process: its server, and its C interface out of the same library: tokens in, logits out.

The server (``open_server``) answers whole requests. Appending tokens that need no answer, or keeping several contexts'
keys and values, takes the calls below it, which the same library exports. Only what has stayed the same for years is
relied on: functions of pointers and integers, the batch, and ``n_ctx`` as the first field of the context's parameters;
the defaults that llama.cpp itself fills in are passed on unread. Where the functions are absent, or the defaults do not
look as they should, ``available`` says no and lib/runtime/decode.py asks the server instead.

>>> model = Llama(Path("student-q4_0.gguf"), threads=2)                               # doctest: +SKIP
>>> model.feed([1, 5, 9]).shape                                                       # doctest: +SKIP
(16384,)
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("GOMP_SPINCOUNT", "5000")
"""How long a thread keeps its core while it waits for another, in turns of a loop; read when the library is loaded.
OpenMP's own 300,000 take away the core that the other one waits for, where there is another program."""

import xllamacpp  # noqa: E402
import xllamacpp.xllamacpp  # noqa: E402

from lib.runtime.engine import EngineError  # noqa: E402

BATCH = 512
"""Tokens that are fed at a time."""
BYTES_A_THREAD = 32 << 20
"""Weights for which a thread more pays when one token is read; with fewer, waiting takes nearly all that it saves."""
_SIZE = 1024
"""Bytes kept for a structure whose fields llama.cpp fills in; more than any version needs."""
_DEFAULTS = (512, 2048, 512, 1)
"""n_ctx, n_batch, n_ubatch and n_seq_max, as llama.cpp sets them: where they stand tells that the layout is known."""


class LlamaError(EngineError):
    """A file that llama.cpp cannot load, or a call that failed."""


class _Parameters(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * _SIZE)]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


_POINTER, _INT, _SIZE_T = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_print_system_info": (ctypes.c_char_p, []),
    "llama_log_set": (None, [_POINTER, _POINTER]),
    "llama_model_default_params": (_Parameters, []),
    "llama_context_default_params": (_Parameters, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _Parameters]),
    "llama_init_from_model": (_POINTER, [_POINTER, _Parameters]),
    "llama_model_free": (None, [_POINTER]),
    "llama_free": (None, [_POINTER]),
    "llama_set_n_threads": (None, [_POINTER, _INT, _INT]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_batch_get_one": (_Batch, [_POINTER, _INT]),
    "llama_decode": (_INT, [_POINTER, _Batch]),
    "llama_get_logits_ith": (_POINTER, [_POINTER, _INT]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_seq_rm": (ctypes.c_bool, [_POINTER, _INT, _INT, _INT]),
    "llama_state_seq_get_size": (_SIZE_T, [_POINTER, _INT]),
    "llama_state_seq_get_data": (_SIZE_T, [_POINTER, _POINTER, _SIZE_T, _INT]),
    "llama_state_seq_set_data": (_SIZE_T, [_POINTER, _POINTER, _SIZE_T, _INT]),
}
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SILENT = _LOG(lambda level, text, data: None)


@cache
def _library() -> Any:
    """The library with its functions declared, or None where it cannot be used in this way."""
    try:
        library = ctypes.CDLL(str(xllamacpp.xllamacpp.__file__))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    if struct.unpack_from("4i", library.llama_context_default_params().bytes) != _DEFAULTS:
        return None
    library.llama_log_set(_SILENT, None)
    library.llama_backend_init()
    return library


def available() -> bool:
    """Whether the installed library offers these calls."""
    return _library() is not None


def instructions() -> str:
    """The processor's instructions that the installed library was built to use, as "AVX2 FMA"; empty if unknown."""
    said = _library().llama_print_system_info().decode() if available() else ""
    return " ".join(re.findall(r"(\w+) = 1", said))


def open_server(
    path: Path, threads: int, context_tokens: int, slots: int = 1, plain_chat: bool = False
) -> xllamacpp.Server:
    """llama.cpp's server in this process, on the CPU, with ``slots`` contexts of ``context_tokens`` each.

    ``plain_chat``: what a chat model says is not read for tool calls or thoughts. Raises LlamaError for a file that
    llama.cpp cannot load.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = context_tokens * slots, slots, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib, params.verbosity, params.ui = 0, -1, False
    if plain_chat:
        params.force_pure_content_parser = True
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise LlamaError(f"llama.cpp cannot load it ({error})") from error


def threads_for_one(size: int, threads: int) -> int:
    """How many of ``threads`` read a single token with a model of ``size`` bytes; several tokens are read by all.

    Layer for layer the threads wait for each other several times. In a small model that takes nearly as long as the
    second thread saves (a tenth remains), and where another program has one of the cores, many times as long.

    >>> [threads_for_one(size, threads=2) for size in (31_000_000, 70_000_000)]
    [1, 2]
    """
    return min(threads, max(1, size // BYTES_A_THREAD))


class Llama:
    """A model and one sequence of tokens that it has read."""

    def __init__(self, path: Path, threads: int, context_tokens: int = 4096) -> None:
        """Loads the model. Raises LlamaError if llama.cpp cannot."""
        self._model = self._context = None
        self._lib = _library()
        if self._lib is None:
            raise LlamaError("the installed xllamacpp does not offer llama.cpp's own calls")
        self._model = self._lib.llama_model_load_from_file(str(path).encode(), self._lib.llama_model_default_params())
        if not self._model:
            raise LlamaError("llama.cpp cannot load it")
        settings = self._lib.llama_context_default_params()
        struct.pack_into("I", settings.bytes, 0, context_tokens)
        self._context = self._lib.llama_init_from_model(self._model, settings)
        if not self._context:
            raise LlamaError("llama.cpp cannot make a context for it")
        self._lib.llama_set_n_threads(self._context, threads_for_one(path.stat().st_size, threads), threads)
        self._memory = self._lib.llama_get_memory(self._context)
        self.vocab_size: int = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))
        self.length = 0
        """Tokens read so far."""

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Reads at least one more token. Returns the logits after the last, (vocabulary,), valid until the next call.

        Raises LlamaError where there is no room for them.
        """
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            tokens = (ctypes.c_int32 * len(part))(*part)
            batch = self._lib.llama_batch_get_one(ctypes.cast(tokens, ctypes.c_void_p), len(part))
            status = self._lib.llama_decode(self._context, batch)
            if status:
                raise LlamaError(f"llama.cpp could not read {len(part)} tokens after {self.length} (status {status})")
            self.length += len(part)
        address = self._lib.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array((ctypes.c_float * self.vocab_size).from_address(address))

    def keep(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        if length < self.length:
            self._lib.llama_memory_seq_rm(self._memory, 0, length, -1)
            self.length = length

    def state(self) -> bytes:
        """The keys and values of what was read."""
        size = self._lib.llama_state_seq_get_size(self._context, 0)
        buffer = ctypes.create_string_buffer(size)
        written = self._lib.llama_state_seq_get_data(self._context, buffer, size, 0)
        return buffer.raw[:written]

    def restore(self, state: bytes, length: int) -> None:
        """Takes up a ``state`` of ``length`` tokens in place of what was read. Raises LlamaError."""
        self.keep(0)
        if not self._lib.llama_state_seq_set_data(self._context, state, len(state), 0):
            raise LlamaError("llama.cpp does not take the state back")
        self.length = length

    def close(self) -> None:
        """Gives the memory back."""
        if self._context:
            self._lib.llama_free(self._context)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._context = self._model = None

    def __del__(self) -> None:
        self.close()
