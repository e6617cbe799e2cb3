"""llama.cpp's server in this process, without a port: for GGUF files that ONNX Runtime does not run as they are."""

import os
import re
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "5000")
"""How long a waiting thread keeps its core, in turns of a loop; read when the library is loaded. OpenMP's own 300,000
take away the core that another program, or the thread that is waited for, needs."""

import xllamacpp  # noqa: E402


def instructions() -> str:
    """The processor's instructions that the installed library was built to use, as "AVX2 FMA"."""
    return " ".join(re.findall(r"(\w+) = 1", xllamacpp.get_system_info()))


def open_server(
    path: Path, threads: int, context_tokens: int, slots: int = 1, plain_chat: bool = False
) -> xllamacpp.Server:
    """A server on the CPU, with ``slots`` contexts of ``context_tokens`` each.

    ``plain_chat``: what a chat model says is not read for tool calls or thoughts. Raises RuntimeError.
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
        raise RuntimeError(f"llama.cpp cannot load it ({error})") from error
