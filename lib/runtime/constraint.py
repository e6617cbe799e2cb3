"""Which token may come next in an answer: a task's grammar over a student's vocabulary.

A control is one token, and no text may spell it: where a control is possible, text that runs into it is not, and after
one, text that would make it another is not. So an answer has one way to be written, and often one way to go on
(``forced``), which the model need not be asked for.

>>> from lib.model.vocabulary import Vocabulary, byte_tokenizer
>>> controls = ["Go(", "=1", "=12", ")"]
>>> words = Vocabulary(byte_tokenizer(controls), controls)
>>> constraint = Constraint('root ::= "Go(=1" "2"? ")"\\n', words)
>>> state = constraint.first
>>> words.decode([constraint.forced(state)])
'Go('
>>> state = constraint.advance(state, words.controls["Go("])
>>> [constraint.allows(state, token) for token in words.encode_text("=1")[:1]]
[False]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.model.vocabulary import Vocabulary, to_letters
from lib.runtime.automaton import Automaton, GrammarError


@dataclass(frozen=True)
class State:
    """``nodes`` of the automaton; ``barred``: texts that may not follow, since they would make another control."""

    nodes: frozenset[int]
    barred: frozenset[str] = frozenset()


class Words:
    """A vocabulary's tokens as texts; half a character is written as bytes are by Python's "surrogateescape".

    ``plain``: controls that are a token of plain text as well, such as a comma.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.start, self.end = vocabulary.start, vocabulary.end
        self.texts = [token.decode("utf-8", "surrogateescape") for token in vocabulary.bytes]
        marks = (self.start, self.end)
        self.controls = {number: text for text, number in vocabulary.controls.items() if number not in marks}
        letters = vocabulary.json["model"]["vocab"]
        self.plain = {i for i, text in self.controls.items() if letters.get(to_letters(text)) == i}
        self.longer = {
            number: [(i, c[len(text) :]) for i, c in self.controls.items() if c != text and c.startswith(text)]
            for number, text in self.controls.items()
        }
        self.control_by_first: dict[str, list[tuple[int, str]]] = {}
        for number, text in self.controls.items():
            self.control_by_first.setdefault(text[0], []).append((number, text))

    @cached_property
    def tree(self) -> dict[str, Any]:
        """The plain tokens by their characters; a token stands under the empty key of its last one."""
        root: dict[str, Any] = {}
        for number, text in enumerate(self.texts):
            mark = number in (self.start, self.end) or (number in self.controls and number not in self.plain)
            if text and not mark:
                node = root
                for character in text:
                    node = node.setdefault(character, {})
                node.setdefault("", []).append(number)
        return root


class Constraint:
    """The grammar of one context's answers. States are values, so several answers can be under way."""

    def __init__(self, gbnf: str, vocabulary: Vocabulary | Words) -> None:
        """Raises lib.runtime.automaton.GrammarError."""
        self.automaton = Automaton(gbnf)
        self.words = vocabulary if isinstance(vocabulary, Words) else Words(vocabulary)
        self.first = State(self.automaton.first)

    def allows(self, state: State, token: int) -> bool:
        """Whether ``token`` may come next; the end token where the answer is whole."""
        if token == self.words.end:
            return self.automaton.accepts(state.nodes)
        if token in self.words.controls and self._whole(state, token):
            return True
        plain = token not in self.words.controls or token in self.words.plain
        return plain and token != self.words.start and self._text(state, self.words.texts[token])

    def advance(self, state: State, token: int) -> State:
        """The state after an allowed ``token``."""
        nodes = self.automaton.step(state.nodes, self.words.texts[token])
        longer = self.words.longer.get(token, ())
        barred = (rest for number, rest in longer if self._control(state.nodes, self.words.controls[number]))
        return State(nodes, frozenset(barred))

    def forced(self, state: State) -> int | None:
        """The only token that may come next, or None if there are several."""
        found = self._any(state)
        first = next(found, None)
        return first if next(found, None) is None else None

    def best(self, state: State, logits: NDArray[np.float32]) -> int:
        """The allowed token with the largest of ``logits``, (vocabulary,). Raises GrammarError where none is."""
        likeliest = int(logits.argmax())
        if self.allows(state, likeliest):
            return likeliest
        for token in np.argsort(-logits):
            if self.allows(state, int(token)):
                return int(token)
        raise GrammarError("grammar: no token of the model's vocabulary goes on here; train a model for this task")

    def _any(self, state: State) -> Iterator[int]:
        """Allowed tokens, one after the other."""
        if self.automaton.accepts(state.nodes):
            yield self.words.end
        for first in self.automaton.openings(state.nodes)[0]:
            begun = self.words.control_by_first.get(first, ())
            yield from (number for number, _ in begun if self._whole(state, number))
        todo = [(self.words.tree, state.nodes)]
        while todo:
            tree, nodes = todo.pop()
            yield from (t for t in tree.get("", ()) if self._text(state, self.words.texts[t]))
            letters, classes = self.automaton.openings(nodes)
            for first in tree if classes else letters & tree.keys():
                if first and (after := self.automaton.step(nodes, first)):
                    todo.append((tree[first], after))

    def _whole(self, state: State, token: int) -> bool:
        """Whether a control may come next, and is not just how a longer one begins (``=1`` where only ``=12`` is)."""
        if not self._control(state.nodes, self.words.controls[token]):
            return False
        after = self.advance(state, token)
        return not after.barred or next(self._any(after), None) is not None

    def _control(self, nodes: frozenset[int], text: str) -> bool:
        """Whether a literal of the grammar begins a control here (a class of characters does not mean one)."""
        return text[0] in self.automaton.openings(nodes)[0] and bool(self.automaton.step(nodes, text))

    def _text(self, state: State, text: str) -> bool:
        """Whether plain text may come next: it leads somewhere and runs into no control on its way."""
        if not text or any(text.startswith(b) or b.startswith(text) for b in state.barred):
            return False
        nodes = state.nodes
        for i, character in enumerate(text):
            rest = text[i:]
            for _, control in self.words.control_by_first.get(character, ()):
                if (rest.startswith(control) or control.startswith(rest)) and self._control(nodes, control):
                    return False
            nodes = self.automaton.step(nodes, character)
            if not nodes:
                return False
        return True
