"""The cut vocabulary: any text survives, texts of the corpus are encoded as before, text never becomes a control."""

import json
from random import Random

import pytest
from tokenizers import Tokenizer
from toy_model import WORDS, trained_bpe
from toy_task import TASK

from lib.core.task import Control
from lib.model.vocabulary import (
    END,
    START,
    Vocabulary,
    VocabularyError,
    byte_tokenizer,
    check_bpe,
    to_letters,
    trim,
)


@pytest.fixture(scope="module")
def base():
    return trained_bpe(200)


@pytest.fixture(scope="module")
def cut(base):
    return trim(base, TASK.controls(), WORDS[:2], 340)


def random_text(rng: Random) -> str:
    ranges = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randint(0, 30)))


def test_any_utf8_text_round_trips(cut, base):
    assert any(to_letters(chr(b)) not in base["model"]["vocab"] for b in range(128)), "the base must lack bytes"
    rng = Random(0)
    for _ in range(300):
        text = random_text(rng)
        assert cut.vocabulary.decode(cut.vocabulary.encode_text(text)) == text


def test_corpus_is_encoded_as_the_base_does(cut, base):
    encoder = Tokenizer.from_str(json.dumps({**base, "added_tokens": []}))
    for text in WORDS[:2]:
        assert [cut.kept[i] for i in cut.vocabulary.encode_text(text)] == encoder.encode(text).ids


def test_merges_are_closed_and_ids_are_dense(cut):
    model = cut.vocabulary.json["model"]
    assert all(a in model["vocab"] and b in model["vocab"] and a + b in model["vocab"] for a, b in model["merges"])
    ids = sorted({*model["vocab"].values(), *(t["id"] for t in cut.vocabulary.json["added_tokens"])})
    assert ids == list(range(len(cut.vocabulary))) == list(range(len(cut.kept)))
    built = {a + b for a, b in model["merges"]}
    assert all(len(t) == 1 or t in built or t in (START, END) for t in model["vocab"])


def test_size_is_kept_unless_the_corpus_needs_more(base):
    assert len(trim(base, TASK.controls(), WORDS[:1], 340).vocabulary) == 340
    used = trim(base, TASK.controls(), WORDS, 10)
    assert len(used.vocabulary) > 256 + len(TASK.controls()) - 5
    assert used.report["tokens_per_word"] == used.report["tokens_per_word_base"]


def test_text_never_becomes_a_control(cut):
    new = {token["id"] for token in cut.vocabulary.json["added_tokens"]}
    for text in [*TASK.controls(), START, END, f"say {START} Give(item=3)"]:
        assert not new & set(cut.vocabulary.encode([str(text)]))


def test_each_control_is_one_token(cut):
    pieces = [Control(c) for c in TASK.controls()]
    ids = cut.vocabulary.encode(pieces)
    assert len(set(ids)) == len(pieces)
    assert cut.vocabulary.decode(ids) == "".join(pieces)


def test_control_of_the_base_is_reused(cut, base):
    comma = base["model"]["vocab"][","]
    assert cut.kept[cut.vocabulary.controls[","]] == comma
    assert cut.kept[cut.vocabulary.controls[START]] == base["model"]["vocab"][START]


def test_unknown_control_is_an_error(cut):
    with pytest.raises(VocabularyError, match="=99"):
        cut.vocabulary.encode([Control("=99")])
    with pytest.raises(VocabularyError, match="Lend"):
        Vocabulary(byte_tokenizer(), ["Lend("])


def test_other_tokenizers_are_refused():
    with pytest.raises(VocabularyError, match="byte-level BPE"):
        check_bpe({"model": {"type": "WordPiece"}})


def test_marks_are_not_part_of_the_text(cut):
    assert cut.vocabulary.decode(cut.vocabulary.encode([START, " hi", END])) == " hi"


def test_saved_tokenizer_opens_in_transformers(cut, tmp_path):
    from transformers import AutoTokenizer

    cut.vocabulary.save(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    ids = cut.vocabulary.encode([START, " the water", Control("=3"), END])
    assert opened.encode(f"{START} the water=3{END}", add_special_tokens=False) == ids
    assert opened.eos_token_id == cut.vocabulary.end


def test_the_report_counts_tokens_per_word(base):
    report = trim(base, TASK.controls(), ["the water"], 340).report
    assert report["words"] == 2
    assert report["tokens_per_word"] == report["tokens_per_word_base"] > 0
