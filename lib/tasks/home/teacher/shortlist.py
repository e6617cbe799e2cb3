"""The few things of a home that a command can be about, best first, for a function that is already chosen.

Candidates are single entities, the things of a kind in an area, on a floor or everywhere, and for the function that
sends a vacuum somewhere, areas. One scores by the command's words that describe it, rarer ones more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from lib.core.task import TaskError
from lib.tasks.home.sampler.homes import kind_of
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, name_arguments, targets
from lib.tasks.home.simulator.tools import Tool
from lib.tasks.home.teacher.lexicon import Said, area_words, kind_stems, kind_words, lexicon, room_stems
from lib.tasks.home.words import stems

LIMIT = 6
_EXACT, _PRIOR, _NEAR, _NUMBER, _LACK = 8.0, 3.0, 1.5, 2.0, 4.0
_TIE, _MARGIN = 0.05, 1.0

Words = frozenset[str]
Row = tuple[str, dict[str, Any], Words, Entity]  # label, arguments, describing words, and an entity of it


@dataclass(frozen=True)
class Candidate:
    """``targets``: the arguments of one call each, which choose the ``ids``; ``label`` shows it to the model.

    ``hits``: the command's words that describe it; ``lacks``: those that name something else; ``single``: it is one
    named entity; ``exact``: named in full.
    """

    label: str
    targets: tuple[Mapping[str, Any], ...]
    ids: Words = frozenset()
    score: float = 0.0
    hits: Words = frozenset()
    lacks: Words = frozenset()
    single: bool = False
    exact: bool = False

    def outdone(self, other: Candidate) -> bool:
        """Whether the other one fits more of the command's words, the same ones and further ones."""
        return self.hits < other.hits and len(other.lacks) <= len(self.lacks)


def shortlist(
    home: Home, tool: Tool, said: Said, satellite: str | None, prior: Mapping[str, float], free: Words
) -> list[Candidate]:
    """Candidates, best first: those that every telling word fits, or where there is none, the best others.

    ``prior``: how much the wording speaks for each domain; ``free``: words that people use in commands of any kind.
    """
    if tool.name == CLEAN_AREA:
        names = said.areas or ([satellite] if satellite and said.here else [])
        return [Candidate(a, ({"area": a},), frozenset([a])) for a in names][:LIMIT]
    near = satellite if not (said.areas or said.floors) and (said.here or not said.every) else None
    scorer = _Scorer(home, said, prior, near, free)
    found: dict[Words, Candidate] = {}
    for row in _rows(home, tool, said, near):
        try:
            ids = frozenset(e.id for e in targets(home, tool, row[1], satellite))
        except TaskError:
            continue
        candidate = scorer.candidate(*row, ids)
        found[ids] = max(found.get(ids, candidate), candidate, key=lambda c: c.score)
    best = [c for c in found.values() if not any(map(c.outdone, found.values()))]
    best.sort(key=lambda c: -c.score)
    short = _decided([c for c in best if not c.lacks] or best)[:LIMIT]
    return [c for c in short if c.score >= short[0].score - _MARGIN]


