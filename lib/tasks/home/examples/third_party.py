"""Third-party tests: files of sentences written by others, for testing only; ``simulator.rules`` has their rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.simulator.homes import Home, load_homes

HOMES = "homes.json"
SPLIT = "third_party"


def load(path: Path) -> dict[str, list[Example]]:
    """The examples of every ``*.jsonl`` file of a folder by file name, without its ending; empty if there is none.

    Contexts hold the home itself. Raises TaskError naming file and line.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    if not files:
        return {}
    homes = load_homes(path / HOMES)
    return {file.stem: _file(file, homes) for file in files}


def _file(file: Path, homes: Mapping[str, Home]) -> list[Example]:
    examples = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            examples += [_example(json.loads(line), file.stem, homes)] if line.strip() else []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"cannot read the row ({error!r}); expected it as in NOTICE.md"
            raise TaskError(f"{file}:{number}: {problem}") from error
    return examples


def _example(row: Mapping[str, Any], name: str, homes: Mapping[str, Home]) -> Example:
    rule = "effects" if "effects" in row else "accept"
    extra = {rule: row[rule], "no_call": bool(row.get("no_call"))}
    if "response_type" in row:
        extra["response_type"] = row["response_type"]
    gold = [_plain(calls) for calls in row[rule]] if rule == "accept" else []
    context = {"home": homes[row["home"]], "area": row.get("area")}
    return Example(row["id"], row["text"], context, gold, name, name, SPLIT, extra)


def _plain(calls: Sequence[Call]) -> list[Call]:
    """Calls that can be executed: the first of every ``x_any_of``."""

    def first(key: str, value: Any) -> tuple[str, Any]:
        return (key.removesuffix("_any_of"), value[0]) if key.endswith("_any_of") else (key, value)

    return [{"name": c["name"], "arguments": dict(first(k, v) for k, v in c["arguments"].items())} for c in calls]
