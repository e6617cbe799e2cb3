"""Requests that resemble each other once the home's names, places and numbers are replaced by slots.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Big Lamp"}]})
>>> delexicalise("Set the big lamp to forty percent", home).text
'set the NAMElight to NUMBER percent'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.teacher.lexicon import kind_stems, lexicon
from lib.tasks.home.words import stem

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
NUMBERS = {w: i for i, w in enumerate(_UNITS.split())} | {w: 10 * i for i, w in enumerate(_TENS.split(), 2)}


class Mention(NamedTuple):
    """``tokens``: what is said; ``slot``: "name", "area", "floor" or "number"; ``thing``: what it stands for."""

    tokens: list[str]
    slot: str
    thing: Any


class Delexicalised(NamedTuple):
    """``tokens``: words and slots; ``slots``: what they stand for by kind, in order; a name, for all that have it."""

    tokens: tuple[str, ...]
    slots: dict[str, list[Any]]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def tokens_of(text: str) -> list[str]:
    """Casefolded words, numbers and percent signs."""
    return re.findall(r"-?\d+(?:\.\d+)?|\w+|%", text.casefold())


@lru_cache(maxsize=512)
def _mentions(home: Home) -> dict[str, list[Mention]]:
    """Everything that the home has a name for, by its first word, longest first."""
    entities: dict[tuple[str, ...], list[Entity]] = {}
    for e in home.entities:
        entities.setdefault(tuple(tokens_of(e.name)), []).append(e)
    rows = [Mention(list(words), "name", found) for words, found in entities.items()]
    rows += [Mention(tokens_of(a.name), "area", a.name) for a in home.areas]
    rows += [Mention(tokens_of(floor), "floor", floor) for floor in home.floors]
    mentions: dict[str, list[Mention]] = {}
    for row in sorted(rows, key=lambda r: -len(r.tokens)):
        mentions.setdefault("".join(row.tokens[:1]), []).append(row)
    return mentions


def delexicalise(text: str, home: Home) -> Delexicalised:
    """The request with the longest mentions replaced, from left to right."""
    mentions, words = _mentions(home), tokens_of(text)
    tokens: list[str] = []
    slots: dict[str, list[Any]] = {"name": [], "area": [], "floor": [], "number": []}
    while words:
        known = (m for m in mentions.get(words[0], ()) if words[: len(m.tokens)] == m.tokens)
        if found := next(known, None) or _number(words):
            domains = sorted({e.domain for e in found.thing}) if found.slot == "name" else ()
            tokens.append(found.slot.upper() + "".join(domains))
            slots[found.slot].append(found.thing)
        else:
            tokens.append(words[0])
        words = words[len(found.tokens) if found else 1 :]
    return Delexicalised(tuple(tokens), slots)


def _number(words: list[str]) -> Mention | None:
    """The number in digits or English words that the words begin with."""
    if re.fullmatch(r"-?\d+(\.\d+)?", words[0]):
        return Mention(words[:1], "number", float(words[0]))
    value, following = (NUMBERS.get(word, -1) for word in (*words[:2], "")[:2])
    if 20 <= value < 100 and 0 < following < 10:
        return Mention(words[:2], "number", float(value + following))
    if 0 < value < 10 and following == 100:
        return Mention(words[:2], "number", 100.0 * value)
    return Mention(words[:1], "number", float(value)) if value >= 0 else None


def mask(text: str, home: Home) -> str:
    """The request with slots for names (with their domains), places and numbers; parts of names count as names."""
    parts = lexicon(home).words - kind_stems()
    words: list[str] = []
    for word in delexicalise(text, home).tokens:
        partial = word.islower() and len(word) > 3 and stem(word) in parts
        words += [] if partial and words[-1:] == ["PART"] else ["PART" if partial else word]
    return " ".join(words)


Row = TypeVar("Row")


class Nearest(Generic[Row]):
    """``rows`` by the cosine similarity of their ``texts``: half by words and pairs of words, half by their parts."""

    def __init__(self, texts: Sequence[str], rows: Sequence[Row]) -> None:
        self.rows = rows
        self._words = TfidfVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
        self._characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False)
        features = [self._words.fit_transform(texts), self._characters.fit_transform(texts)]
        self._matrix = sparse.csr_matrix(sparse.hstack(features))
        self._similarity = lru_cache(maxsize=1024)(self._cosine)

    def _cosine(self, text: str) -> np.ndarray[Any, Any]:
        """The similarity of ``text`` to every row, (rows,), from 0 to 1; rounded, so that ties are ties."""
        features = [self._words.transform([text]), self._characters.transform([text])]
        cosine = (self._matrix @ sparse.csr_matrix(sparse.hstack(features)).T).toarray().ravel() / 2
        return np.round(cosine, 6)

    def best(self, text: str, count: int) -> list[tuple[Row, float]]:
        """The ``count`` nearest rows with their similarity, the nearest first."""
        similarity = self._similarity(text)
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(self.rows[i], float(similarity[i])) for i in order]
