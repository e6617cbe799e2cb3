"""Rejection sampling: which candidates readers understand as meant, and how good that filter itself is.

A *reader* is any system that answered a candidate without knowing its gold calls; its *vote* is whether its answer has
their effect (``task.score``). A rule lists sets of readers: a candidate passes if all of one set vote for it. Of a
reader with confidence a rule may ask for more, "student at 0.9": a vote that it is at least so sure of.
Precision and recall of a rule are measured on candidates labelled by hand.

>>> passes({"a", "b"}, [["a", "b"], ["c"]]), passes({"a"}, [["a", "b"], ["c"]])
(True, False)
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib.core.task import Example
from lib.evaluation.metrics import wilson
from lib.teacher.write import Verdict

JUDGE = "judge"
"""The judge's name among the voters."""

TESTED, UNREAD = "words of a test", "not read by the rule's readers"
"""Two of the reasons for rejecting a candidate."""

_AT_LEAST = re.compile(r"(.+) at (0|1|0?\.\d+)")

Rule = Sequence[Sequence[str]]
Fault = Callable[[Example], str]
"""Why the words of a candidate alone rule it out; empty if they do not."""


def faultless(candidate: Example) -> str:
    """The Fault of a task whose words rule nothing out."""
    return ""


def faults(candidates: Iterable[Example], fault: Fault) -> dict[str, str]:
    """The reasons of those candidates that their words alone rule out, by id."""
    found = ((c.id, fault(c)) for c in candidates if c.text)
    return {key: reason for key, reason in found if reason}


def judged(fault: Fault, voters: Mapping[str, Collection[str]], levels: Collection[str]) -> Fault:
    """``fault``, and for candidates of ``levels`` the judge's approval besides whatever a rule asks for."""

    def reason(candidate: Example) -> str:
        alone = candidate.level in levels and JUDGE not in voters.get(candidate.id, ())
        return fault(candidate) or ("the judge finds another meaning" if alone else "")

    return reason


def votes(records: Iterable[Mapping[str, Any]], rule: Rule = ()) -> dict[str, set[str]]:
    """The readers that reached the gold calls, by candidate id; from rows of ``Recording.votes_on``.

    The readers "NAME at P" of ``rule`` are among them where the row's ``confidence``, from 0 to 1, is at least P.
    """
    found: dict[str, set[str]] = defaultdict(set)
    named = _named(rule)
    for row in records:
        if row["exact"]:
            sure = {voter for voter, least in named[row["system"]] if row.get("confidence", 1.0) >= least}
            found[row["id"]] |= {row["system"], *sure}
    return dict(found)


def read_by(
    records: Iterable[Mapping[str, Any]], verdicts: Mapping[str, Verdict], rule: Rule = ()
) -> dict[str, set[str]]:
    """Who looked at each candidate, by its id: the judge too, and a reader under each name that ``rule`` has for it."""
    found: dict[str, set[str]] = defaultdict(set)
    named = _named(rule)
    for row in records:
        found[row["id"]] |= {row["system"], *(voter for voter, _ in named[row["system"]])}
    for key in verdicts:
        found[key].add(JUDGE)
    return dict(found)


def _named(rule: Rule) -> dict[str, set[tuple[str, float]]]:
    """For each reader the names "NAME at P" that a rule has for it, with P."""
    named: dict[str, set[tuple[str, float]]] = defaultdict(set)
    for voter in (voter for voters in rule for voter in voters):
        if found := _AT_LEAST.fullmatch(voter):
            named[found[1]].add((voter, float(found[2])))
    return named


def with_judge(found: Mapping[str, set[str]], verdicts: Mapping[str, Verdict], natural: int) -> dict[str, set[str]]:
    """Votes with the judge's added: same meaning, and at least as natural as ``natural``."""
    approved = {key for key, v in verdicts.items() if v.same and v.natural >= natural}
    keys = {*found, *approved}
    return {key: found.get(key, set()) | ({JUDGE} if key in approved else set()) for key in keys}


