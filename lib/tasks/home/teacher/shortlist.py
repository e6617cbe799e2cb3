"""The few things of a home that a command can be about, best first, for a function that is already chosen.

Candidates are single entities, the things of a kind in an area, on a floor or everywhere, and for the function that
sends a vacuum somewhere, areas. One scores by the command's words that describe it, rarer ones more.

>>> from lib.tasks.home.teacher.describe import hear
>>> from lib.tasks.home.simulator.tools import TOOLS
>>> home = Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Harbor Lamp", "area": "Den"}, {"id": "fan.b", "name": "Fan", "area": "Den"}]})
>>> [c.targets for c in shortlist(home, TOOLS["HassTurnOn"], hear("start the den fan", home))[:1]]
[({'name': 'Fan'},)]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib.core.task import TaskError
from lib.tasks.home.language.gold import name_arguments
from lib.tasks.home.sampler.names import kind_of
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.match import CLEAN_AREA, targets
from lib.tasks.home.simulator.tools import Tool
from lib.tasks.home.teacher.describe import Said, area_words, kind_stems, kind_words, lexicon, nouns, room_stems
from lib.tasks.home.words import stems

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
    ids: frozenset[str]
    score: float
    hits: frozenset[str]
    lacks: frozenset[str]
    single: bool = True
    exact: bool = False


Row = tuple[str, dict[str, Any], frozenset[str], Entity]
"""Label, arguments, describing words, and an entity of it."""


def shortlist(
    home: Home,
    tool: Tool,
    said: Said,
    satellite: str | None = None,
    prior: Mapping[str, float] | None = None,
    free: frozenset[str] = frozenset(),
) -> list[Candidate]:
    """Candidates, best first: those that every telling word fits, or where there is none, the best others.

    ``prior``: how much the wording speaks for each domain; ``free``: words that people use in commands of any kind.
    """
    if tool.name == CLEAN_AREA:
        return _areas(said, satellite)
    near = satellite if not (said.areas or said.floors) and (said.here or not said.every) else None
    request = _Request(home, said, prior or {}, near, *_words(home, said, free))
    found: dict[frozenset[str], Candidate] = {}
    for row in _all(home, tool, said, near):
        try:
            ids = frozenset(e.id for e in targets(home, tool, row[1], satellite))
        except TaskError:
            continue
        candidate = _candidate(request, row, ids)
        if ids not in found or found[ids].score < candidate.score:
            found[ids] = candidate
    best = sorted((c for c in found.values() if not _outdone(c, found.values())), key=lambda c: -c.score)
    short = decided([c for c in best if not c.lacks] or best)[:LIMIT]
    return [c for c in short if c.score >= short[0].score - _MARGIN]


@dataclass(frozen=True)
class _Request:
    """``near``: the satellite's area where it decides; ``telling``, ``strange``: words that a target must be called;
    ``grouped``: a group is more likely meant than one thing.
    """

    home: Home
    said: Said
    prior: Mapping[str, float]
    near: str | None
    telling: frozenset[str]
    strange: frozenset[str]
    grouped: bool


def _words(home: Home, said: Said, free: frozenset[str]) -> tuple[frozenset[str], frozenset[str], bool]:
    """The words that name a thing, kind or place, here or in other homes; unknown nouns; whether a group is meant."""
    lex = lexicon(home)
    things = kind_stems().union(*lex.names) - _places(home)
    telling = said.stems & (kind_stems() | room_stems() | (lex.words - free)) | (nouns(said) & lex.words)
    return telling, nouns(said) - free - kind_stems() - lex.words, said.plural or not said.stems & things


def _places(home: Home) -> frozenset[str]:
    return frozenset().union(*(area_words(a.name, a.floor) for a in home.areas))


def _is_place(request: _Request, entity: Entity) -> bool:
    """Whether an entity's name is that of a place, and the command speaks of a kind of thing there."""
    kind = request.said.plural or bool(request.said.stems & kind_stems())
    return kind and entity.name.casefold() in map(str.casefold, request.said.areas)


def _backed(request: _Request, hits: frozenset[str]) -> bool:
    """Whether a name or, without any thing being named, a place speaks for a candidate."""
    named = hits - kind_stems() - _places(request.home)
    return bool(named) or (not hits & kind_stems() and (bool(hits) or request.said.here))


