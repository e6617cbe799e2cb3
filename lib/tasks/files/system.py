"""The file system that carries calls out: that of the Berkeley Function Calling Leaderboard (Patil et al., ICML 2025).

The wheel ``bfcl-eval`` (Apache-2.0), fetched into ``.cache/`` (or $SUPER_TINY_CACHE), has it as a class, and its tools'
documents and test cases. A context: the name of the ``root``, its ``tree`` (a text for a file, a dict for a folder),
the path ``at`` which the user is, such as "docs/old", and what the ``last`` calls named, the latest first.
"""

import ast
import importlib
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lib.core.task import Call, TaskError
from lib.core.wheels import cache_folder, fetch

WHEEL = "bfcl-eval==2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
CLASS = "GorillaFileSystem"
_MODULE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code.gorilla_file_system"
_CHANGING = {"cd", "mkdir", "touch", "rm", "rmdir", "mv", "cp"}  # tools whose output says only what the tree says, too
_MOST = 4_000  # files and folders; all loops of the class are over these, but a folder in itself would have no end

Tree = dict[str, Any]


@cache
def _wheel() -> Path:
    return fetch(*WHEEL, cache_folder() / "wheels")


@cache
def _executor() -> Any:
    """The class, imported from the wheel as it is: two modules without imports of other packages."""
    sys.path.insert(0, str(_wheel()))
    try:
        return getattr(importlib.import_module(_MODULE), CLASS)
    finally:
        sys.path.remove(str(_wheel()))


def rows(name: str) -> list[dict[str, Any]]:
    """A data file of the wheel. Raises WheelError if the wheel cannot be had."""
    with zipfile.ZipFile(_wheel()) as archive:
        return [json.loads(line) for line in archive.read(f"bfcl_eval/data/{name}.json").decode().splitlines()]


def start(context: Mapping[str, Any]) -> Any:
    """A file system in the state of a context. Raises TaskError for a place that is none of its folders."""
    system = _executor()()
    system._load_scenario({"root": {context["root"]: _scenario(context["tree"])}})
    system._current_dir = system._navigate_to_directory(f"/{context['at']}")
    if isinstance(system._current_dir, dict):
        raise TaskError(f"at: {context['at']!r} is no folder of the tree; expected a path such as 'docs/old', or ''")
    return system


def _scenario(tree: Tree) -> dict[str, Any]:
    contents = {n: {"type": "file", "content": v} if isinstance(v, str) else _scenario(v) for n, v in tree.items()}
    return {"type": "directory", "contents": contents}


def run(system: Any, calls: Iterable[Call]) -> list[str]:
    """Carries out calls; what those that only read have printed. Raises TaskError for one that fails."""
    printed = []
    for call in calls:
        try:
            result = getattr(system, call["name"])(**call["arguments"]) or {}
        except Exception as error:  # whatever the executor raises is an error of this call
            raise TaskError(f"{call['name']}: {error.__class__.__name__}: {error}") from error
        if "error" in result:
            raise TaskError(f"{call['name']}: {result['error']}")
        printed += [json.dumps(result)] if result and call["name"] not in _CHANGING else []
    return printed


def state(system: Any, calls: Iterable[Call] = ()) -> dict[str, Any]:
    """The context of a file system after ``calls``. Raises TaskError for a tree without end."""
    path, folder, names = list[str](), system._current_dir, dict[str, None]()
    while folder.parent:
        path.insert(0, folder.name)
        folder = folder.parent
    tree = _tree(system.root, iter(range(_MOST)))
    for call in calls:
        names = dict.fromkeys(v for v in call["arguments"].values() if isinstance(v, str)) | names
    there = {name for _, inner in folders(tree) for name in inner}
    return {"root": system.root.name, "tree": tree, "at": "/".join(path), "last": [n for n in names if n in there][:3]}


def _tree(folder: Any, left: Iterator[int]) -> Tree:
    found: Tree = {}
    for name, item in folder.contents.items():
        if next(left, None) is None:
            raise TaskError(f"the tree has more than {_MOST} files and folders, or a folder that holds itself")
        found[name] = item.content if hasattr(item, "content") else _tree(item, left)
    return found


def folders(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tree]]:
    """Every folder of a tree with its path, from the root."""
    yield path, tree
    for name in sorted(tree):
        if isinstance(tree[name], dict):
            yield from folders(tree[name], (*path, name))


def turns(category: str, known: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, dict[str, Any], list[Call]]]:
    """Turns of multi-turn cases whose calls are all of this class: id, request, context, right calls.

    ``known``: its tools' arguments in order. The context is what the right calls of earlier turns left. A turn without
    calls counts if the next one does, which adds what it lacks.
    """
    answers = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/BFCL_v4_multi_turn_{category}")}
    for case in (row for row in rows(f"BFCL_v4_multi_turn_{category}") if CLASS in row["involved_classes"]):
        system, last = _executor()(), list[Call]()
        system._load_scenario(case["initial_config"].get(CLASS, {}))
        right = [[_read(text, known) for text in golds] for golds in answers[case["id"]]]
        for number, calls in enumerate(right):
            if all(call["name"] in known for call in calls or right[number + 1]):
                said = " ".join(message["content"] for message in case["question"][number])
                yield f"{case['id']}/{number}", said, state(system, last), calls
            own = [call for call in calls if call["name"] in known]
            run(system, own)
            last = own or last


def _read(text: str, known: Mapping[str, Sequence[str]]) -> Call:
    """A call as Python writes it; arguments without names get those of a known tool."""
    call: Any = ast.parse(text, mode="eval").body
    given = zip(known.get(call.func.id, ()), map(ast.literal_eval, call.args), strict=False)
    return {
        "name": call.func.id,
        "arguments": {**dict(given), **{k.arg: ast.literal_eval(k.value) for k in call.keywords}},
    }