def passes(voters: Collection[str], rule: Rule) -> bool:
    """Whether all readers of one of the rule's sets are among ``voters``."""
    return any(all(reader in voters for reader in readers) for readers in rule)


class Contamination:
    """What is tested on: by plain words, and by words with names masked (``key(example)``)."""

    def __init__(self, tests: Iterable[Example], key: Callable[[Example], str]) -> None:
        rows = list(tests)
        self.key = key
        self.plain, self.masked = {letters(e.text) for e in rows}, {key(e) for e in rows}

    def holds(self, candidate: Example) -> bool:
        """Whether a candidate, or the seed that it was written for, has the words of a test."""
        said = letters(str(candidate.extra.get("said", "")))
        return {letters(candidate.text), said} & self.plain != set() or (
            bool(self.masked) and self.key(candidate) in self.masked
        )


def sift(
    candidates: Iterable[Example],
    voters: Mapping[str, Collection[str]],
    rule: Rule,
    tested: Contamination,
    read_by: Mapping[str, Collection[str]],
    fault: Fault = faultless,
) -> tuple[list[Example], list[Example]]:
    """Accepted and rejected candidates, the latter with a ``reason`` in ``extra``.

    ``read_by``: who looked at a candidate, by its id; one that no set of the rule's has read is no verdict on it.
    ``fault``: the task's reason for which the words alone rule a candidate out (``Writer.fault``).
    """
    accepted: list[Example] = []
    rejected: list[Example] = []
    seen: set[tuple[str, str]] = set()
    for candidate in candidates:
        reason = _fault(candidate, tested, seen, fault) or _unmoved(candidate, voters, rule, read_by)
        seen.add(_words(candidate))
        marked = replace(candidate, extra={**candidate.extra, "reason": reason})
        (rejected if reason else accepted).append(marked if reason else candidate)
    return accepted, rejected


def _fault(candidate: Example, tested: Contamination, seen: Collection[tuple[str, str]], fault: Fault) -> str:
    """Why a candidate is none, whoever understands it."""
    if not candidate.text:
        return str(candidate.extra.get("error") or "empty reply").partition(":")[0]
    if tested.holds(candidate):
        return TESTED
    if reason := fault(candidate):
        return reason
    if letters(candidate.text) == letters(candidate.extra["said"]):
        return "repeats its seed"
    return "same line twice for one context" if _words(candidate) in seen else ""


def _unmoved(
    candidate: Example, voters: Mapping[str, Collection[str]], rule: Rule, read_by: Mapping[str, Collection[str]]
) -> str:
    """Why the readers do not let a candidate pass."""
    if not passes(read_by.get(candidate.id, ()), rule):
        return UNREAD
    reached = voters.get(candidate.id, ())
    if passes(reached, rule):
        return ""
    return "too few readers reach its calls" if set(reached) - {JUDGE} else "no reader reaches its calls"


def _words(candidate: Example) -> tuple[str, str]:
    place = repr(sorted((k, str(v)) for k, v in candidate.context.items() if isinstance(v, str)))
    return place, letters(candidate.text)


def letters(text: str) -> str:
    """The letters and digits of a text alone, ignoring case."""
    return "".join(c for c in text.casefold() if c.isalnum())


def quality(
    labels: Mapping[str, bool],
    voters: Mapping[str, Collection[str]],
    rule: Rule,
    read_by: Mapping[str, Collection[str]],
    faulty: Collection[str] = (),
) -> dict[str, Any]:
    """How a rule does on hand labels (candidate id -> right): n, precision and recall with 95 % Wilson intervals.

    Only candidates count that the rule's readers have read. ``faulty``: ids of those that do not pass, whatever the
    readers say (such as ``faults``).
    """
    labels = {key: right for key, right in labels.items() if passes(read_by.get(key, ()), rule)}
    passed = [right for key, right in labels.items() if key not in faulty and passes(voters.get(key, ()), rule)]
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
