"""Which token may come next in an answer: a task's grammar over a student's vocabulary, by llguidance.

A task writes its grammar as text for llguidance (its dialect of Lark) and names control tokens in it as JSON strings
between angle brackets: ``<"=1","=12">`` is one of two controls. Here their ids take the place of the names, so no text
can spell a control and an answer has one way to be written. Often there is one way to go on, which the model need not
be asked for. llama.cpp's server gets the same rules as GBNF.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import llguidance
import numpy as np
from numpy.typing import NDArray

from lib.core.task import Copied
from lib.model.codec import CONTEXTS_KEPT
from lib.model.vocabulary import Vocabulary
from lib.runtime.copying import Copier, Copying

_STRING = r'"(?:[^"\\]|\\.)*"'
_EVERY_SPELLING = (
    '%llguidance {"no_forcing": true}\n'  # text may be divided into tokens in several ways: all are allowed
)
_CONTROLS = re.compile(f"<({_STRING}(?:,{_STRING})*)>")


class Matcher:
    """An answer as it is written: the grammar's state after the tokens taken so far."""

    def __init__(self, matcher: llguidance.LLMatcher, end: int, copier: Copier) -> None:
        self._matcher, self._end, self._copier = matcher, end, copier

    def allowed(self) -> NDArray[np.uint8]:
        """1 for each token that may come next, (vocabulary,) padded; the end token where the answer is whole.

        Where a copied value has become too long for the grammar, the grammar alone decides.
        """
        allowed = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        copied = [token for token in self._copier.options() if allowed[token]]
        if copied:
            allowed[:] = 0
            allowed[copied] = 1
        return allowed

    def best(self, logits: NDArray[np.float32]) -> int:
        """The allowed token with the largest of ``logits``, (vocabulary,). Raises ValueError where none is."""
        allowed = self.allowed()[: len(logits)].astype(bool)
        if not allowed.any():
            raise ValueError("grammar: no token of the model's vocabulary goes on here; train a model for this task")
        return int(np.where(allowed, logits, -np.inf).argmax())

    def take(self, token: int) -> list[int]:
        """Takes ``token``; returns it and the tokens after it that have no alternative, which are taken too."""
        taken = [token]
        while self._matcher.consume_token(taken[-1]) and taken[-1] != self._end:
            self._copier.take(taken[-1])
            following = self.allowed().nonzero()[0]
            if len(following) != 1:
                break
            taken.append(int(following[0]))
        if self._matcher.is_error():
            raise ValueError(f"grammar: {self._matcher.get_error()}")
        return taken


class Grammars:
    """Grammars over one vocabulary; those of the latest contexts are kept compiled."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._controls, self._end = vocabulary.controls, vocabulary.end
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Tokens(vocabulary)), slices=[])
        self._copying = Copying(vocabulary)
        self._compiled = lru_cache(CONTEXTS_KEPT)(self._compile)

    def start(self, text: str, copied: Mapping[str, Copied] = MappingProxyType({})) -> Matcher:
        """The beginning of an answer; ``copied``: what the values of keys are spans of.

        Raises ValueError for a text that is no grammar, or an unknown control.
        """
        return Matcher(self._compiled(text).deep_copy(), self._end, self._copying.start(copied))

    def _compile(self, text: str) -> llguidance.LLMatcher:
        lark = _replace(text, self._controls, lambda ids: f"<[{','.join(ids)}]>")
        matcher = llguidance.LLMatcher(self._tokenizer, _EVERY_SPELLING + lark)
        if matcher.is_error():
            raise ValueError(f"grammar: {matcher.get_error()}")
        return matcher


class _Tokens:
    """A vocabulary as llguidance asks for one. A token is special if its text is no text of the byte-level BPE."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id, self.bos_token_id, self.tokens = vocabulary.end, vocabulary.start, vocabulary.bytes
        self.special_token_ids = [token["id"] for token in vocabulary.json["added_tokens"]]
        self._vocabulary = vocabulary

    def __call__(self, text: str) -> list[int]:
        return self._vocabulary.encode_text(text)


def to_gbnf(text: str, controls: Mapping[str, int]) -> str:
    r"""A task's grammar in llama.cpp's notation. Its regular expressions have to be classes of characters.

    >>> print(to_gbnf('start: <"=1","=2"> T0\nT0: /[0-9]/{1,3}', {"=1": 271, "=2": 272}))
    root ::= (<[271]> | <[272]>) T0
    T0 ::= [0-9]{1,3}
    """
    text = _replace(text, controls, lambda ids: f"({' | '.join(f'<[{i}]>' for i in ids)})")
    text = re.sub(r"/(\[(?:[^\]\\]|\\.)*\])/", r"\1", text)
    return re.sub(r"^(\w+):", r"\1 ::=", text, flags=re.M).replace("start ::=", "root ::=", 1)


def _replace(text: str, controls: Mapping[str, int], write: Callable[[list[str]], str]) -> str:
    try:
        return _CONTROLS.sub(lambda found: write([str(controls[name]) for name in json.loads(f"[{found[1]}]")]), text)
    except KeyError as error:
        raise ValueError(f"grammar: the model has no control {error}; train a model for this task") from error
