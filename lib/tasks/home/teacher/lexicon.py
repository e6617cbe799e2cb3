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

from lib.tasks.home.sampler.names import kind_of, kinds, pools
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.match import mentioned
from lib.tasks.home.words import STOP_WORDS, spoken, stem, stems

_ALL = frozenset("all every everything each both everywhere entire whole".split())
_HERE = re.compile(r"\b(in here|this room|here|the room|these)\b")
_ARTICLES = frozenset("the my our your a an".split())
_AMBIGUOUS = frozenset(
    "switch power temperature status mode level energy water plug study outside landing pool deck".split()
)
"""Words for a kind of thing or a room that are said of other things, too."""
_SPELT = 0.82
"""Similarity from which an unknown word counts as a misspelt word of the home."""


@cache
def kind_words(domain: str, device_class: str | None) -> frozenset[str]:
    """The stems of what people call a kind of thing."""
    kind = kind_of(domain, device_class)
    return stems(" ".join([*kind.words, *kind.plurals]))


@cache
def _nouns() -> frozenset[str]:
    phrases = [phrase for k in kinds().values() for phrase in (*k.words, *k.plurals)]
    return stems(" ".join(phrase.split()[-1] for phrase in phrases))


@cache
def kind_stems() -> frozenset[str]:
    """The stems of the nouns for kinds of things that mean nothing else."""
    return _nouns() - frozenset(map(stem, _AMBIGUOUS))


@cache
def room_stems() -> frozenset[str]:
    """The stems of common names of rooms that are one word and mean nothing else."""
    names = [name for some in ("common", "usual") for name in pools()["areas"][some] if " " not in name]
    return stems(" ".join(names)) - _AMBIGUOUS


def _called(area: str) -> list[str]:
    return [area, *pools()["synonyms"].get(area, ())]


@lru_cache(maxsize=4096)
def area_words(area: str | None, floor: str | None) -> frozenset[str]:
    """The stems of an area's name, its synonyms and its floor."""
    return stems(" ".join([*_called(area), floor or ""])) if area else frozenset()


@dataclass(frozen=True)
class Lexicon:
    """``described``: for every entity the stems of its name, kind and place; ``names``: those of its name alone.

    ``counts``: how many entities a stem describes; ``places``: the stems of all places; ``words``: all of them.
    """

    described: tuple[frozenset[str], ...]
    names: tuple[frozenset[str], ...]
    counts: Counter[str]
    places: frozenset[str]
    words: frozenset[str]


@lru_cache(maxsize=512)
def lexicon(home: Home) -> Lexicon:
    """The home's words, built once."""
    names = tuple(stems(e.name) for e in home.entities)
    described = tuple(
        name | kind_words(e.domain, e.device_class) | area_words(e.area, home.floor_of.get(e.area or ""))
        for name, e in zip(names, home.entities, strict=True)
    )
    counts = Counter(word for some in described for word in some)
    places = frozenset[str]().union(*(area_words(a.name, a.floor) for a in home.areas))
    return Lexicon(described, names, counts, places, places.union(counts))


@dataclass(frozen=True)
class Said:
    """What a command says, misspelt words of the home put right: its ``stems``; the ``nouns`` among them (right after
    an article or possessive); the ``areas`` and ``floors`` it names; the ids of the entities that it names in full
    (``exact``); whether it speaks of several things (``plural``), of all (``every``) or of the room it is said in
    (``here``).
    """

    stems: frozenset[str]
    nouns: frozenset[str]
    areas: tuple[str, ...]
    floors: tuple[str, ...]
    exact: frozenset[str]
    plural: bool
    every: bool
    here: bool


def hear(text: str, home: Home, known: frozenset[str] = frozenset()) -> Said:
    """Reads a command in a home. ``known``: stems that are no misspelling of anything."""
    lex = lexicon(home)
    words = [_spelt(w, lex, known) for w in spoken(text)]
    joined = " ".join(words)
    here = bool(_HERE.search(joined))
    said = stems(joined) - ({"room"} if here else set())
    areas = {a.name: stems(a.name) for a in home.areas if any(s and s <= said for s in map(stems, _called(a.name)))}
    floors = {floor: stems(floor) - {"floor"} for floor in home.floors}
    return Said(
        said,
        frozenset(stem(w) for before, w in pairwise(words) if before in _ARTICLES and w not in STOP_WORDS),
        tuple(a for a, own in areas.items() if not any(own < other for other in areas.values())),
        tuple(floor for floor, own in floors.items() if own and own <= said),
        frozenset(e.id for shown in (joined, text) for e in mentioned(home, shown)),
        any(w in _ALL or (w != stem(w) and stem(w) in _nouns()) for w in words),
        not _ALL.isdisjoint(words),
        here,
    )


def said_domains(said: Said, home: Home) -> frozenset[str]:
    """The domains of what a command names in full, or else of the kinds of things that it names."""
    own = said.stems & kind_stems()
    return frozenset(e.domain for e in home.entities if e.id in said.exact) or frozenset(
        domain for domain, device_class in kinds() if kind_words(domain, device_class) & own
    )


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
