"""Rejection sampling: which of a teacher's candidates pass, why the others do not, and how good that filter is.

It also keeps third-party tests out of what is recorded, shown to a model, or trained on.

A *verifier* is any system that answered a candidate without knowing its gold calls; it votes for the candidate if its
answer has their effect (``task.score``), and the teacher's own judge does if it finds the same meaning. A rule lists
sets of voters: a candidate passes if all of one set vote for it. "student at 0.9" is a vote with that confidence.

>>> passes({"a", "b"}, [["a", "b"], ["c"]]), passes({"a"}, [["a", "b"], ["c"]])
(True, False)
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from lib.core.examples import spread
from lib.core.files import Row, digest
from lib.core.task import Example
from lib.data.recording import Recording, letters, text_digest
from lib.evaluation.metrics import wilson
from lib.llm.types import Backend, Prompt, Reply
from lib.teacher.contract import TeacherSet, Verdict

JUDGE = "judge"  # the judge's name among the voters
TESTED, UNREAD = "words of a test", "not read by the rule's verifiers"  # some of the reasons for a rejection
FEW_REACH, NONE_REACHES = "too few verifiers reach its calls", "no verifier reaches its calls"
_ECHO_WORDS, _ECHO_SHARE = 4, 0.6  # a text argument of so many words, and so much of the request, repeats it
_AT_LEAST = re.compile(r"(.+) at (0|1|0?\.\d+)")

Rule = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Acceptance:
    """``kept`` and ``dropped`` candidates, the latter with a ``reason`` in ``extra``, and what decided.

    By id: ``voters`` for a candidate, ``seen_by`` whom, and those ``faulty`` by their words; all ``verifiers``' names.
    """

    kept: list[Example]
    dropped: list[Example]
    voters: dict[str, set[str]]
    seen_by: dict[str, set[str]]
    faulty: set[str]
    verifiers: list[str]


def accept(
    recording: Recording,
    candidates: Sequence[Example],
    verdicts: Mapping[str, Verdict],
    rule: Rule,
    natural: int,
    judged: Collection[str],
    tested: Iterable[Example],
) -> Acceptance:
    """Applies ``rule`` to candidates. One that no set of the rule's has read is no verdict on it.

    ``natural``: how natural the judge must find one to vote for it; ``judged``: levels that need the judge's vote, too;
    ``tested``: resolved examples whose words, names masked, no candidate may have, besides the recording's own tests.
    """
    rows = recording.votes_on(candidates)
    voters, seen_by = votes(rows, verdicts, rule, natural)
    found = Acceptance([], [], voters, seen_by, set(), sorted({row["system"] for row in rows}))
    tests = contamination([*tested, *recording.tests], lambda e: recording.task.masked(e, recording.set.contexts))
    lines: set[str] = set()
    for candidate in candidates:
        fault = recording.writer.fault(candidate) if candidate.text else ""
        if candidate.level in judged and JUDGE not in voters.get(candidate.id, ()):
            fault = fault or "the judge finds another meaning"
        found.faulty.update([candidate.id] if fault and candidate.text else [])
        place = sorted((k, v) for k, v in candidate.context.items() if isinstance(v, str))
        line = repr((place, letters(candidate.text)))
        reason = _excluded(candidate, tests, fault) or ("same line twice for one context" if line in lines else "")
        if not reason and not passes(seen_by.get(candidate.id, ()), rule):
            reason = UNREAD
        elif not reason and not passes(voted := voters.get(candidate.id, set()), rule):
            reason = FEW_REACH if voted - {JUDGE} else NONE_REACHES
        lines.add(line)
        marked = replace(candidate, extra={**candidate.extra, "reason": reason}) if reason else candidate
        (found.dropped if reason else found.kept).append(marked)
    return found


def votes(
    rows: Iterable[Row], verdicts: Mapping[str, Verdict], rule: Rule = (), natural: int = 1
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Who voted for each candidate and who looked at it, by its id; from rows of ``Recording.votes_on``.

    A verifier is also there under each name "NAME at P" that ``rule`` has for it, as a voter only where the row's
    ``confidence``, from 0 to 1, is at least P. The judge votes for what is at least so ``natural``.
    """
    voters, seen = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    named = {voter: found for voter in sum(map(list, rule), []) if (found := _AT_LEAST.fullmatch(voter))}
    for row in rows:
        least = {voter: float(found[2]) for voter, found in named.items() if found[1] == row["system"]}
        seen[row["id"]] |= {row["system"], *least}
        if row["exact"]:
            sure = {voter for voter, p in least.items() if row.get("confidence", 1.0) >= p}
            voters[row["id"]] |= {row["system"], *sure}
    for key, verdict in verdicts.items():
        seen[key].add(JUDGE)
        if verdict.same and verdict.natural >= natural:
            voters[key].add(JUDGE)
    return dict(voters), dict(seen)


def passes(voters: Collection[str], rule: Rule) -> bool:
    """Whether all of one of the rule's sets are among ``voters``."""
    return any(all(name in voters for name in names) for names in rule)


def contamination(tests: Collection[Example], key: Callable[[Example], str]) -> Callable[[Example], bool]:
    """Whether a candidate, or its seed, has the words of a test: plainly, or with names masked (``key(example)``)."""
    plain, masked = {letters(e.text) for e in tests}, {key(e) for e in tests}

    def holds(candidate: Example) -> bool:
        words = {letters(candidate.text), letters(str(candidate.extra.get("said", "")))}
        return bool(words & plain) or (bool(masked) and key(candidate) in masked)

    return holds


