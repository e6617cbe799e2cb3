"""Logistic regression on TF-IDF, and the nearest sentence by it; below a threshold both do nothing.

The threshold gets most right of a fifth of the training sentences and of all that are out of scope.
A slot is filled with the longest value that it had in training and that the request has.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from lib.core.task import Answer, Example
from lib.tasks.from_tools import call
from lib.tasks.nearest import Nearest


class Neighbour:
    """Learns from resolved examples, of which some must be in scope."""

    name = "nearest"

    def __init__(self, train: Sequence[Example]) -> None:
        inside, outside = ([e for e in train if bool(e.gold[0]) == acts] for acts in (True, False))
        self._values: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for one in (e.gold[0][0] for e in inside):
            for slot, value in one["arguments"].items():
                self._values[one["name"]][slot].add(value.casefold())
        self._fit([e for i, e in enumerate(inside) if i % 5] or inside)
        known = [(self._guess(e.text), e.gold[0][0]["name"]) for e in inside[::5]]
        right = np.array([sure if guess == intent else -1.0 for (guess, sure), intent in known])
        others = np.array([self._guess(e.text)[1] for e in outside])
        cuts = np.unique([0.0, *right[right > 0], *others])
        self.threshold = float(max(cuts, key=lambda cut: (right >= cut).sum() + (others < cut).sum()))
        self._fit(inside)

    def _fit(self, train: Sequence[Example]) -> None:
        self._nearest = Nearest([e.text.casefold() for e in train], [e.gold[0][0]["name"] for e in train])

    def _guess(self, text: str) -> tuple[str, float]:
        intent, similarity = self._nearest.best(text.casefold(), 1)[0]
        return str(intent), min(1.0, similarity)

    def answer(self, text: str, context: object) -> Answer:
        """``confidence``: that of the intent, or what it lacks where nothing is called."""
        intent, sure = self._guess(text)
        if sure < self.threshold:
            return Answer([], confidence=1 - sure)
        said, known = f" {text.casefold()} ", self._values[intent].items()
        found = {slot: sorted(value for value in values if f" {value} " in said) for slot, values in known}
        slots = {slot: max(values, key=len) for slot, values in found.items() if values}
        return Answer([call(intent, **slots)], confidence=sure)


class Regression(Neighbour):
    name = "tfidf"

    def _fit(self, train: Sequence[Example]) -> None:
        super()._fit(train)
        self._model = LogisticRegression(C=10, max_iter=60, tol=1e-3).fit(self._nearest.known, self._nearest.rows)

    def _guess(self, text: str) -> tuple[str, float]:
        shares = self._model.predict_proba(self._nearest.features([text.casefold()]))[0]
        return str(self._model.classes_[shares.argmax()]), float(shares.max())
