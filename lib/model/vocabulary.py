"""The student's vocabulary: a byte-level BPE cut down to what a task needs, plus one token for each control.

All 256 bytes stay, and a kept token keeps every merge that builds it (byte-pair encoding: Sennrich et al., arXiv
1508.07909, section 3.2), so that a text whose base tokens all stay is encoded as the base would. Text is encoded
without the controls, so that no text becomes one.

>>> vocabulary = Vocabulary(byte_tokenizer(["Lend("]), ["Lend("])
>>> ids = vocabulary.encode([Control("Lend("), "7", END])
>>> len(ids), vocabulary.decode(ids)
(3, 'Lend(7')
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lib.core.task import Control, Piece

START, END = Control("<|im_start|>"), Control("<|im_end|>")  # delimits the parts of a prompt; ends an answer
TEXTS_KEPT = 200_000  # encoded texts that are remembered, since the same names come again and again

TokenizerJson = dict[str, Any]  # the content of a tokenizer.json


class VocabularyError(ValueError):
    """A tokenizer that cannot be used, or a control that it does not have."""


def _byte_letters() -> list[str]:
    """The letters with which byte-level BPE writes the bytes (as GPT-2 does: printable ones stand for themselves)."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    shifted = iter(range(256, 512))
    return [chr(b if b in plain else next(shifted)) for b in range(256)]


BYTE_LETTERS = _byte_letters()
_BYTE_OF = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}


def to_letters(text: str) -> str:
    """Text as byte-level BPE spells it: ``" on"`` -> ``"Ġon"``."""
    return "".join(BYTE_LETTERS[byte] for byte in text.encode())


def from_letters(token: str) -> bytes:
    """The bytes of a byte-level token; KeyError for a letter outside the alphabet."""
    return bytes(_BYTE_OF[letter] for letter in token)


class Vocabulary:
    """Encodes pieces and (``encode_text``) plain text. ``controls``: ids by text; ``bytes``: of each token, by id."""

    def __init__(self, tokenizer: TokenizerJson, controls: Sequence[str]) -> None:
        """Raises VocabularyError if a control is not a single token of ``tokenizer``."""
        self.json = tokenizer
        vocab: dict[str, int] = tokenizer["model"]["vocab"]
        added = {t["content"]: t["id"] for t in tokenizer.get("added_tokens", [])}
        self.controls: dict[str, int] = {}
        for text in dict.fromkeys([START, END, *controls]):
            number = added.get(text, vocab.get(to_letters(text)))
            if number is None:
                raise VocabularyError(f"control {text!r} is not a token: build the student again for this task")
            self.controls[str(text)] = number
        self.start, self.end = self.controls[START], self.controls[END]
        texts = {number: from_letters(token) for token, number in vocab.items() if added.get(token) != number}
        texts |= {number: token.encode() for token, number in added.items()}
        self.bytes = [texts.get(number, b"") for number in range(max(texts) + 1)]
        encoder = _without_controls(tokenizer)
        self.encode_text = lru_cache(TEXTS_KEPT)(lambda text: encoder.encode(text, add_special_tokens=False).ids)

    def __len__(self) -> int:
        return len(self.bytes)

    def encode(self, pieces: Iterable[Piece]) -> list[int]:
        """Ids of the pieces. Raises VocabularyError for an unknown control."""
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, Control) and piece not in self.controls:
                raise VocabularyError(f"control {str(piece)!r} is unknown to this model: build it for this task")
            ids += [self.controls[piece]] if isinstance(piece, Control) else self.encode_text(piece)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, controls as they are written, without start and end marks."""
        marks = (self.start, self.end)
        return b"".join(self.bytes[i] for i in ids if i not in marks).decode("utf-8", errors="replace")

    def save(self, folder: Path) -> None:
        """Writes ``tokenizer.json`` and what transformers' AutoTokenizer needs beside it."""
        (folder / "tokenizer.json").write_text(json.dumps(self.json, ensure_ascii=False), encoding="utf-8")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END, "bos_token": START}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _without_controls(tokenizer: TokenizerJson) -> Tokenizer:
    return Tokenizer.from_str(json.dumps({**tokenizer, "added_tokens": []}))


@dataclass(frozen=True)
class Trimmed:
    """A cut vocabulary. ``kept``: the base's id by new id, -1 for a new token; ``report``: coverage of the corpus."""

    vocabulary: Vocabulary
    kept: list[int]
    report: dict[str, float]


