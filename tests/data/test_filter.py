"""Rejection sampling: reasons, rules, and what hand labels say about them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from lib.core.task import Example
from lib.data.filter import (
    FEW_REACH,
    NONE_REACHES,
    TESTED,
    UNREAD,
    Acceptance,
    accept,
    agreement,
    contamination,
    funnel,
    passes,
    quality,
    votes,
)
from lib.teacher.contract import Verdict

SAID = "turn on the lamp"


def candidate(key: str, text: str, **extra: Any) -> Example:
    return Example(key, text, {"home": "h", "area": None}, [[]], "L2", "teacher", "train", {"said": SAID, **extra})


def sift(
    rows: list[Example],
    voters: dict[str, set[str]],
    rule: list[list[str]],
    tests: list[Example],
    unread: str = "",
    fault: Any = lambda c: "",
) -> tuple[list[str], dict[str, str]]:
    """Ids that pass, and the others' reasons; all but ``unread`` are read by a, b and r."""
    read = [(c.id, s, s in voters.get(c.id, ())) for c in rows if c.id != unread for s in ("a", "b", "r")]
    votes = [{"id": key, "system": s, "exact": exact} for key, s, exact in read]
    task, writer = SimpleNamespace(masked=lambda e, contexts: e.text.casefold()), SimpleNamespace(fault=fault)
    given: Any = SimpleNamespace(
        votes_on=lambda rows: votes, tests=tests, task=task, writer=writer, set=SimpleNamespace(contexts={})
    )
    found = accept(given, rows, {}, rule, 1, [], [])
    assert not [c for c in found.kept if "reason" in c.extra]
    return [c.id for c in found.kept], {c.id: c.extra["reason"] for c in found.dropped}


def acceptance(voters: dict[str, set[str]], seen: dict[str, set[str]], faulty: set[str] | None = None) -> Acceptance:
    return Acceptance([], [], voters, seen, faulty or set(), [])


def test_every_reject_has_its_reason_and_nothing_is_lost() -> None:
    rows = [
        candidate("good", "lamp on"),
        candidate("again", "Lamp on!"),
        candidate("same", "Turn on  the lamp."),
        candidate("empty", "", error="timeout: 30 s"),
        candidate("test", "A test sentence!"),
        candidate("few", "light it"),
        candidate("none", "let there be lamp"),
        candidate("unread", "lamp, go"),
    ]
    voters = {"good": {"a", "b"}, "again": {"a", "b"}, "same": {"a", "b"}, "test": {"a", "b"}, "few": {"a"}}
    accepted, rejected = sift(rows, voters, [["a", "b"]], [candidate("t", "a test sentence")], "unread")
    assert accepted == ["good"]
    assert rejected == {
        "again": "same line twice for one context",
        "same": "repeats its seed",
        "empty": "timeout",
        "test": TESTED,
        "few": "too few verifiers reach its calls",
        "none": "no verifier reaches its calls",
        "unread": UNREAD,
    }


def test_a_test_is_found_by_plain_words_by_masked_words_and_by_the_seed() -> None:
    def names_masked(example: Example) -> str:
        return example.text.casefold().replace(example.extra.get("name", "?"), "#")

    holds = contamination([candidate("t", "dim the den", name="den")], names_masked)
    assert holds(candidate("plain", "Dim the den!", name="dim the"))
    assert holds(candidate("masked", "dim the attic", name="attic"))
    assert not holds(candidate("other", "brighten the attic", name="attic"))
    assert holds(Example("s", "den darker", {}, [[]], "L2", "teacher", "train", {"said": "dim the den"}))


def test_one_line_in_two_contexts_is_two_lines() -> None:
    other = Example("b", "lamp on", {"home": "g", "area": None}, [[]], "L2", "teacher", "train", {"said": SAID})
    rows = [candidate("a", "lamp on"), other]
    assert sift(rows, {"a": {"r"}, "b": {"r"}}, [["r"]], [])[0] == ["a", "b"]


def test_the_judge_and_the_verifiers_have_read_and_votes_are_exact_readings() -> None:
    rows = [{"id": "a", "system": s, "exact": e} for s, e in (("x", True), ("y", False), ("z", True))]
    voters, seen = votes(rows, {"a": Verdict(False, 1), "b": Verdict(True, 5)})
    assert voters == {"a": {"x", "z"}, "b": {"judge"}}
    assert seen == {"a": {"x", "y", "z", "judge"}, "b": {"judge"}}


