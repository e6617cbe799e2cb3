"""The grammar over tokens: controls are single tokens that no text spells; bad grammars are named."""

import pytest

from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.grammar import Grammars

CONTROLS = ["Go(", "=1", "=12", ")", "text=", ","]
WORDS = Vocabulary(byte_tokenizer(CONTROLS), CONTROLS)


def after(text, *tokens, words=WORDS):
    answer = Grammars(words).start(text)
    for token in tokens:
        assert answer.allowed()[token]
        answer.take(token)
    return answer


def test_a_control_is_never_spelt_by_text():
    text = 'start: <"Go("> <"=1","=12"> <")"> | <"text="> T0 <")">\nT0: " " /[^,)]/{1,9}'
    go = after(text, WORDS.controls["Go("])
    assert go.allowed().sum() == 2 and go.allowed()[WORDS.controls["=12"]]
    assert not go.allowed()[WORDS.encode_text("=")[0]]
    assert after(text, WORDS.controls["Go("], WORDS.controls["=1"]).allowed().nonzero()[0].tolist() == [WORDS.end]
    said = after(text, WORDS.controls["text="], *WORDS.encode_text("="))
    assert said.allowed()[WORDS.encode_text("1")[0]]
    assert not said.allowed()[WORDS.controls["=12"]] and not said.allowed()[WORDS.start]


def test_what_has_no_alternative_is_taken_at_once():
    answer = Grammars(WORDS).start('start: <"Go("> <"=12"> (<",">  <"=1">)? <")">')
    assert answer.take(WORDS.controls["Go("]) == [WORDS.controls["Go("], WORDS.controls["=12"]]
    assert answer.take(WORDS.controls[","]) == [WORDS.controls[text] for text in (",", "=1", ")")] + [WORDS.end]


def test_a_comma_is_a_control_or_a_part_of_what_was_said():
    words = Vocabulary(byte_tokenizer(CONTROLS[:-1]), CONTROLS)
    assert words.encode_text(",") == [words.controls[","]], "one token, as text and as control"
    text = 'start: <"text="> T0 (<","> <"=1">)? <")">\nT0: " " (/[^,)\\\\]/ | "\\\\" /[,)]/){1,9}'
    tokens = [words.controls["text="], *words.encode_text("a\\,b")]
    for closing in (",", ")"):
        assert after(text, *tokens, words.controls[closing], words=words).allowed()[words.end]


@pytest.mark.parametrize(
    ("text", "message"),
    [("start: missing\n", "missing"), ("start = x\n", "grammar: "), ('start: <"Stop(">\n', "no control 'Stop\\('")],
)
def test_bad_grammars(text, message):
    with pytest.raises(ValueError, match=message):
        Grammars(WORDS).start(text)


def test_a_token_that_is_not_allowed_is_an_error():
    with pytest.raises(ValueError):
        Grammars(WORDS).start('start: <"Go(">').take(WORDS.controls["=1"])
