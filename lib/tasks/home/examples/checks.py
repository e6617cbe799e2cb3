"""What is tested on by third parties, what training shares with tests, and which seeds are fit to train on.

A seed is rejected if it repeats, has the words of a test (third-party sentences are read here for nothing else), or has
gold calls that the simulated home refuses, that change nothing, or that the student has no way to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.language.calls import taught
from lib.tasks.home.language.references import FILTER_OVER, references
from lib.tasks.home.simulator.execute import NOTHING, execute
from lib.tasks.home.simulator.homes import Home, load_homes
from lib.tasks.home.simulator.tools import free_texts, offered
from lib.tasks.home.words import mentions, words
from lib.tasks.notation import MAX_STRING, clean


def masked(example: Example, homes: Mapping[str, Home]) -> str:
    """The words of a request with the home's names and all numbers masked."""
    text, home = clean(example.text).casefold(), example.context["home"]
    home = home if isinstance(home, Home) else homes[home]
    names = {e.name for e in home.entities} | {a.name for a in home.areas} | set(home.floors)
    for name in sorted(names, key=len, reverse=True):
        if mentions(text, name):
            text = text.replace(name.casefold(), "#")
    return " ".join("#" if w.isdigit() else w for w in re.findall(r"(?:#|[^\W_])+", text))


def overlap(train: Sequence[Example], tests: Sequence[Example], homes: Mapping[str, Home]) -> list[dict[str, Any]]:
    """How much of each test split training has seen: whole homes, entity names, texts, masked texts, combinations."""
    seen, rows = _features(train, homes), []
    for split in dict.fromkeys(e.split for e in tests):
        for kind, values in _features([e for e in tests if e.split == split], homes).items():
            n, known = len(values), len(values & seen[kind])
            rows.append({"split": split, "of": kind, "n": n, "seen": known, "share": known / max(1, n)})
    return rows


def _features(examples: Sequence[Example], homes: Mapping[str, Home]) -> dict[str, set[str]]:
    used = [homes[key] for key in {e.context["home"] for e in examples}]
    return {
        "homes": {str(sorted(x.name for x in home.entities)) for home in used},
        "area names": {a.name.casefold() for home in used for a in home.areas},
        "device names": {x.name.casefold() for home in used for x in home.entities},
        "sentences": {clean(e.text).casefold() for e in examples},
        "sentences with names masked": {masked(e, homes) for e in examples},
        "template and kind of device": {str(e.extra.get("combination")) for e in examples},
    }


def accept(
    seeds: Iterable[Example], homes: Mapping[str, Home], tests: Collection[Example]
) -> tuple[list[Example], list[Example]]:
    """Splits seeds into accepted and rejected, with a ``reason`` in ``extra``; ``tests``: all that is tested on.

    A seed that comes with its reason is rejected for that.
    """
    tested = {tuple(words(e.text)) for e in tests}
    seen: set[Any] = set()
    accepted, rejected = [], []
    for example in seeds:
        key, said, area = example.context["home"], tuple(words(example.text)), example.context.get("area")
        reason = "words of a test" if said in tested else example.extra.get("reason")
        reason = reason or fault(example, homes[key], area)
        if (key, said, area) in seen:
            reason = "same request twice in one home"
        seen.add((key, said, area))
        if reason:
            rejected.append(replace(example, extra={**example.extra, "reason": reason}))
        else:
            accepted.append(example)
    return accepted, rejected


def fault(example: Example, home: Home, area: str | None) -> str:
    """Why the gold calls of an example cannot be right, or an empty string."""
    if len(example.text) < 2:
        return "no words"
    for calls in example.gold:
        acting = [c for c in calls if c["name"] not in NOTHING]
        if any(c["name"] not in offered(home) for c in acting):
            return "the home does not offer its tool"
        outcome = execute(home, acting, area)
        if outcome.errors:
            return "the simulated home refuses its calls"
        if acting and not outcome.effects:
            return "its calls change nothing"
    said = [c["arguments"].get(key, "") for calls in example.gold[:1] for c in calls for key in free_texts(c["name"])]
    if any(len(clean(str(value))) > MAX_STRING for value in said):
        return "its answer cannot be written"
    try:  # candidates may lack what the calls name, and a question may have what cannot be written
        if len(home.entities) > FILTER_OVER or "ask" in example.extra:
            taught(example, references(home, example.text, None, area))
    except TaskError:
        return "its answer cannot be written"
    return ""


def third_party(path: Path) -> dict[str, list[Example]]:
    """The examples of each ``*.jsonl`` file of a folder, with their homes. Raises TaskError naming file and line."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    if not files:
        return {}
    homes = load_homes(path / "homes.json")
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
    return Example(row["id"], row["text"], context, gold, name, name, "third_party", extra)


def _plain(calls: Sequence[Call]) -> list[Call]:
    """Calls that can be executed: the first of every ``x_any_of``."""

    def first(key: str, value: Any) -> tuple[str, Any]:
        return (key.removesuffix("_any_of"), value[0]) if key.endswith("_any_of") else (key, value)

    return [{"name": c["name"], "arguments": dict(first(k, v) for k, v in c["arguments"].items())} for c in calls]
