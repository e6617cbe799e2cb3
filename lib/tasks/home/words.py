"""Words of requests and names, in the few forms in which the home task compares them.

>>> words("Mum's big_lamp"), spoken("Mum's lamps"), sorted(content("Mum's lamp in the den"))
(['mum', 's', 'big', 'lamp'], ['mum', 'lamps'], ['den', 'lamp', 'mum'])
>>> sorted(stems("turn off the lamps")), normal("The Oat-Milk"), mentions("Dim the Den.", "den")
(['lamp', 'off', 'turn'], 'oat milk', True)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STOP_WORDS = frozenset("the my our a an in on at of by near from to all every these those this that please".split())
_ARTICLES = frozenset(("a", "an", "the"))
_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’]s\b")
_PLURALS = (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("ss", "ss"))


def words(text: str) -> list[str]:
    """The casefolded words of a text in order: runs of letters and digits."""
    return _WORD.findall(text.casefold())


def spoken(text: str) -> list[str]:
    """``words`` without possessive endings."""
    return words(_POSSESSIVE.sub("", text.casefold()))


def content(text: str) -> frozenset[str]:
    """The words that are no STOP_WORDS; of possessive endings, the one at the end of the text stays as the word "s"."""
    return frozenset(words(text.casefold().replace("'s ", " ").replace("’s ", " "))) - STOP_WORDS


def stem(word: str) -> str:
    """A word without its plural ending."""
    for ending, rest in _PLURALS:
        if word.endswith(ending):
            return word[: -len(ending)] + rest
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def stems(text: str) -> frozenset[str]:
    """The stems of the spoken words that are no STOP_WORDS."""
    return frozenset(stem(w) for w in spoken(text) if w not in STOP_WORDS)


def normal(value: Any) -> str:
    """A free text as the simulator compares it: casefolded, without articles and punctuation."""
    found = re.findall(r"\w+", str(value).casefold())
    return " ".join([w for w in found if w not in _ARTICLES] or found) or str(value).strip()


@lru_cache(maxsize=65536)
def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")


def mentions(text: str, name: str) -> bool:
    """Whether ``name`` stands in ``text`` as whole words, in any case."""
    folded, text = name.casefold(), text.casefold()
    return folded in text and bool(_whole(folded).search(text))
