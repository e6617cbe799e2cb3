"""Parameters of a stage: ``params/<profile>/NN_*.yaml`` over the defaults of the notebook's ``parameters`` cell.

Papermill only warns about an unknown parameter and takes any type; here both are errors that name file, line and
remedy, because a run with a mistyped parameter is a run with another one.

>>> check({"seed": 1, "learning_rate": 5.0e-4}, {"lerning_rate": 1.0e-3}, "03.yaml")
Traceback (most recent call last):
    ...
lib.core.params.ParamsError: 03.yaml: unknown parameter 'lerning_rate'; did you mean 'learning_rate'?
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from lib.core import notebook_files, paths


class ParamsError(ValueError):
    """Bad parameters: the message names the file, the key and the remedy."""


class Settings(BaseModel):
    """Base class of checked parameters: an unknown key or a value of another type is an error, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def read(cls, values: Any, where: str) -> Self:
        """``values``, a mapping or an instance, checked. Raises ParamsError that names ``where``, the key and the remedy."""
        try:
            return values if isinstance(values, cls) else cls.model_validate(values)
        except ValidationError as error:
            raise ParamsError(f"{where}: {_explained(error, cls)}") from None


def _explained(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first problem of a validation, as one line."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter '{key}'; {suggest(key, list(kind.model_fields))}"
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    value = problem["input"]
    hint = _exponent(value) if isinstance(value, str) and problem["type"] in ("float_type", "int_type") else ""
    text = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {text}, got {value!r:.80}{hint}" if key else text


def load(notebook: Path, profile: str, params: Path = paths.PARAMS) -> dict[str, Any]:
    """All parameters of ``notebook`` in ``profile``: its defaults, changed by the profile's YAML if there is one.

    Raises ParamsError, NotebookError or PathError. The notebook's ``profile`` parameter is set, not read.
    """
    paths.check_profile(profile, params)
    defaults = notebook_files.defaults(notebook_files.read(notebook), notebook.name)
    found = sorted((params / profile).glob(f"{paths.stage_number(notebook)}_*.yaml"))
    if len(found) > 1:
        raise ParamsError(f"params/{profile}: {' and '.join(p.name for p in found)} are for one stage: keep one")
    given = read_yaml(found[0]) if found else {}
    if "profile" in given:
        raise ParamsError(f"{_where(found[0])}: 'profile' is the folder's name: remove it")
    check(defaults, given, _where(found[0]) if found else "")
    return {**defaults, **given, **({"profile": profile} if "profile" in defaults else {})}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is one mapping without repeated keys. Raises ParamsError with file and line."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{_where(path)}: not readable YAML: {' '.join(str(error).split())}") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ParamsError(f"{_where(path)}: expected lines 'name: value', got {type(value).__name__}")
    _unique(node, path)
    return value


def _unique(node: yaml.MappingNode, path: Path) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise ParamsError(f"{_where(path)}, line {key.start_mark.line + 1}: '{key.value}' stands twice: keep one")
        seen.add(key.value)


def check(defaults: dict[str, Any], given: dict[str, Any], where: str) -> None:
    """Raises ParamsError unless every key of ``given`` is in ``defaults`` and has its type.

    An int is good for a float; a default of None takes anything. What is inside mappings of mappings is left to who
    reads them.
    """
    for key, value in given.items():
        if key not in defaults:
            raise ParamsError(f"{where}: unknown parameter '{key}'; {suggest(str(key), list(defaults))}")
        if problem := _type_problem(defaults[key], value):
            raise ParamsError(f"{where}: {key}: {problem}")


def suggest(key: str, known: list[str]) -> str:
    """The known name that is nearest to a mistyped one, as a question; else all of them."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def _type_problem(default: Any, value: Any) -> str:
    """What is wrong with ``value`` where ``default`` stands, or nothing."""
    if default is None or (type(default) is float and type(value) is int) or type(value) is type(default):
        return _inner_problem(default, value)
    problem = f"expected {type(default).__name__} (such as {default!r}), got {type(value).__name__} {value!r}"
    return problem + (_exponent(value) if isinstance(value, str) and isinstance(default, int | float) else "")


def _exponent(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return ""
    mantissa, _, exponent = value.lower().partition("e")
    fixed = f"{float(mantissa)}e{int(exponent):+d}" if exponent else f"{number:g}"
    return f"; YAML reads '{value}' as text, write {fixed} without quotes"


def _inner_problem(default: Any, value: Any) -> str:
    if isinstance(default, list) and default:
        problems = ((f"item {i}: ", _type_problem(default[0], v)) for i, v in enumerate(value, 1))
    elif isinstance(default, dict) and isinstance(next(iter(default.values()), None), dict):
        problems = (
            (f"{k}: ", "" if isinstance(v, dict) else f"expected a mapping, got {v!r}") for k, v in value.items()
        )
    elif isinstance(default, dict) and default:
        problems = ((f"{k}: ", _type_problem(next(iter(default.values())), v)) for k, v in value.items())
    else:
        return ""
    return next((place + problem for place, problem in problems if problem), "")


def _where(path: Path) -> str:
    return "/".join(path.parts[-3:])
