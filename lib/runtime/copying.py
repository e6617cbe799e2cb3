"""Values that are copied: while one is written, only a span of the request's words can be.

A copied value stands between its key, a control, and ``,`` or ``)``. Words are encoded one by one with a space before
each, as an answer spells them. A span has at least one word and ends with a whole one, without the marks behind it.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

from lib.core.task import VALUE_ENDS, Copied
from lib.model.vocabulary import Vocabulary

_BEFORE, _BEHIND = "\"'([{“‘«", ".,;:!?…\"')]}”’»\\"  # marks around a word that are no part of it
_KEPT = 64  # requests whose spans are remembered


class Spans:
    """``tokens`` that values are made of; ``starts``: places of first ones, ``ends``: of those that can be the last."""

    def __init__(self, copied: Copied, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self.tokens, self.ends = list[int](), set[int]()
        self._next: dict[int, list[int]] = {}
        words = (copied.text.rstrip(f"{_BEHIND} ") or copied.text).split(" ")
        text = self._write(words)
        for i, word in enumerate(words):
            if (inside := word.lstrip(_BEFORE)) not in ("", word):
                text += self._write([inside, *words[i + 1 :]])[:1]
        self.starts = list(text)
        for phrase in copied.after:
            self.starts.append(len(self.tokens))
            self.tokens += encode(f" {phrase}")
            self._next[len(self.tokens) - 1] = text

    def _write(self, words: list[str]) -> list[int]:
        """Adds a text; where its words start."""
        starts = []
        for word in words:
            starts.append(len(self.tokens))
            bare, whole = word.rstrip(_BEHIND), self._encode(f" {word}")
            inner = self._encode(f" {bare}") if bare else []
            self.tokens += whole
            if bare:
                self.ends.add(starts[-1] + len(inner if inner == whole[: len(inner)] else whole) - 1)
        self.ends.add(len(self.tokens) - 1)
        self._next[len(self.tokens) - 1] = []
        return starts

    def after(self, place: int) -> list[int]:
        """The places that can follow a place."""
        return self._next.get(place, [place + 1])


class Copier:
    """One answer's copied values as they are written; ``take`` hears of every token.

    ``instead``: the controls, one of which may stand in place of a value; ``closing``: those that end one.
    """

    def __init__(
        self, keys: Mapping[int, Callable[[], Spans]], instead: frozenset[int], closing: frozenset[int]
    ) -> None:
        self._keys, self._instead, self._closing = keys, instead, closing
        self._spans: Spans | None = None
        self._places, self._more = list[int](), instead

    def options(self) -> frozenset[int]:
        """The tokens that go on with a copied value or end it; empty where none is being written."""
        return self._more.union(self._spans.tokens[p] for p in self._places) if self._spans else frozenset()

    def take(self, token: int) -> None:
        """Goes on with ``token``, which begins or ends a value or is a part of it or of something else."""
        if self._spans is None:
            if token in self._keys:
                self._spans = self._keys[token]()
                self._places, self._more = self._spans.starts, self._instead
            return
        spans, found = self._spans, [p for p in self._places if self._spans.tokens[p] == token]
        self._spans = spans if found else None
        self._places = [after for p in found for after in spans.after(p)]
        self._more = frozenset() if spans.ends.isdisjoint(found) else self._closing


class Copying:
    """Starts a Copier for each answer; what was made of the latest requests' texts is kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._controls, self._instead = vocabulary.controls, frozenset(vocabulary.controls.values())
        self._spans = lru_cache(_KEPT)(lambda copied: Spans(copied, vocabulary.encode_text))

    def start(self, copied: Mapping[str, Copied]) -> Copier:
        """For an answer whose values of the keys (controls) are ``copied``."""
        keys = {
            self._controls[key]: (lambda value=value: self._spans(value))
            for key, value in copied.items()
            if key in self._controls
        }
        return Copier(keys, self._instead, frozenset(self._controls[text] for text in VALUE_ENDS if copied))