def _candidate(request: _Request, row: Row, ids: frozenset[str]) -> Candidate:
    label, arguments, words, entity = row
    said, prior, single = request.said, request.prior, "name" in arguments
    hits = said.stems & words
    lacks = request.telling - words | (frozenset() if _backed(request, hits) else request.strange)
    lacks |= {entity.domain} if prior and entity.domain not in prior else frozenset()
    exact = single and entity.id in said.exact and not _is_place(request, entity)
    score = math.fsum(_weight(request.home, w) for w in hits) + _PRIOR * prior.get(entity.domain, float(not prior))
    score += _EXACT * exact - _LACK * len(lacks) + _NUMBER * (single != request.grouped)
    here = arguments.get("area") == request.near or (single and entity.area == request.near)
    score += _NEAR * (request.near is not None and here)
    return Candidate(label, (arguments,), ids, score, hits, lacks, single, exact)


def _outdone(candidate: Candidate, others: Iterable[Candidate]) -> bool:
    """Whether another one fits more of the command's words, the same ones and further ones."""
    return any(candidate.hits < other.hits and len(other.lacks) <= len(candidate.lacks) for other in others)


def decided(best: list[Candidate]) -> list[Candidate]:
    """Candidates in order; of single ones that fit equally none comes first: a group that fits as well, or nothing."""
    rivals = [c for c in best if c.single and c.score >= best[0].score - _TIE]
    if not best or not best[0].single or len(rivals) < 2:
        return best
    group = next((c for c in best if not c.single and c.hits >= best[0].hits), None)
    return [group] if group else []


def all_but(home: Home, group: Candidate, spared: Said) -> Candidate | None:
    """The group without the things in it that ``spared`` fits best, each by name; None if that is none or all."""
    lex = lexicon(home)
    inside = [(len(spared.stems & lex.described[i]), e) for i, e in enumerate(home.entities) if e.id in group.ids]
    most = max((n for n, _ in inside), default=0)
    kept = [e for n, e in inside if n == most or e.id in spared.exact]
    named = [name_arguments(home, e) for _, e in inside if e not in kept]
    if not most or not named or not all(named):
        return None
    ids = group.ids - {e.id for e in kept}
    return replace(group, label=f"{group.label} but {spared.text}", targets=tuple(n for n in named if n), ids=ids)


def _weight(home: Home, word: str) -> float:
    return math.log(1 + len(home.entities) / lexicon(home).counts[word]) if word in lexicon(home).counts else 1.0


def _all(home: Home, tool: Tool, said: Said, near: str | None) -> Iterator[Row]:
    able = [(e, words) for e, words in zip(home.entities, lexicon(home).described, strict=True) if _fits(tool, e)]
    for entity, words in able:
        arguments = name_arguments(home, entity) if tool.argument("name") else None
        if arguments and all(tool.accepted(key) for key in arguments):
            yield (
                f"{entity.name} ({_kind(entity)}{', ' + entity.area if entity.area else ''})",
                dict(arguments),
                words,
                entity,
            )
    if tool.argument("area"):
        kinds = {
            (e.domain, e.device_class if e.domain in ("cover", "binary_sensor", "sensor") else None): e for e, _ in able
        }
        for (domain, device_class), entity in kinds.items():
            yield from _groups(home, tool, said, near, domain, device_class, entity)


def _groups(
    home: Home, tool: Tool, said: Said, near: str | None, domain: str, device_class: str | None, entity: Entity
) -> Iterator[Row]:
    """The things of one kind by place."""
    arguments = {"domain": domain} if len(tool.domains) != 1 or tool.domains == ("*",) else {}
    arguments |= {"device_class": device_class} if device_class and tool.accepted("device_class") else {}
    plural, words = kind_of(domain, device_class).plurals[0], kind_words(domain, device_class)
    for area in said.areas or ([near] if near else []):
        place = area_words(area, home.floor_of.get(area))
        yield f"all {plural} in {area}", {"area": area, **arguments}, words | place, entity
    if not tool.single:
        for floor in said.floors:
            yield f"all {plural} on {floor}", {"floor": floor, **arguments}, words | stems(floor), entity
        yield f"all {plural} everywhere", dict(arguments), words, entity


def _areas(said: Said, satellite: str | None) -> list[Candidate]:
    names = said.areas or ((satellite,) if satellite and said.here else ())
    return [Candidate(a, ({"area": a},), frozenset([a]), 1.0, frozenset(), frozenset(), False) for a in names][:LIMIT]


def _fits(tool: Tool, entity: Entity) -> bool:
    return tool.domains == ("*",) or entity.domain in tool.domains


def _kind(entity: Entity) -> str:
    return entity.device_class if entity.domain == "cover" and entity.device_class else entity.domain
