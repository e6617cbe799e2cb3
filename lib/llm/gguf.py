"""A chat model as a GGUF file, run in this process by ``xllamacpp`` (llama.cpp), on the CPU.

Each slot keeps the keys and values of its last prompt, so that a common beginning is read once. A JSON schema
constrains decoding through llguidance; the text has no optional blanks, as in ``lib.llm.torch``.
"""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import llguidance

from lib.core.files import sha256
from lib.llm.types import BackendError, Prompt, Reply, answer_all, read_answer
from lib.runtime.llama_server import open_server

_HEADER = 64 << 20  # bytes at a GGUF's beginning in which its metadata ends


class GgufBackend:
    """A Backend. ``model``: the file; ``name``: as recordings call it, by default the file's without its ending.

    ``threads``: CPU threads of one step; ``context_tokens``: of a prompt and its answer, at least 256; ``slots``:
    prompts at once, each with keys and values of its own.
    """

    def __init__(
        self, model: Path | str, threads: int = 2, context_tokens: int = 4096, slots: int = 1, name: str = ""
    ) -> None:
        """Loads the model. Raises BackendError for a file that is no whole GGUF of a chat model."""
        path = Path(model)
        if min(threads, context_tokens, slots) < 1:
            raise BackendError(f"{path.name}: threads, context_tokens and slots must each be at least 1")
        check_file(path)
        self.model, self.slots, self.sha256 = name or path.name.removesuffix(".gguf"), slots, sha256(path)
        try:
            self._server = open_server(path, threads, context_tokens, slots, plain_chat=True)
        except RuntimeError as error:
            raise BackendError(f"{path}: {error}: copy or download it again") from error

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order; ``cached_tokens`` are those that the slot held from its last prompt."""
        return answer_all(self._answer, prompts, self.slots, self.model)

    def _answer(self, prompt: Prompt) -> Reply:
        began = time.perf_counter()
        try:
            grammar = {} if prompt.schema is None else {"grammar": _grammar(json.dumps(prompt.schema))}
            request = {**prompt.request(), "samplers": ["temperature", "top_p"], "cache_prompt": True, **grammar}
            response = self._server.handle_chat_completions(request)
            if "choices" not in response:
                raise ValueError(response.get("error", response))
        except (ValueError, RuntimeError) as error:  # llama.cpp's own messages
            return Reply("", self.model).failed("refused", error)
        return read_answer(json.dumps(response).encode(), prompt, self.model, time.perf_counter() - began)


@lru_cache(512)
def _grammar(schema: str) -> str:
    """In llama.cpp's notation. Raises ValueError for a schema that it would silently not follow."""
    compact = {"x-guidance": {"whitespace_flexible": False}, **json.loads(schema)}
    grammar = f"%llguidance {{}}\nstart: %json {json.dumps(compact)}"
    if problem := llguidance.LLMatcher.validate_grammar(grammar):
        raise ValueError(f"JSON schema cannot be enforced ({problem})")
    return grammar


def check_file(path: Path) -> None:
    """Raises BackendError unless ``path`` is a GGUF with a chat template (without one llama.cpp would guess)."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            magic, template = data[:4], data.find(b"tokenizer.chat_template", 0, _HEADER)
    except (OSError, ValueError) as error:
        raise BackendError(f"{path}: cannot be read ({error}): name a GGUF file of a chat model") from error
    if magic != b"GGUF":
        raise BackendError(f"{path}: not a GGUF file: name one, or download it again")
    if template < 0:
        raise BackendError(f"{path}: has no chat template: use a model that was trained for chat")