def trim(base: TokenizerJson, controls: Sequence[str], corpus: Iterable[str], vocab_size: int) -> Trimmed:
    """Cuts ``base`` to about ``vocab_size`` tokens, controls included, and adds the controls that it lacks.

    Kept are the bytes, the start and end marks, every token that ``corpus`` uses (even beyond ``vocab_size``) and then
    the first, most frequent merges. Raises VocabularyError for a tokenizer that is not byte-level BPE.
    """
    check_bpe(base)
    vocab: dict[str, int] = base["model"]["vocab"]
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in base["model"]["merges"]]  # both are in use
    texts = list(dict.fromkeys(corpus))
    encoded = _without_controls(base).encode_batch(texts, add_special_tokens=False)
    usage = Counter(token for encoding in encoded for token in encoding.tokens)
    wanted = list(dict.fromkeys([START, END, *controls]))
    needed = {*map(to_letters, wanted), *BYTE_LETTERS}
    tokens = needed | _close({*usage, *needed} & vocab.keys(), merges)
    for left, right in merges:
        if len(tokens) >= vocab_size:
            break
        tokens.add(left + right)
    vocabulary, kept = _rebuild(base, tokens & vocab.keys(), merges, wanted)
    words = max(sum(len(text.split()) for text in texts), 1)
    sizes = {"tokens_base": len(vocab), "tokens": len(vocabulary), "tokens_used": len(usage), "words": words}
    cut = sum(len(vocabulary.encode_text(text)) for text in texts)
    report = {**sizes, "tokens_per_word_base": usage.total() / words, "tokens_per_word": cut / words}
    return Trimmed(vocabulary, kept, report)


def check_bpe(tokenizer: TokenizerJson) -> None:
    """Raises VocabularyError unless this is a byte-level BPE."""
    kinds = json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    if tokenizer.get("model", {}).get("type") != "BPE" or "ByteLevel" not in kinds:
        raise VocabularyError("the base model's tokenizer is not a byte-level BPE: use a model such as SmolLM2 or Qwen")


def _close(tokens: set[str], merges: Sequence[tuple[str, ...]]) -> set[str]:
    """Adds the parents of every merge that builds a kept token, and theirs."""
    parents: dict[str, set[str]] = {}
    for left, right in merges:
        parents.setdefault(left + right, set()).update((left, right))
    closed, new = set(tokens), tokens
    while new := {parent for token in new for parent in parents.get(token, ())} - closed:
        closed |= new
    return closed


def _rebuild(
    base: TokenizerJson, keep: set[str], merges: Sequence[tuple[str, ...]], wanted: list[Control | str]
) -> tuple[Vocabulary, list[int]]:
    """The tokenizer with new ids: kept tokens in the base's order, missing bytes, new controls."""
    old: dict[str, int] = dict(base["model"]["vocab"])
    old |= {t["content"]: t["id"] for t in base.get("added_tokens", []) if t["content"] in wanted}
    kept = {t: old[t] for t in sorted({*keep, *(t for t in wanted if t in old)}, key=old.__getitem__)}
    missing = [letter for letter in BYTE_LETTERS if letter not in kept]
    vocab = {str(t): i for i, t in enumerate([*kept, *missing])}
    marks = [text for text in wanted if text in (START, END) and text in kept]
    fresh = [text for text in wanted if text not in marks and to_letters(text) not in vocab]
    tokens = [added_token(text, vocab[text], True) for text in marks]
    tokens += [added_token(text, len(vocab) + i, text in (START, END)) for i, text in enumerate(fresh)]
    pairs = [[a, b] for a, b in merges if a in vocab and b in vocab and a + b in vocab]
    model = {**base["model"], "vocab": vocab, "merges": pairs, "unk_token": None, "ignore_merges": False}
    cut = {**base, "model": model, "added_tokens": tokens, "post_processor": None, "truncation": None, "padding": None}
    return Vocabulary(cut, wanted), [*kept.values(), *[-1] * (len(missing) + len(fresh))]


def added_token(text: str, number: int, special: bool) -> dict[str, Any]:
    """An entry of a tokenizer.json's ``added_tokens``."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": str(text), **flags, "special": special}


def byte_tokenizer(controls: Sequence[str] = ()) -> TokenizerJson:
    """A byte-level BPE with nothing but the bytes and the controls."""
    wanted = dict.fromkeys([START, END, *controls])
    tokens = [added_token(text, i, text in (START, END)) for i, text in enumerate(wanted, len(BYTE_LETTERS))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    none = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    flags = dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False)
    vocab = {letter: i for i, letter in enumerate(BYTE_LETTERS)}
    model: TokenizerJson = {"type": "BPE", "vocab": vocab, "merges": [], **none, **flags}
    parts = {"normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, **parts, "model": model}
