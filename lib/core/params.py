"""Parameters of a stage: ``params/<profile>/NN_*.yaml`` over the defaults of the notebook's ``parameters`` cell.

Papermill only warns about an unknown parameter and takes any type; here both are errors, before anything runs. A value
must be of its default's type. What a mapping may hold is said by a class of ``Settings`` that a comment names:

    training = {"max_steps": 16}  # type: lib.training.params.Finetuning
    models = {"a": {"of": "03_assistant"}}  # type: dict[str, lib.compression.models.Entry]
"""

import difflib
import pydoc
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lib.core import paths


class ParamsError(ValueError):
    """Bad parameters: the message names the file, the key and the remedy."""


class Settings(BaseModel):
    """Base class of checked parameters: an unknown key or a value of another type is an error, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def read(cls, values: Any, where: str) -> Self:
        """``values``, a mapping or an instance, checked. Raises ParamsError with ``where``, the key and the remedy."""
        return values if isinstance(values, cls) else validated(cls, values, where)


def validated(kind: Any, values: Any, where: str = "") -> Any:
    """``values`` as a ``kind``, a type that pydantic knows. Raises ParamsError with ``where`` and the key."""
    try:
        return TypeAdapter(kind).validate_python(values, strict=True)
    except ValidationError as error:
        problem = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        schema = TypeAdapter(kind).json_schema()
        known = [key for part in [schema, *schema.get("$defs", {}).values()] for key in part.get("properties", {})]
        said = f"unknown parameter '{place:.80}'; {suggest(str(problem['loc'][-1]), known)}"
    elif problem["type"] == "missing":
        said = f"'{place}' is missing: give it"
    else:
        text = f"{problem['msg'].removeprefix('Value error, ')}, got {problem['input']!r:.80}"
        said = f"{place:.80}: {text}" if place else text
    raise ParamsError(f"{where}: {said}" if where else said)


def load(notebook: Path, profile: str, params: Path | None = None) -> dict[str, Any]:
    """A notebook's parameters in ``profile``: its defaults, changed by the YAML. Raises ParamsError or StageError."""
    paths.check_profile(profile, params)
    from lib.core import notebook_files  # slow to import, and what answers requests needs no notebook

    book = notebook_files.read(notebook)
    defaults = notebook_files.defaults(book, notebook.name)
    found = sorted(((params or paths.PARAMS) / profile).glob(f"{paths.stage_number(notebook)}_*.yaml"))
    if len(found) > 1:
        raise ParamsError(f"params/{profile}: {' and '.join(p.name for p in found)} are for one stage: keep one")
    given, where = (read_yaml(found[0]), _where(found[0])) if found else ({}, notebook.name)
    if "profile" in given:
        raise ParamsError(f"{where}: 'profile' is the folder's name: remove it")
    values = {**defaults, **given, **({"profile": profile} if "profile" in defaults else {})}
    check(defaults, values, where, {key: _named(text) for key, text in notebook_files.kinds(book).items()})
    return values


def _named(kind: str) -> Any:
    found = pydoc.locate(kind.removeprefix("dict[str, ").removesuffix("]"))
    if not isinstance(found, type):
        raise ParamsError(f"parameters cell: '# type: {kind}': expected lib.ROOM.MODULE.CLASS or dict[str, that]")
    return dict[str, found] if kind.startswith("dict[") else found  # type: ignore[valid-type]


class _Loader(yaml.SafeLoader):
    """Reads 5e-4 as a number, as YAML 1.2 does; refuses aliases and a key that stands twice in a mapping."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few of them can stand for more than fits into memory
            said, mark = "an alias (*) is not read: write the value again", self.peek_event().start_mark
            raise yaml.composer.ComposerError(problem=said, problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for i, (key, _) in enumerate(node.value):
            if key.value in [other.value for other, _ in node.value[:i]]:
                said = f"'{key.value}' stands twice: keep one"
                raise yaml.constructor.ConstructorError(problem=said, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$", re.I)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, "-+0123456789")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is one mapping, {} if it is empty. Raises ParamsError with file and line."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ParamsError(f"{_where(path)}: not readable YAML: {said:.300}; restore or repair it") from error
    if not isinstance(value, dict | None):
        raise ParamsError(f"{_where(path)}: expected lines 'name: value', got {type(value).__name__}")
    return value or {}


def check(
    defaults: Mapping[str, Any], given: Mapping[str, Any], where: str, kinds: Mapping[str, Any] | None = None
) -> None:
    """Raises ParamsError unless every key of ``given`` is in ``defaults`` and has its type, or that of ``kinds``.

    An int is good for a float; a default of None takes anything, and so do mappings of mappings inside these.
    """
    for key, value in given.items():
        if key not in defaults:
            raise ParamsError(f"{where}: unknown parameter '{key!s:.80}'; {suggest(str(key), list(defaults))}")
        validated((kinds or {}).get(key) or _kind(defaults[key]), value, f"{where}: {key}")


def _kind(default: Any) -> Any:
    if not default and isinstance(default, list | dict):
        return type(default)
    if isinstance(default, list):
        return list[_kind(default[0])]  # type: ignore[misc]
    if isinstance(default, dict):
        kinds = {dict if isinstance(value, dict) else _kind(value) for value in default.values()}
        return dict[Any, kinds.pop() if len(kinds) == 1 else Any]  # type: ignore[misc]
    return Any if default is None else type(default)


def suggest(key: str, known: list[str]) -> str:
    """The known name that is nearest to a mistyped one, as a question; else all of them."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def _where(path: Path) -> str:
    return paths.relative(path) if path.is_relative_to(paths.ROOT) else "/".join(path.parts[-3:])
