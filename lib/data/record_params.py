"""The parameters of a recording, ``params/record.yaml``.

>>> parameters(Path("params/record.yaml"), readers=False)["task"]                        # doctest: +SKIP
'home'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.core import paths
from lib.core.params import check, read_yaml
from lib.core.task import TaskError
from lib.data import filter
from lib.teacher.contract import PIPELINE, STUDENT

DEFAULTS: dict[str, Any] = {
    "task": "",
    "seed": 1,
    "seeds": 6000,
    "count": 4,
    "tests": 20,
    "pool": 6000,
    "systems": [PIPELINE],
    "judge_every": 1,
    "refine_below": 3,
    "read_every": 1,
    "samples": 2,
    "chunk": 512,
    "students": {STUDENT: ""},
    "third_party": "",
    "third_party_rows": 0,
    "third_party_skip": [""],
}
_LEAST = {"seeds": 1, "count": 1, "tests": 1, "pool": 1, "chunk": 1}


def parameters(path: Path, readers: bool = True) -> dict[str, Any]:
    """The parameters of a recording, checked; ``readers``: whether the students must be there already.

    Raises ParamsError or TaskError that names the key.
    """
    given = read_yaml(path)
    check(DEFAULTS, given, path.name)
    values = {**DEFAULTS, **given}
    for key, value in values.items():
        if isinstance(value, int) and value < _LEAST.get(key, 0):
            raise TaskError(f"{path.name}: {key}: {value}; expected at least {_LEAST.get(key, 0)}")
    if not values["task"]:
        raise TaskError(f"{path.name}: task: missing; see params/record.yaml")
    if readers:
        _check_readers(values["students"], path.name)
    return values


def _check_readers(given: Mapping[str, str], where: str) -> None:
    """Raises TaskError for a student without a file, or under a name that another voter has."""
    if not any(given.values()):
        raise TaskError(f"{where}: students: missing; see params/record.yaml")
    for name, path in given.items():
        if name in (PIPELINE, filter.JUDGE) or re.fullmatch(rf"{PIPELINE} sample \d+", name):
            raise TaskError(f"{where}: students: '{name}' is the name of another reader: choose another")
        if not path or not (paths.ROOT / path).exists():
            raise TaskError(f"{where}: students: {name}: no such file: {path or 'none is named'}")
