"""Candidates, verdicts and refinements, with a backend that answers by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_chat import Rule

from lib.core.task import Example
from lib.llm.types import Prompt, Reply
from lib.tasks.home.teacher.write import LEVEL_OF, STYLES_OF, HomeWriter
from lib.teacher.contract import Verdict, judge, refine, tokens_written, write

ON = [[{"name": "HassTurnOn", "arguments": {"name": "Desk Lamp"}}]]
WRITER = HomeWriter()


def seed(key: str = "t1", text: str = "turn on the desk lamp", level: str = "L0") -> Example:
    return Example(key, text, {"home": "h", "area": None}, ON, level, "grammar", "train")


def test_candidates_keep_context_and_gold_and_name_their_seed() -> None:
    found = write(WRITER, [seed()], Rule(lambda p: "1. Desk lamp on\n2) desk lamp on\n- Light the desk lamp"), 4)
    assert [c.text for c in found] == ["Desk lamp on", "Light the desk lamp"]
    assert [c.id for c in found] == ["t1/0", "t1/1"]
    assert all(c.gold == ON and c.context == seed().context and c.source == "teacher" for c in found)
    assert {c.extra["seed"] for c in found} == {"t1"} and {c.extra["said"] for c in found} == {seed().text}


def cut_off(text: str) -> Reply:
    return Reply(text, "m", finish="length")


@pytest.mark.parametrize(
    ("reply", "texts", "error"),
    [
        (Reply("Turn on the desk lamp\nDesk lamp on", "m"), ["Desk lamp on"], ""),  # the seed's own words are none
        (Reply("Turn on the desk lamp.", "m"), ["Turn on the desk lamp."], ""),
        (Reply("", "m"), [""], "empty reply"),
        (Reply("", "m", finish="error", error="timeout: 30 s"), [""], "timeout: 30 s"),
        (cut_off("Desk lamp on\nLight the de"), ["Desk lamp on"], ""),
        (cut_off("Desk lamp on\n"), ["Desk lamp on"], ""),
        (cut_off("Desk lamp on\nLamp now\nDesk lamp on"), ["Desk lamp on", "Lamp now"], ""),
        (cut_off("Light the de"), [""], "cut off"),
        (cut_off("Turn on the desk lamp\nLight the de"), [""], "cut off"),
        (cut_off(""), [""], "cut off"),
    ],
)
def test_whole_lines_are_candidates_and_failures_are_counted(reply: Reply, texts: list[str], error: str) -> None:
    found = write(WRITER, [seed()], Rule(lambda p: reply), 4)
    assert [c.text for c in found] == texts and {c.extra.get("error", "") for c in found} == {error}


def test_styles_give_every_level_and_are_stable() -> None:
    assert set(LEVEL_OF.values()) == set(STYLES_OF)
    for level in STYLES_OF:
        seeds = [seed(f"t{i}", level=level) for i in range(20)]
        assert {WRITER.style(s)[0] for s in seeds} == set(STYLES_OF[level])
        assert [WRITER.style(s) for s in seeds] == [WRITER.style(s) for s in seeds]


def test_prompts_of_one_text_in_two_homes_are_sampled_apart() -> None:
    prompts = [WRITER.expand(seed(key), 4) for key in ("t1", "t2")]
    same_style = [replace(p, messages=prompts[0].messages) for p in prompts]
    assert same_style[0].key("m") != same_style[1].key("m")


def test_the_writer_is_not_shown_the_home() -> None:
    text = str(WRITER.expand(replace(seed(), context={"home": "SECRET", "area": "SECRET"}), 4))
    assert "SECRET" not in text and "Desk Lamp" in text


def verdict_rule(prompt: Prompt) -> str:
    same = "drop" not in prompt.messages[-1][1]
    return f'{{"same": {str(same).lower()}, "natural": {2 if "awkward" in prompt.messages[-1][1] else 5}}}'


def test_only_right_but_awkward_lines_are_refined() -> None:
    by_id = {"t1": seed()}
    lines = Rule(lambda p: "desk lamp on\nawkward lamp of desk on\nawkward drop it")
    found = write(WRITER, list(by_id.values()), lines, 4)
    verdicts = judge(WRITER, by_id, found, Rule(verdict_rule))
    assert verdicts == {"t1/0": Verdict(True, 5), "t1/1": Verdict(True, 2), "t1/2": Verdict(False, 2)}
    second = refine(WRITER, by_id, found, verdicts, Rule(lambda p: "Put the desk lamp on"), below=3)
    assert [(c.id, c.text, c.extra["refines"]) for c in second] == [("t1/1r", "Put the desk lamp on", "t1/1")]


@pytest.mark.parametrize(
    ("reply", "text", "error"),
    [
        (Reply("Put it on", "m", new_tokens=3), "Put it on", ""),
        (Reply("Put it", "m", finish="length"), "", "cut off"),
        (Reply("Put it on\n(because", "m", finish="length"), "Put it on", ""),
        (Reply("half", "m", finish="error", error="timeout: 30 s"), "", "timeout: 30 s"),
        (Reply("", "m"), "", "empty reply"),
    ],
)
def test_failed_refinements_are_rows_with_their_error(reply: Reply, text: str, error: str) -> None:
    by_id, first = {"t1": seed()}, write(WRITER, [seed()], Rule(lambda p: "desk lamp on"), 4)
    (found,) = refine(WRITER, by_id, first, {"t1/0": Verdict(True, 1)}, Rule(lambda p: reply), below=3)
    assert (found.id, found.text, found.extra.get("error", "")) == ("t1/0r", text, error)
    assert found.extra["refines"] == "t1/0" and found.extra["new_tokens"] == reply.new_tokens
    asked = Rule(verdict_rule)
    assert judge(WRITER, by_id, [found], asked).keys() == ({"t1/0r"} if text else set())
    assert len(asked.asked) == bool(text)


def test_a_refinement_that_repeats_is_no_row() -> None:
    by_id, first = {"t1": seed()}, write(WRITER, [seed()], Rule(lambda p: "desk lamp on"), 4)
    assert refine(WRITER, by_id, first, {"t1/0": Verdict(True, 1)}, Rule(lambda p: "Desk lamp ON"), below=3) == []


def test_a_verdict_that_cannot_be_read_is_none() -> None:
    replies = iter(['{"same": true, "natural": 4}', "hm", Reply("", "m", finish="error", error="timeout")])
    found = write(WRITER, [seed()], Rule(lambda p: "desk lamp on\nlamp now\nlight it"), 4)
    failed = replace(found[0], id="t2/-", text="")
    assert judge(WRITER, {"t1": seed()}, [*found, failed], Rule(lambda p: next(replies))).keys() == {"t1/0"}


def test_tokens_count_each_reply_once() -> None:
    seeds = {key: seed(key) for key in ("t1", "t2", "t3")}
    replies = {"t1": Reply("a b\nc d\ne f", "m", new_tokens=9), "t2": Reply("", "m", new_tokens=1)}
    order = iter([replies["t1"], replies["t2"], Reply("g h", "m", new_tokens=4)])
    first = write(WRITER, list(seeds.values()), Rule(lambda p: next(order)), 4)
    assert len(first) == 5 and tokens_written(first) == 14
    bad = {"t1/0": Verdict(True, 1), "t1/1": Verdict(True, 1)}
    second = refine(WRITER, seeds, first, bad, Rule(lambda p: Reply("well", "m", new_tokens=5)), below=3)
    assert len(second) == 2 and tokens_written([*first, *second]) == 24 and tokens_written([]) == 0


@pytest.mark.parametrize("reply", ["", "yes", "[]", '{"same": true}', '{"same": true, "natural": "very"}'])
def test_unreadable_verdicts_are_none(reply: str) -> None:
    assert WRITER.verdict(reply) is None
