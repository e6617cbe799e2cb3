"""A backend from one line, as on a command line or in a notebook's parameters: kind, model, and perhaps settings.

openai:qwen2.5:1.5b@http://localhost:11434/v1?concurrency=4, gguf:models/qwen.gguf?threads=4&slots=2,
torch:Qwen/Qwen2.5-Coder-1.5B-Instruct, replay, or replay:FOLDER.
"""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml

from lib.core.params import ParamsError, check, suggest
from lib.llm.types import Backend

KINDS = {
    "replay": "lib.llm.replay.Replay",
    "openai": "lib.llm.openai.OpenAIBackend",
    "gguf": "lib.llm.gguf.GgufBackend",
    "torch": "lib.llm.torch.TorchBackend",
}
FORMS = "replay, openai:MODEL@URL, gguf:FILE or torch:FOLDER, then perhaps ?setting=value&…"


def backend(spec: str, recordings: Path | None = None, where: str = "backend") -> Backend:
    """The backend that ``spec`` describes; what may be set is what its class takes.

    ``recordings``: what a replay without a folder reads; ``where``: names the parameter in errors. Raises ParamsError
    for a wrong ``spec``, BackendError as the kind's class does.
    """
    head, _, settings = spec.strip().partition("?")
    kind, _, model = head.partition(":")
    if kind not in KINDS:
        raise ParamsError(f"{where}: unknown kind '{kind:.20}'; {suggest(kind, [*KINDS])}; write {FORMS}")
    try:
        pairs = parse_qsl(settings, strict_parsing=bool(settings), keep_blank_values=True)
        given = {key: yaml.safe_load(value) for key, value in pairs}
    except (ValueError, yaml.YAMLError) as error:
        raise ParamsError(f"{where}: settings are not setting=value&…: write {FORMS}") from error
    if kind == "openai":
        model, _, given["base_url"] = model.rpartition("@")
    given["folder" if kind == "replay" else "model"] = model or (str(recordings or "") if kind == "replay" else "")
    create: Any = pydoc.locate(KINDS[kind])
    _check(create, given, f"{where} ({kind})")
    made: Backend = create(**given)
    return made


def _check(create: Any, given: dict[str, Any], where: str) -> None:
    """Raises ParamsError unless these are names and types of what ``create`` takes, and nothing is missing."""
    defaults = {name: p.default for name, p in inspect.signature(create).parameters.items()}
    required = [name for name, default in defaults.items() if default is inspect.Parameter.empty]
    if secret := next((key for key in given if re.search("key(?!.*env)", key.lower())), None):
        raise ParamsError(f"{where}: '{secret}': a key is read from the environment alone: see key_env")
    check({**defaults, **dict.fromkeys(required, "")}, given, where)
    if missing := [name for name in required if not given[name]]:
        raise ParamsError(f"{where}: '{missing[0]}' is missing: write {FORMS}")
