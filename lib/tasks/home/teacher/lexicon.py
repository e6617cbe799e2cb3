"""The words that people may use for the things of a home, and what a command says of them."""

from __future__ import annotations

import re
from collections import Counter
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lib.tasks.home.sampler.homes import called, kind_of, kinds, pools
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import mentioned
from lib.tasks.home.words import STOP_WORDS, spoken, stem, stems

ENGLISH: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("english.yaml").read_text(encoding="utf-8"))
WORDS = {name: frozenset("|".join(items).split("|")) for name, items in ENGLISH["words"].items()}


def patterns(section: str, flags: int = 0) -> dict[str, re.Pattern[str]]:
    """The patterns of a section of ``english.yaml`` by name."""
    texts = {name: "|".join(items) for name, items in ENGLISH[section].items()}
    for word in ("state", "done", "do"):
        texts = {name: text.replace(f"<{word}>", "|".join(ENGLISH["words"][word])) for name, text in texts.items()}
    return {name: re.compile(text, flags) for name, text in texts.items()}


SAYS = patterns("request", re.IGNORECASE)
_SPELT = 0.82  # similarity from which an unknown word counts as a misspelt one of the home


@cache
def kind_words(domain: str, device_class: str | None) -> frozenset[str]:
    """The stems of what people call a kind of thing."""
    kind = kind_of(domain, device_class)
    return stems(" ".join([*kind.words, *kind.plurals]))


@cache
def _nouns() -> frozenset[str]:
    return stems(" ".join(phrase.split()[-1] for k in kinds(rare=False).values() for phrase in (*k.words, *k.plurals)))


@cache
def kind_stems() -> frozenset[str]:
    """The stems of the nouns for kinds of things that mean nothing else."""
    return _nouns() - stems(" ".join(WORDS["ambiguous"]))


@cache
def room_stems() -> frozenset[str]:
    """The stems of common names of rooms that are one word and mean nothing else."""
    names = [name for some in ("common", "usual") for name in pools()["areas"][some] if " " not in name]
    return stems(" ".join(names)) - WORDS["ambiguous"]


@lru_cache(maxsize=4096)
def area_words(area: str, floor: str | None) -> frozenset[str]:
    """The stems of an area's name, its synonyms and its floor."""
    return stems(" ".join([*called(area), floor or ""])) if area else frozenset()


class Lexicon:
    """Stems: for every entity ``described`` (name, kind, place) and ``names``; ``counts`` of entities; ``places``."""

    def __init__(self, home: Home) -> None:
        self.names = [stems(e.name) for e in home.entities]
        rows = zip(self.names, home.entities, strict=True)
        self.described = [
            name | kind_words(e.domain, e.device_class) | area_words(e.area or "", home.floor_of.get(e.area or ""))
            for name, e in rows
        ]
        self.counts = Counter(word for some in self.described for word in some)
        self.places = frozenset[str]().union(*(area_words(a.name, a.floor) for a in home.areas))
        self.words = self.places.union(self.counts)


lexicon = lru_cache(maxsize=512)(Lexicon)  # a home's own, made once


class Said:
    """What a command says in a home, misspelt words of the home put right.

    Its ``stems``; the ``nouns`` among them (right after an article or possessive); the ``areas`` and ``floors`` that it
    names; the ids of the entities that it names in full (``exact``); whether it speaks of several things (``plural``),
    of all (``every``) or of the room it is said in (``here``). ``known``: stems that are no misspelling of anything.
    """

    def __init__(self, text: str, home: Home, known: frozenset[str] = frozenset()) -> None:
        words = [_spelt(w, lexicon(home), known) for w in spoken(text)]
        joined = " ".join(words)
        self.here = bool(SAYS["here"].search(joined))
        self.stems = said = stems(joined) - ({"room"} if self.here else set())
        self.nouns = {stem(w) for before, w in pairwise(words) if before in WORDS["articles"] and w not in STOP_WORDS}
        found = {a.name: stems(a.name) for a in home.areas if any(s and s <= said for s in map(stems, called(a.name)))}
        self.areas = [a for a, own in found.items() if not any(own < other for other in found.values())]
        floors = {floor: stems(floor) - {"floor"} for floor in home.floors}
        self.floors = [floor for floor, own in floors.items() if own and own <= said]
        self.exact = {e.id for shown in (joined, text) for e in mentioned(home, shown)}
        self.plural = any(w in WORDS["all"] or (w != stem(w) and stem(w) in _nouns()) for w in words)
        self.every = not WORDS["all"].isdisjoint(words)

    def domains(self, home: Home) -> set[str]:
        """The domains of what it names in full, or else of the kinds of things that it names."""
        own = self.stems & kind_stems()
        named = {e.domain for e in home.entities if e.id in self.exact}
        return named or {domain for domain, device_class in kinds(rare=False) if kind_words(domain, device_class) & own}


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
