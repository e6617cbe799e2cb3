"""Candidates, verdicts and refinements, with a backend that answers by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_chat import Rule

from lib.collect import Verdict, judge, refine, write
from lib.llm import Prompt, Reply
from lib.task import Example
from lib.tasks.home.write import LEVEL_OF, STYLES_OF, HomeWriter

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


def test_the_seeds_own_words_are_no_candidate() -> None:
    found = write(WRITER, [seed()], Rule(lambda p: "Turn on the desk lamp\nDesk lamp on"), 4)
    assert [c.text for c in found] == ["Desk lamp on"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("", "m"), "empty reply"),
        (Reply("", "m", finish="error", error="timeout: 30 s"), "timeout: 30 s"),
        (Reply("Turn on the desk lamp.", "m"), ""),
    ],
)
def test_failed_replies_are_counted_not_lost(reply: Reply, error: str) -> None:
    found = write(WRITER, [seed()], Rule(lambda p: reply), 4)
    assert len(found) == 1
    assert found[0].extra.get("error", "") == error and bool(found[0].text) == (not error)


def test_the_last_line_of_a_cut_off_reply_is_dropped() -> None:
    found = write(WRITER, [seed()], Rule(lambda p: Reply("Desk lamp on\nLight the de", "m", finish="length")), 4)
    assert [c.text for c in found] == ["Desk lamp on"]


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


@pytest.mark.parametrize("reply", ["", "yes", "[]", '{"same": true}', '{"same": true, "natural": "very"}'])
def test_unreadable_verdicts_are_none(reply: str) -> None:
    assert WRITER.verdict(reply) is None