class _Scorer:
    """``near``: the satellite's area where it decides; ``telling``, ``strange``: words that a target must be called;
    ``kind``: a kind of thing is spoken of; ``grouped``: a group is more likely meant than one thing.
    """

    def __init__(self, home: Home, said: Said, prior: Mapping[str, float], near: str | None, free: Words) -> None:
        self.said, self.prior, self.near, self.lex = said, prior, near, lexicon(home)
        kinds, words = kind_stems(), self.lex.words
        self.telling = said.stems & (kinds | room_stems() | (words - free)) | (said.nouns & words)
        self.strange = said.nouns - free - kinds - words
        self.kind = said.plural or not said.stems.isdisjoint(kinds)
        self.grouped = said.plural or said.stems.isdisjoint(kinds.union(*self.lex.names) - self.lex.places)

    def candidate(self, label: str, arguments: dict[str, Any], words: Words, entity: Entity, ids: Words) -> Candidate:
        said, prior, single = self.said, self.prior, "name" in arguments
        hits = said.stems & words
        lacks = self.telling - words | (frozenset() if self._backed(hits) else self.strange)
        lacks |= {entity.domain} if prior and entity.domain not in prior else frozenset()
        place = self.kind and entity.name.casefold() in map(str.casefold, said.areas)
        exact = single and entity.id in said.exact and not place
        score = math.fsum(map(self._weight, hits)) + _PRIOR * prior.get(entity.domain, float(not prior))
        score += _EXACT * exact - _LACK * len(lacks) + _NUMBER * (single != self.grouped)
        if self.near and self.near in (arguments.get("area"), entity.area if single else None):
            score += _NEAR
        return Candidate(label, (arguments,), ids, score, hits, lacks, single, exact)

    def _backed(self, hits: Words) -> bool:
        """Whether a name or, without any thing being named, a place speaks for a candidate."""
        kinds = kind_stems()
        return bool(hits - kinds - self.lex.places) or (hits.isdisjoint(kinds) and (bool(hits) or self.said.here))

    def _weight(self, word: str) -> float:
        count = self.lex.counts[word]
        return math.log(1 + len(self.lex.names) / count) if count else 1.0


def _decided(best: list[Candidate]) -> list[Candidate]:
    """Candidates in order; of single ones that fit equally none comes first: a group that fits as well, or nothing."""
    rivals = [c for c in best if c.single and c.score >= best[0].score - _TIE]
    if not best or not best[0].single or len(rivals) < 2:
        return best
    return [c for c in best if not c.single and c.hits >= best[0].hits][:1]


def all_but(home: Home, group: Candidate, spared: Said) -> list[Candidate]:
    """The group without the things in it that ``spared`` fits best, each by name; empty if that is none or all."""
    rows = zip(home.entities, lexicon(home).described, strict=True)
    inside = [(len(spared.stems & words), e) for e, words in rows if e.id in group.ids]
    most = max((n for n, _ in inside), default=0)
    named = [name_arguments(home, e) for n, e in inside if n != most and e.id not in spared.exact]
    return [replace(group, targets=tuple(n for n in named if n))] if most and named and all(named) else []


def _rows(home: Home, tool: Tool, said: Said, near: str | None) -> Iterator[Row]:
    """The single things that a tool can act on, and those of one kind by place."""
    rows = zip(home.entities, lexicon(home).described, strict=True)
    able = [(e, words) for e, words in rows if tool.acts_on(e.domain)]
    for entity, words in able:
        arguments = name_arguments(home, entity) if tool.argument("name") else None
        if arguments and all(tool.accepted(key) for key in arguments):
            kind = entity.device_class if entity.domain == "cover" and entity.device_class else entity.domain
            yield f"{entity.name} ({kind}{f', {entity.area}' if entity.area else ''})", dict(arguments), words, entity
    classes = ("cover", "binary_sensor", "sensor")
    kinds = {(e.domain, e.device_class if e.domain in classes else None): e for e, _ in able if tool.argument("area")}
    pairs = product(kinds.items(), _places(home, tool, said, near))
    for ((domain, device_class), entity), (where, place, words) in pairs:
        own = {"domain": domain} if len(tool.domains) != 1 or tool.domains == ("*",) else {}
        own |= {"device_class": device_class} if device_class and tool.accepted("device_class") else {}
        label = f"all {kind_of(domain, device_class).plurals[0]} {where}"
        yield label, place | own, words | kind_words(domain, device_class), entity


def _places(home: Home, tool: Tool, said: Said, near: str | None) -> list[tuple[str, dict[str, Any], Words]]:
    """The places that a command can mean, each as a label, arguments and describing words."""
    areas = said.areas or ([near] if near else [])
    places = [(f"in {a}", {"area": a}, area_words(a, home.floor_of.get(a))) for a in areas]
    if tool.single:
        return places
    floors = [(f"on {floor}", {"floor": floor}, stems(floor)) for floor in said.floors]
    return [*places, *floors, ("everywhere", {}, frozenset())]
