"""Requests that resemble each other once the home's names, places and numbers are replaced by slots.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Big Lamp"}]})
>>> delexicalise("Set the big lamp to forty percent", home).text
'set the NAMElight to NUMBER percent'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.teacher.lexicon import kind_stems, lexicon
from lib.tasks.home.words import stem

_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\w+|%")
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
NUMBERS = {w: i for i, w in enumerate(_NUMBERS.split())} | {w: 10 * i for i, w in enumerate(_TENS.split(), 2)}

Mention = tuple[list[str], str, Any]
"""The tokens of what the home has a name for, its slot ("name", "area", "floor"), and what it is."""


@dataclass(frozen=True)
class Delexicalised:
    """``tokens``: the words and slots of a request; ``slots``: what they stand for, in order, by "name", "area",
    "floor" and "number". A name stands for all entities of that name.
    """

    tokens: tuple[str, ...]
    slots: dict[str, list[Any]]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def tokens_of(text: str) -> list[str]:
    """Casefolded words, numbers and percent signs."""
    return _TOKEN.findall(text.casefold())


@lru_cache(maxsize=512)
def _mentions(home: Home) -> dict[str, list[Mention]]:
    """Everything that the home has a name for, by its first word, longest first."""
    entities: dict[tuple[str, ...], list[Entity]] = {}
    for e in home.entities:
        entities.setdefault(tuple(tokens_of(e.name)), []).append(e)
    rows: list[Mention] = [(list(words), "name", found) for words, found in entities.items()]
    rows += [(tokens_of(a.name), "area", a.name) for a in home.areas]
    rows += [(tokens_of(floor), "floor", floor) for floor in home.floors]
    mentions: dict[str, list[Mention]] = {}
    for row in sorted(rows, key=lambda r: -len(r[0])):
        if row[0]:
            mentions.setdefault(row[0][0], []).append(row)
    return mentions


def delexicalise(text: str, home: Home) -> Delexicalised:
    """The request with the longest mentions replaced, from left to right."""
    mentions, words = _mentions(home), tokens_of(text)
    tokens: list[str] = []
    slots: dict[str, list[Any]] = {"name": [], "area": [], "floor": [], "number": []}
    i = 0
    while i < len(words):
        found = next((m for m in mentions.get(words[i], ()) if words[i : i + len(m[0])] == m[0]), None)
        used, slot, thing = found or _number(words, i)
        domains = sorted({e.domain for e in thing}) if slot == "name" else ()
        tokens.append(slot.upper() + "".join(domains) if used else words[i])
        if used:
            slots[slot].append(thing)
        i += len(used) or 1
    return Delexicalised(tuple(tokens), slots)


def _number(words: list[str], i: int) -> Mention:
    """A number at position ``i`` in digits or English words; without tokens if there is none."""
    first, value = words[i : i + 1], NUMBERS.get(words[i])
    if re.fullmatch(r"-?\d+(\.\d+)?", words[i]):
        return first, "number", float(words[i])
    if value is None:
        return [], "number", 0.0
    two = words[i : i + 2]
    following = NUMBERS.get(two[-1], 0) if len(two) == 2 else 0
    if 20 <= value < 100 and 0 < following < 10:
        return two, "number", float(value + following)
    return (two, "number", 100.0 * value) if following == 100 and 0 < value < 10 else (first, "number", float(value))


def mask(text: str, home: Home) -> str:
    """The request with slots for names (with their domains), places and numbers; parts of names count as names."""
    lex = lexicon(home)
    words: list[str] = []
    for word in delexicalise(text, home).tokens:
        root = stem(word)
        partial = word.islower() and len(word) > 3 and root in lex.words and root not in kind_stems()
        words += ["PART"] if partial and words[-1:] != ["PART"] else [] if partial else [word]
    return " ".join(words)


Row = TypeVar("Row")


class Nearest(Generic[Row]):
    """``rows`` by the cosine similarity of their ``texts``: half by words and pairs of words, half by parts of words."""

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
