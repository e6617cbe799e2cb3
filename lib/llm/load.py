"""A backend from a parameter: a mapping in a YAML file, or one short line as on a command line.

>>> parse("openai:qwen2.5:1.5b@http://localhost:11434/v1")
{'kind': 'openai', 'model': 'qwen2.5:1.5b', 'base_url': 'http://localhost:11434/v1'}
>>> parse("gguf:models/qwen.gguf?threads=4&slots=2")
{'kind': 'gguf', 'model': 'models/qwen.gguf', 'threads': 4, 'slots': 2}
>>> parse("replay")
{'kind': 'replay'}
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml

from lib.core import params
from lib.llm.types import Backend

KINDS = {
    "replay": ("lib.llm.replay", "Replay"),
    "openai": ("lib.llm.openai", "OpenAIBackend"),
    "gguf": ("lib.llm.gguf", "GgufBackend"),
    "torch": ("lib.llm.torch", "TorchBackend"),
}
FORMS = "replay, openai:MODEL@URL, gguf:FILE or torch:FOLDER, then perhaps ?setting=value&…"


def backend(spec: str | Mapping[str, Any], recordings: Path | None = None, where: str = "backend") -> Backend:
    """The backend that ``spec`` describes: ``kind``, ``model`` (for a replay perhaps ``folder``) and its settings.

    Settings are the parameters of the kind's class. ``recordings``: what a replay without a folder reads; ``where``:
    names the parameter in errors. Raises lib.core.params.ParamsError for a wrong ``spec``, BackendError as the class does.
    """
    given = parse(spec, where) if isinstance(spec, str) else dict(spec)
    kind = _kind(given.pop("kind", None), where)
    if kind == "replay" and recordings is not None:
        given.setdefault("folder", str(recordings))
    module, name = KINDS[kind]
    made: Backend = _make(getattr(importlib.import_module(module), name), kind, given, where)
    return made


def parse(text: str, where: str = "backend") -> dict[str, Any]:
    """The mapping that one line stands for. Raises lib.core.params.ParamsError for a line of another form."""
    head, _, settings = text.strip().partition("?")
    kind, _, model = head.partition(":")
    spec: dict[str, Any] = {"kind": _kind(kind, where)}
    if kind == "openai":
        model, base_url = _at(model, where)
        spec |= {"model": model, "base_url": base_url}
    elif model:
        spec |= {"folder" if kind == "replay" else "model": model}
    try:
        pairs = parse_qsl(settings, strict_parsing=bool(settings), keep_blank_values=True)
        return spec | {key: yaml.safe_load(value) for key, value in pairs}
    except (ValueError, yaml.YAMLError) as error:
        raise params.ParamsError(f"{where}: settings are not setting=value&…: write {FORMS}") from error


def _at(text: str, where: str) -> tuple[str, str]:
    """Model and address of 'MODEL@http…'."""
    found = re.fullmatch(r"(.+)@(https?://.+)", text)
    if not found:
        raise params.ParamsError(f"{where}: openai needs a model and an address: openai:MODEL@http://localhost:8000/v1")
    return found[1], found[2]


def _kind(kind: object, where: str) -> str:
    if kind in KINDS:
        return str(kind)
    near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
    remedy = f"did you mean '{near[0]}'?" if near else f"write {FORMS}"
    raise params.ParamsError(f"{where}: {'no kind' if kind is None else f'unknown kind {str(kind)!r:.20}'}; {remedy}")


def _make(create: Any, kind: str, given: dict[str, Any], where: str) -> Any:
    """``create`` called with the settings, once their names and types are right."""
    parameters = inspect.signature(create).parameters.values()
    first = "folder" if kind == "replay" else "model"
    names = [first, *[p.name for p in parameters][1:]]
    required = [n for n, p in zip(names, parameters, strict=True) if p.default is p.empty]
    defaults = {n: "" if n in required else p.default for n, p in zip(names, parameters, strict=True)}
    if secret := next((key for key in given if re.search("key(?!.*env)", str(key).lower()) and key not in names), None):
        raise params.ParamsError(
            f"{where}: '{secret}': a key is read from the environment alone; remove it (see key_env)"
        )
    params.check(defaults, given, f"{where} ({kind})")
    for name in required:
        if not given.get(name):
            raise params.ParamsError(f"{where} ({kind}): '{name}' is missing")
    return create(given.pop(first), **given)
