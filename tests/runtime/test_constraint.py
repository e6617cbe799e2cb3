"""The grammar over tokens: it allows what the printer writes and nothing that spells a control."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from small_homes import random_call, random_home
from test_gbnf import as_regex, generate

from lib.core.task import TaskError
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.automaton import Automaton, GrammarError
from lib.runtime.constraint import Constraint, Words
from lib.tasks.home import TASK
from lib.tasks.home.language.calls import answer, parse, references
from lib.tasks.home.language.gbnf import grammar
from lib.tasks.home.simulator.execute import execute

WORDS = Vocabulary(byte_tokenizer(TASK.controls()), TASK.controls())


def random_answers(seed: int, homes: int = 8, each: int = 25):
    rng = Random(seed)
    for _ in range(homes):
        home = random_home(rng, rng.randint(1, 48))
        refs = references(home, rng=rng)
        for _ in range(each):
            calls = [random_call(rng, home) for _ in range(rng.randint(1, 4))]
            try:
                yield refs, answer(calls, refs) if not execute(home, calls).errors else answer([], refs)
            except TaskError:
                continue


def test_the_automaton_reads_what_the_grammar_says():
    rng = Random(3)
    for _ in range(6):
        text = grammar(references(random_home(rng, rng.randint(0, 40)), rng=rng))
        automaton, accepted = Automaton(text), as_regex(text)
        for _ in range(40):
            raw = generate(text, rng)
            changed = raw.replace(rng.choice(raw), rng.choice("0x,)\n="), 1)
            for tried in (raw, changed, raw[:-1]):
                assert automaton.accepts(automaton.step(automaton.first, tried)) == bool(accepted.fullmatch(tried))


def test_every_answer_of_the_printer_is_allowed_token_by_token():
    words, constraints, checked, forced = Words(WORDS), {}, 0, 0
    for refs, pieces in random_answers(1):
        constraint = constraints.setdefault(id(refs), Constraint(grammar(refs), words))
        state = constraint.first
        for token in [*WORDS.encode(pieces), WORDS.end]:
            assert constraint.allows(state, token), (pieces, WORDS.decode([token]))
            only = constraint.forced(state)
            assert only in (None, token)
            forced += only is not None
            state = constraint.advance(state, token) if token != WORDS.end else state
        checked += 1
    assert checked > 100
    assert forced > checked / 2


def test_whatever_the_model_prefers_the_answer_can_be_parsed():
    """10,000 tokens' worth of random logits: the strictest reader of a grammar is a model that knows nothing."""
    noise = np.random.default_rng(0)
    for refs, _ in random_answers(2, homes=6, each=12):
        constraint = Constraint(grammar(refs), WORDS)
        state, ids = constraint.first, []
        while True:
            logits = noise.normal(size=len(WORDS)).astype(np.float32)
            logits[[WORDS.end, WORDS.controls[")"]]] += 3
            ids.append(constraint.best(state, logits))
            if ids[-1] == WORDS.end:
                break
            state = constraint.advance(state, ids[-1])
        parse(WORDS.decode(ids), refs)


def test_a_control_is_never_spelt_by_text():
    controls = ["Go(", "=1", "=12", ")", "text="]
    words = Vocabulary(byte_tokenizer(controls), controls)
    constraint = Constraint('root ::= "Go(=1" "2"? ")" | "text= " [^)]{1,9} ")"\n', words)
    go = constraint.advance(constraint.first, words.controls["Go("])
    assert constraint.allows(go, words.controls["=12"])
    assert not constraint.allows(go, words.encode_text("=")[0])
    one = constraint.advance(go, words.controls["=1"])
    assert not constraint.allows(one, words.encode_text("2")[0])
    assert constraint.forced(one) == words.controls[")"]
    said = constraint.advance(constraint.first, words.controls["text="])
    said = constraint.advance(constraint.advance(said, words.encode_text(" ")[0]), words.encode_text("=")[0])
    assert constraint.allows(said, words.encode_text("1")[0])
    assert not constraint.allows(said, words.controls["=12"]), "a class of characters means no control"
    assert not constraint.allows(said, words.start)


def test_a_control_that_only_begins_another_is_not_allowed():
    controls = ["Go(", "=1", "=12", ")"]
    words = Vocabulary(byte_tokenizer(controls), controls)
    constraint = Constraint('root ::= "Go(=12)"\n', words)
    state = constraint.advance(constraint.first, words.controls["Go("])
    assert not constraint.allows(state, words.controls["=1"])
    assert constraint.forced(state) == words.controls["=12"]


def test_a_comma_is_a_control_or_a_part_of_what_was_said():
    tokenizer = byte_tokenizer(["Say(", "text=", ")"])
    controls = ["Say(", "text=", ")", ","]
    words = Vocabulary(tokenizer, controls)
    assert words.encode_text(",") == [words.controls[","]]
    constraint = Constraint('root ::= "Say(text= " ([^,)\\\\] | "\\\\" [,)]){1,9} ")"\n', words)
    state = constraint.first
    for token in (words.controls["Say("], words.controls["text="], *words.encode_text(" a\\,b"), words.controls[")"]):
        assert constraint.allows(state, token), words.decode([token])
        state = constraint.advance(state, token)
    assert constraint.allows(state, words.end)


@pytest.mark.parametrize(
    ("text", "message"),
    [("root ::= missing\n", "not there"), ("root ::= a\na ::= [x] a\n", "contains itself"), ("root = x\n", "read")],
)
def test_bad_grammars(text, message):
    with pytest.raises(GrammarError, match=message):
        Automaton(text)
