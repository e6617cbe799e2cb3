"""The few things of a home that a command can be about, best first, for a function that is already chosen.

Candidates are single entities, the things of a kind in an area, on a floor or everywhere, and for the function that
sends a vacuum somewhere, areas. One scores by the command's words that describe it, rarer ones more.

>>> from lib.tasks.home.simulator.tools import TOOLS
>>> from lib.tasks.home.teacher.lexicon import hear
>>> home = Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Harbor Lamp", "area": "Den"}, {"id": "fan.b", "name": "Fan", "area": "Den"}]})
>>> [c.targets for c in shortlist(home, TOOLS["HassTurnOn"], hear("start the den fan", home), None)]
[({'name': 'Fan'},)]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lib.core.task import TaskError
from lib.tasks.home.sampler.names import kind_of
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.match import CLEAN_AREA, name_arguments, targets
from lib.tasks.home.simulator.tools import Tool
from lib.tasks.home.teacher.lexicon import Said, area_words, kind_stems, kind_words, lexicon, room_stems, stems

LIMIT = 6
_EXACT, _PRIOR, _NEAR, _NUMBER, _LACK = 8.0, 3.0, 1.5, 2.0, 4.0
_TIE, _MARGIN = 0.05, 1.0


@dataclass(frozen=True)
class Candidate:
    """``targets``: the arguments of one call each, which choose the ``ids``; ``label`` shows it to the model.

    ``hits``: the command's words that describe it; ``lacks``: those that name something else; ``single``: it is one
    named entity; ``exact``: named in full.
    """

    label: str
    targets: tuple[Mapping[str, Any], ...]
    ids: frozenset[str] = frozenset()
    score: float = 0.0
    hits: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    single: bool = False
    exact: bool = False


class _Row(NamedTuple):
    """What a candidate is made from; ``words`` describe it, ``entity`` is one of its things."""

    label: str
    arguments: dict[str, Any]
    words: frozenset[str]
    entity: Entity


def shortlist(
    home: Home,
    tool: Tool,
    said: Said,
    satellite: str | None,
    prior: Mapping[str, float] | None = None,
    free: frozenset[str] = frozenset(),
) -> list[Candidate]:
    """Candidates, best first: those that every telling word fits, or where there is none, the best others.

    ``prior``: how much the wording speaks for each domain; ``free``: words that people use in commands of any kind.
    """
    if tool.name == CLEAN_AREA:
        names = said.areas or ((satellite,) if satellite and said.here else ())
        return [Candidate(a, ({"area": a},), frozenset([a])) for a in names][:LIMIT]
    near = satellite if not (said.areas or said.floors) and (said.here or not said.every) else None
    scorer = _Scorer(home, said, prior or {}, near, free)
    found: dict[frozenset[str], Candidate] = {}
    for row in _rows(home, tool, said, near):
        try:
            ids = frozenset(e.id for e in targets(home, tool, row.arguments, satellite))
        except TaskError:
            continue
        candidate = scorer.candidate(row, ids)
        found[ids] = max(found.get(ids, candidate), candidate, key=lambda c: c.score)
    rivals = [c for c in found.values() if not any(_outdone(c, other) for other in found.values())]
    best = sorted(rivals, key=lambda c: -c.score)
    short = _decided([c for c in best if not c.lacks] or best)[:LIMIT]
    return [c for c in short if c.score >= short[0].score - _MARGIN]


class _Scorer:
    """``near``: the satellite's area where it decides. See ``shortlist`` for the others."""

    def __init__(
        self, home: Home, said: Said, prior: Mapping[str, float], near: str | None, free: frozenset[str]
    ) -> None:
        self.said, self.prior, self.near, self.lex = said, prior, near, lexicon(home)
        self.kinds, words = kind_stems(), self.lex.words
        self.telling = said.stems & (self.kinds | room_stems() | (words - free)) | (said.nouns & words)
        """Words that name a thing, kind or place, here or in other homes."""
        self.strange = said.nouns - free - self.kinds - words
        things = self.kinds.union(*self.lex.names) - self.lex.places
        self.grouped = said.plural or said.stems.isdisjoint(things)
        """Whether a group is more likely meant than one thing."""

    def candidate(self, row: _Row, ids: frozenset[str]) -> Candidate:
        said, prior, entity, single = self.said, self.prior, row.entity, "name" in row.arguments
        hits = said.stems & row.words
        lacks = self.telling - row.words | (frozenset() if self._backed(hits) else self.strange)
        lacks |= {entity.domain} if prior and entity.domain not in prior else frozenset()
        exact = single and entity.id in said.exact and not self._is_place(entity)
        score = math.fsum(map(self._weight, hits)) + _PRIOR * prior.get(entity.domain, float(not prior))
        score += _EXACT * exact - _LACK * len(lacks) + _NUMBER * (single != self.grouped)
        if self.near and self.near in (row.arguments.get("area"), entity.area if single else None):
            score += _NEAR
        return Candidate(row.label, (row.arguments,), ids, score, hits, lacks, single, exact)

    def _backed(self, hits: frozenset[str]) -> bool:
        """Whether a name or, without any thing being named, a place speaks for a candidate."""
        named = hits - self.kinds - self.lex.places
        return bool(named) or (hits.isdisjoint(self.kinds) and (bool(hits) or self.said.here))

    def _is_place(self, entity: Entity) -> bool:
        """Whether an entity's name is that of a place, and the command speaks of a kind of thing there."""
        kind = self.said.plural or not self.said.stems.isdisjoint(self.kinds)
        return kind and entity.name.casefold() in map(str.casefold, self.said.areas)

    def _weight(self, word: str) -> float:
        count = self.lex.counts[word]
        return math.log(1 + len(self.lex.names) / count) if count else 1.0


