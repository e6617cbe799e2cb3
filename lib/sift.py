"""Rejection sampling: which candidates readers understand as meant, and how good that filter itself is.

A *reader* is any system that answered a candidate without knowing its gold calls; its *vote* is whether its answer has
their effect (``task.score``). A rule lists sets of readers: a candidate passes if all of one set vote for it.
Precision and recall of a rule are measured on candidates labelled by hand.

>>> passes({"a", "b"}, [["a", "b"], ["c"]]), passes({"a"}, [["a", "b"], ["c"]])
(True, False)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib.collect import Verdict
from lib.metrics import wilson
from lib.task import Example

JUDGE = "judge"
"""The judge's name among the voters."""

Rule = Sequence[Sequence[str]]


def votes(records: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The readers that reached the gold calls, by candidate id; from records of ``lib.evaluation``."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in records:
        if row["exact"]:
            found[row["id"]].add(row["system"])
    return dict(found)


def with_judge(found: Mapping[str, set[str]], verdicts: Mapping[str, Verdict], natural: int) -> dict[str, set[str]]:
    """Votes with the judge's added: same meaning, and at least as natural as ``natural``."""
    approved = {key for key, v in verdicts.items() if v.same and v.natural >= natural}
    keys = {*found, *approved}
    return {key: found.get(key, set()) | ({JUDGE} if key in approved else set()) for key in keys}


def passes(voters: Collection[str], rule: Rule) -> bool:
    """Whether all readers of one of the rule's sets are among ``voters``."""
    return any(all(reader in voters for reader in readers) for readers in rule)


def sift(
    candidates: Iterable[Example],
    voters: Mapping[str, Collection[str]],
    rule: Rule,
    tested: Collection[str],
    key: Any,
) -> tuple[list[Example], list[Example]]:
    """Accepted and rejected candidates, the latter with a ``reason`` in ``extra``.

    ``key(example)``: its words with names masked; ``tested``: those keys of everything that is tested on.
    """
    accepted: list[Example] = []
    rejected: list[Example] = []
    seen: set[tuple[str, str]] = set()
    for candidate in candidates:
        reason = _reason(candidate, voters.get(candidate.id, ()), rule, tested, key, seen)
        seen.add(_words(candidate))
        marked = replace(candidate, extra={**candidate.extra, "reason": reason})
        (rejected if reason else accepted).append(marked if reason else candidate)
    return accepted, rejected


def _reason(
    candidate: Example,
    voters: Collection[str],
    rule: Rule,
    tested: Collection[str],
    key: Any,
    seen: Collection[tuple[str, str]],
) -> str:
    if not candidate.text:
        return str(candidate.extra.get("error") or "empty reply")
    if _letters(candidate.text) == _letters(candidate.extra["said"]):
        return "repeats its seed"
    if _words(candidate) in seen:
        return "same line twice for one context"
    if key(candidate) in tested:
        return "words of a test, names masked"
    if not passes(voters, rule):
        return "no reader reaches its calls" if not set(voters) - {JUDGE} else "too few readers reach its calls"
    return ""


def _words(candidate: Example) -> tuple[str, str]:
    place = repr(sorted((k, str(v)) for k, v in candidate.context.items() if isinstance(v, str)))
    return place, _letters(candidate.text)


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def quality(labels: Mapping[str, bool], voters: Mapping[str, Collection[str]], rule: Rule) -> dict[str, Any]:
    """How a rule does on hand labels (candidate id -> right): n, precision and recall with 95 % Wilson intervals."""
    passed = [right for key, right in labels.items() if passes(voters.get(key, ()), rule)]
    good = sum(labels.values())
    low, high = wilson(sum(passed), len(passed))
    recall_low, recall_high = wilson(sum(passed), good)
    return {
        "rule": " or ".join(" + ".join(readers) for readers in rule),
        "n": len(labels),
        "accepted": len(passed),
        "precision": sum(passed) / len(passed) if passed else float("nan"),
        "precision_low": low,
        "precision_high": high,
        "recall": sum(passed) / good if good else float("nan"),
        "recall_low": recall_low,
        "recall_high": recall_high,
    }


def agreement(verdicts: Mapping[str, Verdict], voters: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """How often the judge and the round trip (any reader reaches the gold calls) agree; Cohen's kappa."""
    pairs = [(v.same, bool(set(voters.get(key, ())) - {JUDGE})) for key, v in verdicts.items()]
    n = len(pairs)
    if not n:
        return {"n": 0, "agree": float("nan"), "kappa": float("nan"), "judge_same": 0, "reached": 0}
    agree = sum(a == b for a, b in pairs) / n
    same, reached = sum(a for a, _ in pairs) / n, sum(b for _, b in pairs) / n
    chance = same * reached + (1 - same) * (1 - reached)
    kappa = (agree - chance) / (1 - chance) if chance < 1 else float("nan")
    return {"n": n, "agree": agree, "kappa": kappa, "judge_same": same, "reached": reached}
