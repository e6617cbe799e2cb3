"""Texts that resemble each other by their TF-IDF."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

Item = TypeVar("Item")


class Nearest(Generic[Item]):
    """``rows`` by the cosine similarity of their ``texts``: half by words and pairs of words, half by their parts."""

    def __init__(self, texts: Sequence[str], rows: Sequence[Item]) -> None:
        self.rows = rows
        words = TfidfVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
        self._kinds = words, TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False)
        self.known = sparse.csr_matrix(sparse.hstack([kind.fit_transform(texts) for kind in self._kinds]))
        self._by_feature = sparse.csr_matrix(self.known.T)
        self._similarity = lru_cache(maxsize=1024)(self._cosine)

    def features(self, texts: Sequence[str]) -> Any:
        """Sparse, (texts, features); ``known`` are those of the rows."""
        return sparse.csr_matrix(sparse.hstack([kind.transform(texts) for kind in self._kinds]))

    def _cosine(self, text: str) -> np.ndarray[Any, Any]:
        """The similarity of ``text`` to every row, (rows,), from 0 to 1; rounded, so that ties are ties."""
        return np.round((self.features([text]) @ self._by_feature).toarray().ravel() / 2, 6)

    def best(self, text: str, count: int) -> list[tuple[Item, float]]:
        """The ``count`` nearest rows with their similarity, the nearest first."""
        similarity = self._similarity(text)
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(self.rows[i], float(similarity[i])) for i in order]