def _outdone(candidate: Candidate, other: Candidate) -> bool:
    """Whether the other one fits more of the command's words, the same ones and further ones."""
    return candidate.hits < other.hits and len(other.lacks) <= len(candidate.lacks)


def _decided(best: list[Candidate]) -> list[Candidate]:
    """Candidates in order; of single ones that fit equally none comes first: a group that fits as well, or nothing."""
    rivals = [c for c in best if c.single and c.score >= best[0].score - _TIE]
    if not best or not best[0].single or len(rivals) < 2:
        return best
    return next(([c] for c in best if not c.single and c.hits >= best[0].hits), [])


def all_but(home: Home, group: Candidate, spared: Said) -> Candidate | None:
    """The group without the things in it that ``spared`` fits best, each by name; None if that is none or all."""
    rows = zip(home.entities, lexicon(home).described, strict=True)
    inside = [(len(spared.stems & words), e) for e, words in rows if e.id in group.ids]
    most = max((n for n, _ in inside), default=0)
    named = [name_arguments(home, e) for n, e in inside if n != most and e.id not in spared.exact]
    return replace(group, targets=tuple(n for n in named if n)) if most and named and all(named) else None


def _rows(home: Home, tool: Tool, said: Said, near: str | None) -> Iterator[_Row]:
    rows = zip(home.entities, lexicon(home).described, strict=True)
    able = [(e, words) for e, words in rows if tool.domains == ("*",) or e.domain in tool.domains]
    for entity, words in able:
        arguments = name_arguments(home, entity) if tool.argument("name") else None
        if arguments and all(tool.accepted(key) for key in arguments):
            kind = entity.device_class if entity.domain == "cover" and entity.device_class else entity.domain
            label = f"{entity.name} ({kind}{f', {entity.area}' if entity.area else ''})"
            yield _Row(label, dict(arguments), words, entity)
    if tool.argument("area"):
        shown = ("cover", "binary_sensor", "sensor")
        kinds = {(e.domain, e.device_class if e.domain in shown else None): e for e, _ in able}
        for (domain, device_class), entity in kinds.items():
            yield from _groups(home, tool, said, near, domain, device_class, entity)


def _groups(
    home: Home, tool: Tool, said: Said, near: str | None, domain: str, device_class: str | None, entity: Entity
) -> Iterator[_Row]:
    """The things of one kind by place."""
    arguments = {"domain": domain} if len(tool.domains) != 1 or tool.domains == ("*",) else {}
    arguments |= {"device_class": device_class} if device_class and tool.accepted("device_class") else {}
    plural, words = kind_of(domain, device_class).plurals[0], kind_words(domain, device_class)
    for area in said.areas or ([near] if near else []):
        place = area_words(area, home.floor_of.get(area))
        yield _Row(f"all {plural} in {area}", {"area": area, **arguments}, words | place, entity)
    if not tool.single:
        for floor in said.floors:
            yield _Row(f"all {plural} on {floor}", {"floor": floor, **arguments}, words | stems(floor), entity)
        yield _Row(f"all {plural} everywhere", arguments, words, entity)
