"""Training requests that resemble a request once the home's names, numbers and places are masked.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Big Lamp"}]})
>>> mask("Set the big lamp to forty", home)
'set the NAMElight to NUMBER'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.delexicalise import delexicalise
from lib.tasks.home.teacher.describe import kind_stems, lexicon
from lib.tasks.home.words import stem

REMEMBERED = 1024
_TYPE = re.compile(r"NAME\w*")


class Nearest:
    """Cosine similarity of texts: words and pairs of them, and beginnings and middles of words, half each."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = TfidfVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
        self._characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False)
        features = [self._words.fit_transform(texts), self._characters.fit_transform(texts)]
        self._matrix = sparse.csr_matrix(sparse.hstack(features))
        self.similarity = lru_cache(maxsize=REMEMBERED)(self._similarity)
        """``_similarity``, the latest texts' remembered: a request is looked up at several steps."""

    def _similarity(self, text: str) -> np.ndarray[Any, Any]:
        """The similarity of ``text`` to every stored text, (texts,), from 0 to 1; rounded, so that ties are ties."""
        features = [self._words.transform([text]), self._characters.transform([text])]
        cosine = (self._matrix @ sparse.csr_matrix(sparse.hstack(features)).T).toarray().ravel() / 2
        return np.round(cosine, 6)

    def best(self, text: str, count: int) -> list[tuple[int, float]]:
        """The indexes of the ``count`` nearest texts with their similarity, the nearest first."""
        similarity = self.similarity(text)
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(int(i), float(similarity[i])) for i in order]


def mask(text: str, home: Home) -> str:
    """The request with slots for names (with their domains), places and numbers; parts of names count as names."""
    lex = lexicon(home)
    words: list[str] = []
    for word in delexicalise(text, home).tokens:
        root = stem(word)
        partial = word.islower() and len(word) > 3 and root in lex.words and root not in kind_stems()
        words += ["PART"] if partial and words[-1:] != ["PART"] else [] if partial else [word]
    return " ".join(words)


def untyped(masked: str) -> str:
    """A masked request that no longer says of what domain its names are."""
    return _TYPE.sub("NAME", masked)


def vocabulary(masked: Sequence[str], least: int) -> frozenset[str]:
    """The stems of the words that occur in at least ``least`` masked requests."""
    counts = Counter(stem(w) for text in masked for w in set(text.split()))
    return frozenset(w for w, n in counts.items() if n >= least)
