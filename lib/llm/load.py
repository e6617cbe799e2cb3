"""A backend from a parameter: a mapping in a YAML file, or one short line as on a command line.

>>> parse("openai:qwen2.5:1.5b@http://localhost:11434/v1")
{'kind': 'openai', 'model': 'qwen2.5:1.5b', 'base_url': 'http://localhost:11434/v1'}
>>> parse("gguf:models/qwen.gguf?threads=4&slots=2")
{'kind': 'gguf', 'model': 'models/qwen.gguf', 'threads': 4, 'slots': 2}
"""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Mapping
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


def backend(spec: str | Mapping[str, Any], recordings: Path | None = None, where: str = "backend") -> Backend:
    """The backend that ``spec`` describes: ``kind``, ``model`` (for a replay ``folder``) and the kind's settings.

    ``recordings``: what a replay without a folder reads; ``where``: names the parameter in errors. Raises ParamsError
    for a wrong ``spec``, BackendError as the kind's class does.
    """
    given = parse(spec, where) if isinstance(spec, str) else dict(spec)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise ParamsError(f"{where}: unknown kind '{kind!s:.20}'; {suggest(str(kind), [*KINDS])}; write {FORMS}")
    if kind == "replay" and recordings is not None:
        given.setdefault("folder", str(recordings))
    create: Any = pydoc.locate(KINDS[kind])
    where = f"{where} ({kind})"
    defaults = {name: p.default for name, p in inspect.signature(create).parameters.items()}
    required = [name for name, default in defaults.items() if default is inspect.Parameter.empty]
    if secret := next((key for key in given if re.search("key(?!.*env)", str(key).lower())), None):
        raise ParamsError(f"{where}: '{secret}': a key is read from the environment alone: see key_env")
    check({**defaults, **dict.fromkeys(required, "")}, given, where)
    if missing := [name for name in required if not given.get(name)]:
        raise ParamsError(f"{where}: '{missing[0]}' is missing")
    made: Backend = create(**given)
    return made


def parse(text: str, where: str = "backend") -> dict[str, Any]:
    """The mapping that one line stands for. Raises ParamsError for a line of another form."""
    head, _, settings = text.strip().partition("?")
    kind, _, model = head.partition(":")
    spec: dict[str, Any] = {"kind": kind}
    if kind == "openai":
        if not (found := re.fullmatch(r"(.+)@(https?://.+)", model)):
            raise ParamsError(f"{where}: openai needs model and address: openai:MODEL@http://localhost:8000/v1")
        spec |= {"model": found[1], "base_url": found[2]}
    elif model:
        spec |= {"folder" if kind == "replay" else "model": model}
    try:
        pairs = parse_qsl(settings, strict_parsing=bool(settings), keep_blank_values=True)
        return spec | {key: yaml.safe_load(value) for key, value in pairs}
    except (ValueError, yaml.YAMLError) as error:
        raise ParamsError(f"{where}: settings are not setting=value&…: write {FORMS}") from error
