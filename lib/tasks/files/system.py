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
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from lib.core.task import Call, TaskError
from lib.core.wheels import cache_folder, fetch

WHEEL = "bfcl-eval==2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
CLASS = "GorillaFileSystem"
_MODULE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code.gorilla_file_system"
_CHANGING = {"cd", "mkdir", "touch", "rm", "rmdir", "mv", "cp"}  # tools whose output says only what the tree says, too
_MOST = 400  # folders; the class loops over the tree alone, which has an end unless a folder was put into itself

Tree = dict[str, Any]
_wheel = cache(lambda: fetch(*WHEEL, cache_folder() / "wheels"))


def rows(name: str) -> list[dict[str, Any]]:
    """A data file of the wheel. Raises WheelError if the wheel cannot be had."""
    with zipfile.ZipFile(_wheel()) as archive:
        return [json.loads(line) for line in archive.read(f"bfcl_eval/data/{name}.json").decode().splitlines()]


@cache
def _executor() -> Any:
    """The class, imported from the wheel as it is: two modules without imports of other packages."""
    sys.path.insert(0, str(_wheel()))
    try:
        return getattr(importlib.import_module(_MODULE), CLASS)
    finally:
        sys.path.remove(str(_wheel()))


def after(context: Mapping[str, Any], calls: Sequence[Call]) -> tuple[dict[str, Any], list[str]]:
    """The context that calls leave, and what those that only read have printed.

    Raises TaskError for a call that fails, a tree without end, or a place that is none of its folders.
    """
    system, names, path, printed = _executor()(), list(context["last"]), list[str](), list[str]()
    system._load_scenario({"root": {context["root"]: _scenario(context["tree"])}})
    system._current_dir = system._navigate_to_directory(f"/{context['at']}")
    if isinstance(system._current_dir, dict):
        raise TaskError(f"at: {context['at']!r} is no folder of the tree; expected a path such as 'docs/old', or ''")
    for call in calls:
        printed += _run(system, **call)
        names = [*(value for value in call["arguments"].values() if isinstance(value, str)), *names]
    tree, folder = _tree(system.root, iter(range(_MOST))), system._current_dir
    while folder.parent:
        path.insert(0, folder.name)
        folder = folder.parent
    if tuple(path) not in (known := dict(folders(tree))):  # the class forgets where folders in a moved one are
        raise TaskError(f"at: {'/'.join(path)!r} is no folder of the tree any more")
    there = {name for inner in known.values() for name in inner}
    last = [name for name in dict.fromkeys(names) if name in there][:3]
    return {"root": context["root"], "tree": tree, "at": "/".join(path), "last": last}, printed


def _scenario(tree: Tree) -> dict[str, Any]:
    contents = {n: {"type": "file", "content": v} if isinstance(v, str) else _scenario(v) for n, v in tree.items()}
    return {"type": "directory", "contents": contents}


def _run(system: Any, name: str, arguments: dict[str, Any]) -> list[str]:
    try:
        result = getattr(system, name)(**arguments) or {}
    except Exception as error:  # whatever the executor raises is an error of this call
        raise TaskError(f"{name}: {error.__class__.__name__}: {error}") from error
    if "error" in result:
        raise TaskError(f"{name}: {result['error']}")
    return [json.dumps(result)] if result and name not in _CHANGING else []


def _tree(folder: Any, left: Iterator[int]) -> Tree:
    if next(left, None) is None:
        raise TaskError(f"the tree has more than {_MOST} folders, or one that holds itself")
    return {n: item.content if hasattr(item, "content") else _tree(item, left) for n, item in folder.contents.items()}


def folders(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tree]]:
    """Every folder of a tree with its path, from the root."""
    yield path, tree
    for name in sorted(name for name in tree if isinstance(tree[name], dict)):
        yield from folders(tree[name], (*path, name))


def turns(category: str, known: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, dict[str, Any], list[Call]]]:
    """Turns of multi-turn cases whose calls are all of this class: id, request, context, right calls.

    ``known``: its tools' arguments. The context is what earlier turns left. One without calls counts if the next does.
    """
    answers = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/BFCL_v4_multi_turn_{category}")}
    for case in (row for row in rows(f"BFCL_v4_multi_turn_{category}") if CLASS in row["involved_classes"]):
        roots = case["initial_config"].get(CLASS, {}).get("root", {"/": {"contents": {}}})
        root, top = next(iter(roots.items()))  # as the class does: the first is all there is
        context = {"root": root, "tree": _plain(top), "at": "", "last": []}
        right = [[_read(text, known) for text in golds] for golds in answers[case["id"]]]
        for number, calls in enumerate(right):
            if all(call["name"] in known for call in calls or right[number + 1]):
                said = " ".join(message["content"] for message in case["question"][number])
                yield f"{case['id']}/{number}", said, context, calls
            context, _ = after(context, [call for call in calls if call["name"] in known])


def _plain(folder: dict[str, Any]) -> Tree:
    return {n: v["content"] if v["type"] == "file" else _plain(v) for n, v in folder["contents"].items()}


def _read(text: str, known: Mapping[str, Sequence[str]]) -> Call:
    """A call as Python writes it; arguments without names get those of a known tool."""
    call: Any = ast.parse(text, mode="eval").body
    given = dict(zip(known.get(call.func.id, ()), map(ast.literal_eval, call.args), strict=False))
    return {"name": call.func.id, "arguments": given | {k.arg: ast.literal_eval(k.value) for k in call.keywords}}