def test_votes_of_unsure_verifiers_do_not_count() -> None:
    rows: list[dict[str, Any]] = [{"id": "a", "system": "x", "exact": True}]
    rows += [{"id": "a", "system": s, "exact": True, "confidence": c} for s, c in (("y", 0.89), ("z", 0.9))]
    rule = [["x at 0.9", "y at 0.9"], ["z at 0.9", "z at .95"]]
    assert votes(rows, {})[0] == {"a": {"x", "y", "z"}}
    voters, seen = votes(rows, {}, rule)
    assert voters == {"a": {"x", "x at 0.9", "y", "z", "z at 0.9"}}
    assert seen == {"a": {"x", "x at 0.9", "y", "y at 0.9", "z", "z at 0.9", "z at .95"}}
    assert passes(seen["a"], rule) and not passes(voters["a"], rule)


def test_the_judge_votes_for_same_and_natural_lines() -> None:
    verdicts = {"a": Verdict(True, 4), "b": Verdict(True, 1), "c": Verdict(False, 5)}
    assert votes([{"id": "b", "system": "x", "exact": True}], verdicts, natural=2)[0] == {"a": {"judge"}, "b": {"x"}}


def test_words_that_are_ruled_out_do_not_pass_whoever_reads_them() -> None:
    rows = [candidate("good", "lamp on"), candidate("bad", "lamp nonsense"), candidate("empty", "")]
    rows += [candidate("test", "nonsense of a test")]

    def fault(example: Example) -> str:
        return "nonsense" if "nonsense" in example.text or not example.text else ""

    voters = {c.id: {"a", "b", "r"} for c in rows}
    accepted, rejected = sift(rows, voters, [["a"]], [candidate("t", "nonsense of a test")], fault=fault)
    assert accepted == ["good"]
    assert rejected == {"bad": "nonsense", "empty": "empty reply", "test": TESTED}
    labels = {"good": True, "bad": False}
    assert quality(labels, acceptance(voters, voters), [["a"]])["precision"] == 0.5
    found = quality(labels, acceptance(voters, voters, {"bad"}), [["a"]])
    assert (found["n"], found["accepted"], found["precision"], found["recall"]) == (2, 1, 1.0, 1.0)


def test_a_rule_needs_all_readers_of_one_set() -> None:
    rule = [["a", "b"], ["c"]]
    assert [passes(v, rule) for v in ({"a"}, {"a", "b"}, {"c"}, set())] == [False, True, True, False]


def test_precision_and_recall_of_a_rule() -> None:
    labels = {"1": True, "2": True, "3": False, "4": True, "5": False, "unread": True}
    seen = {key: {"a"} for key in "12345"}
    found = quality(labels, acceptance({"1": {"a"}, "2": {"a"}, "3": {"a"}}, seen), [["a"]])
    assert (found["n"], found["accepted"]) == (5, 3)
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 3)
    assert found["precision_low"] < 2 / 3 < found["precision_high"]


def test_no_labels_give_no_figures() -> None:
    found = quality({}, acceptance({}, {}), [["a"]])
    assert math.isnan(found["precision"]) and math.isnan(found["recall"])


def test_agreement_is_kappa() -> None:
    verdicts = {str(i): Verdict(i < 5, 5) for i in range(10)}
    perfect = agreement(verdicts, {str(i): {"a"} for i in range(5)})
    assert perfect["agree"] == 1 and perfect["kappa"] == pytest.approx(1)
    chance = agreement(verdicts, {str(i): {"a"} for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)})
    assert chance["agree"] == 0.5 and chance["kappa"] == pytest.approx(0)


def test_a_funnel_counts_what_is_left_after_each_step_that_drops_something() -> None:
    reasons = [TESTED, "timeout", "repeats its seed", FEW_REACH, FEW_REACH, NONE_REACHES]
    dropped = [candidate(str(i), "x", reason=reason) for i, reason in enumerate(reasons)]
    assert funnel([candidate("k", "y")], dropped) == [
        ("candidates", 7),
        ("nothing else against it", 5),
        ("not the words of a test", 4),
        ("some verifier reaches its calls", 3),
        ("enough verifiers reach its calls", 1),
    ]
    assert funnel([candidate("k", "y")], []) == [("candidates", 1)]