def _excluded(candidate: Example, tested: Callable[[Example], bool], fault: str) -> str:
    """Why a candidate is none, whoever understands it."""
    if not candidate.text:
        return str(candidate.extra.get("error") or "empty reply").partition(":")[0]
    if tested(candidate):
        return TESTED
    return fault or ("repeats its seed" if letters(candidate.text) == letters(candidate.extra["said"]) else "")


def quality(labels: Mapping[str, bool], found: Acceptance, rule: Rule) -> dict[str, Any]:
    """How a rule does on hand labels (candidate id -> right): n, precision and recall with 95 % Wilson intervals.

    Only candidates count that the rule's verifiers have read; what its words rule out does not pass.
    """
    labels = {key: right for key, right in labels.items() if passes(found.seen_by.get(key, ()), rule)}
    able = {key: right for key, right in labels.items() if key not in found.faulty}
    passed = [right for key, right in able.items() if passes(found.voters.get(key, ()), rule)]
    row = {"rule": " or ".join(" + ".join(names) for names in rule), "n": len(labels), "accepted": len(passed)}
    for name, of in (("precision", len(passed)), ("recall", sum(labels.values()))):
        low, high = wilson(sum(passed), of)
        row |= {name: sum(passed) / of if of else float("nan"), f"{name}_low": low, f"{name}_high": high}
    return row


def funnel(kept: Sequence[Example], dropped: Sequence[Example]) -> list[tuple[str, int]]:
    """How many of the candidates are left after each step, by the reasons of the dropped ones; without empty steps."""
    reasons = Counter(str(e.extra["reason"]) for e in dropped)
    steps = {"not the words of a test": reasons.pop(TESTED, 0), "read by the verifiers": reasons.pop(UNREAD, 0)}
    steps |= {"some verifier reaches its calls": reasons.pop(NONE_REACHES, 0)}
    steps |= {"enough verifiers reach its calls": reasons.pop(FEW_REACH, 0)}
    left, found = len(kept) + len(dropped), [("candidates", len(kept) + len(dropped))]
    for step, lost in {"nothing else against it": reasons.total(), **steps}.items():
        left -= lost
        found += [(step, left)] if lost else []
    return found


def agreement(verdicts: Mapping[str, Verdict], voters: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """How often the judge and the round trip (any verifier reaches the gold calls) agree; Cohen's kappa."""
    from sklearn.metrics import cohen_kappa_score

    pairs = [(v.same, bool({*voters.get(key, ())} - {JUDGE})) for key, v in verdicts.items()]
    table = pd.DataFrame(pairs, columns=["same", "reached"], dtype=bool)
    kappa = cohen_kappa_score(table["same"], table["reached"]) if pairs else float("nan")
    shares = {"agree": (table["same"] == table["reached"]).mean(), "kappa": kappa}
    return {"n": len(pairs), **shares, "judge_same": table["same"].mean(), "reached": table["reached"].mean()}


class Blanked:
    """A Backend that blanks lines which are sentences of ``others`` before anybody sees them."""

    def __init__(self, inner: Backend, others: Iterable[Example]) -> None:
        self.inner, self.model = inner, inner.model
        self.forbidden = {letters(e.text) for e in others}

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """The inner backend's replies without such lines."""
        return [replace(reply, text=self._clean(reply.text)) for reply in self.inner.complete(prompts)]

    def _clean(self, text: str) -> str:
        lines = text.split("\n")
        return "\n".join("" if letters(s.lstrip("-*. 1234567890)")) in self.forbidden else s for s in lines)


def chosen(found: Mapping[str, list[Example]], skip: Collection[str], rows: int) -> dict[str, list[Example]]:
    """``rows`` of each third-party test (0: all), spread over it, without the tests of ``skip``."""
    return {name: spread(examples, rows) for name, examples in found.items() if name not in skip}


def apart(drawn: TeacherSet, others: Collection[Example]) -> TeacherSet:
    """The set without seeds that have the words of a test, and without pool rows that have those of a seed or test."""
    theirs = {letters(e.text) for e in others}
    tested = theirs | {letters(e.text) for e in drawn.tests}
    seeds = [e for e in drawn.seeds if letters(e.text) not in tested]
    shown = tested | {letters(e.text) for e in seeds}
    tests = [e for e in drawn.tests if letters(e.text) not in theirs]
    return replace(drawn, seeds=seeds, tests=tests, pool=[e for e in drawn.pool if letters(e.text) not in shown])


def bare(row: Row, example: Example) -> Row:
    """A prediction record without what may repeat the sentence; ``redacted`` if that was part of the calls."""
    calls = [
        {**c, "arguments": {k: _unechoed(v, example.text) for k, v in c["arguments"].items()}} for c in row["calls"]
    ]
    kept = {**row, "calls": calls, "raw": "", "error": "failed" if row["error"] else "", "digest": text_digest(example)}
    return {**kept, "redacted": calls != row["calls"]}


def _unechoed(value: Any, text: str) -> Any:
    words = value.split() if isinstance(value, str) else []
    echo = len(words) >= _ECHO_WORDS and len(words) >= _ECHO_SHARE * len(text.split())
    return f"redacted {digest(value)[:8]}" if echo else value
