"""The words that people may use for the things of a home, and what a command says of them.

>>> home = Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Harbor Lamp", "area": "Den"}]})
>>> said = hear("turn off the lamps in the den", home)
>>> sorted(said.stems), said.areas, said.plural
(['den', 'lamp', 'off', 'turn'], ('Den',), True)
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import pairwise

from lib.tasks.home.language.gold import mentioned
from lib.tasks.home.sampler.names import Kind, kind_of, kinds, pools
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.words import STOP_WORDS, spoken, stem, stems

_ALL = frozenset("all every everything each both everywhere entire whole".split())
_HERE = re.compile(r"\b(in here|this room|here|the room|these)\b")
_ARTICLES = frozenset("the my our your a an".split())
_ALSO_VERBS = frozenset(
    "switch power temperature status mode level energy water plug study outside landing pool deck".split()
)
"""Words for a kind that are said of other things, too."""
_SPELT = 0.82
"""Similarity from which a word that is not known is taken for a misspelt one of the home."""


@cache
def kind_stems() -> frozenset[str]:
    """The stems of the nouns for kinds of things, but for those that are said of other things, too."""
    return _nouns() - frozenset(map(stem, _ALSO_VERBS))


@cache
def _nouns() -> frozenset[str]:
    phrases = [phrase for k in kinds().values() for phrase in (*k.words, *k.plurals)]
    return stems(" ".join(phrase.split()[-1] for phrase in phrases))


def _kind(kind: Kind) -> frozenset[str]:
    return stems(" ".join([*kind.words, *kind.plurals]))


@cache
def room_stems() -> frozenset[str]:
    """The stems of what rooms are commonly called in one word."""
    names = [name for some in ("common", "usual") for name in pools()["areas"][some] if " " not in name]
    return stems(" ".join(names)) - _ALSO_VERBS


@lru_cache(maxsize=512)
def kind_words(domain: str, device_class: str | None) -> frozenset[str]:
    """The stems of what people call a kind of thing."""
    return _kind(kind_of(domain, device_class))


@lru_cache(maxsize=4096)
def area_words(area: str, floor: str | None) -> frozenset[str]:
    """The stems of an area's name, of what people also call it, and of its floor."""
    return stems(" ".join([area, *pools()["synonyms"].get(area, ()), floor or ""]))


@dataclass(frozen=True)
class Lexicon:
    """``described``: for every entity the stems that describe it; ``names``: those of its name alone.

    ``counts``: how many entities a stem describes; ``words``: every stem of the home.
    """

    described: tuple[frozenset[str], ...]
    names: tuple[frozenset[str], ...]
    counts: Counter[str]
    words: frozenset[str]


@lru_cache(maxsize=512)
def lexicon(home: Home) -> Lexicon:
    """The home's words, built once."""
    names = tuple(stems(e.name) for e in home.entities)
    described = tuple(name | _around(home, e) for name, e in zip(names, home.entities, strict=True))
    counts = Counter(word for some in described for word in some)
    places = [area_words(a.name, a.floor) for a in home.areas]
    return Lexicon(described, names, counts, frozenset(counts).union(*places))


def _around(home: Home, entity: Entity) -> frozenset[str]:
    place = area_words(entity.area, home.floor_of.get(entity.area)) if entity.area else frozenset()
    return kind_words(entity.domain, entity.device_class) | place


@dataclass(frozen=True)
class Said:
    """What a command says: its ``words`` in order (misspelt ones of the home put right) and their ``stems``; the
    ``areas`` and ``floors`` it names; the entities that it names in full (``exact``: their ids); whether it speaks of
    several things (``plural``), of all there are (``every``) or of the room it is said in (``here``).
    """

    text: str
    words: tuple[str, ...]
    stems: frozenset[str]
    areas: tuple[str, ...]
    floors: tuple[str, ...]
    exact: frozenset[str]
    plural: bool
    every: bool
    here: bool


def hear(text: str, home: Home, known: frozenset[str] = frozenset()) -> Said:
    """Reads a command in a home. ``known``: stems that are no misspelling of anything."""
    lex = lexicon(home)
    words = tuple(_spelt(w, lex, known) for w in spoken(text))
    joined = " ".join(words)
    here = bool(_HERE.search(joined))
    said = stems(joined) - ({"room"} if here else set())
    areas = {a.name: stems(a.name) for a in home.areas if _named(said, a.name)}
    floors = [f for f in home.floors if stems(f) - {"floor"} and stems(f) - {"floor"} <= said]
    return Said(
        joined,
        words,
        said,
        tuple(a for a, own in areas.items() if not any(own < other for other in areas.values())),
        tuple(floors),
        frozenset(e.id for e in mentioned(home, joined)) | frozenset(e.id for e in mentioned(home, text)),
        any(w in _ALL or (w != stem(w) and stem(w) in _nouns()) for w in words),
        not _ALL.isdisjoint(words),
        here,
    )


def said_domains(said: Said, home: Home) -> frozenset[str]:
    """The domains of what a command names in full, or else of the kinds of things that it names."""
    named = frozenset(e.domain for e in home.entities if e.id in said.exact)
    own = said.stems & kind_stems()
    return named or frozenset(k.domain for k in kinds().values() if _kind(k) & own)


def nouns(said: Said) -> frozenset[str]:
    """The stems of the words right after an article or a possessive."""
    return frozenset(stem(w) for before, w in pairwise(said.words) if before in _ARTICLES and w not in STOP_WORDS)


def _named(said: frozenset[str], area: str) -> bool:
    called = [area, *pools()["synonyms"].get(area, ())]
    return any(own and own <= said for own in map(stems, called))


def respell(text: str, home: Home, known: frozenset[str]) -> str:
    """The text with words that are neither the home's nor ``known`` replaced by the nearest that is, if one is near."""
    lex = lexicon(home)
    return re.sub(r"[^\W\d_]+", lambda m: _spelt(m[0].casefold(), lex, known, m[0]), text)


def _spelt(word: str, lex: Lexicon, known: frozenset[str], shown: str = "") -> str:
    root = stem(word)
    if len(word) < 4 or root in lex.words or root in known or root in kind_stems() or word in STOP_WORDS:
        return shown or word
    near = get_close_matches(root, sorted(w for w in lex.words | known if len(w) > 3 and w[0] == root[0]), 1, _SPELT)
    return near[0] if near else shown or word
