"""Homes in the making around utterances: areas and floors as they are said, and entities with names of many styles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from lib.tasks.home.human.said import WORDS
from lib.tasks.home.sampler.homes import called, fill, is_held_out, pools, sample_home
from lib.tasks.home.sampler.sources import ALIASED_SHARE, aliased
from lib.tasks.home.simulator.homes import Area, Entity, Floor, Home
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.words import content, mentions

_ATTEMPTS = 6
_BEFORE = ("{adjective}", "{place}", "{person}'s", "{word}", "{pseudo}", "My", "Old", "{colour}")


class Household:
    """A home in the making around ``text``; ``satellite``: the name of the area where it is heard."""

    def __init__(self, rng: Random, text: str, size: tuple[int, int], held_out: bool) -> None:
        home = sample_home(rng, size, held_out)
        home = aliased(rng, home, held_out) if rng.random() < ALIASED_SHARE else home
        self.rng, self.text, self.held_out = rng, text.casefold(), held_out
        self.areas, self.entities, self.floors = list(home.areas), list(home.entities), list(home.floor_rows)
        self.kept, self.used = set[str](), set[str]()  # ids of entities and names of areas that are there on purpose
        self.satellite = self.any_area().name if rng.random() < 0.6 else None

    def home(self) -> Home:
        return Home(tuple(self.areas), tuple(self.entities), tuple(self.floors))

    def any_area(self, but: Sequence[str] = ()) -> Area:
        """One of the areas, a new one if there is no other than ``but``."""
        found = [a for a in self.areas if a.name not in but]
        if found:
            return self.rng.choice(found)
        self.areas.append(Area(self._unused(), self.areas[0].floor))
        return self.areas[-1]

    def here(self) -> str:
        """The satellite's area, there from now on."""
        self.satellite = self.satellite or self.any_area().name
        self.used.add(self.satellite)
        return self.satellite

    def room(self, where: str) -> str:
        """The name of the area that is said."""
        if where in ("", "here"):
            return self.here()
        names = WORDS["places"].get(where, [where.title()])
        name = names[0] if self.rng.random() < 0.7 else self.rng.choice(names)
        also = (where,) if where not in [n.casefold() for n in called(name)] + [name.casefold()] else ()
        rivals = {n.casefold() for n in (*names, *also)}
        old = [a for a in self.areas if rivals & {a.name.casefold(), *(w.casefold() for w in called(a.name)[1:])}]
        for area in old[1:]:
            self._rename(area, self._unused())
        self._rename(old[0] if old else self.any_area([*self.used]), name, tuple(w.title() for w in also))
        self.used.add(name)
        self.areas = [a if a.name == name else replace(a, aliases=self._other(a, rivals)) for a in self.areas]
        return name

    def _other(self, area: Area, rivals: set[str]) -> tuple[str, ...]:
        return tuple(alias for alias in area.aliases if alias.casefold() not in rivals)

    def _unused(self, but: Sequence[str] = ()) -> str:
        """A name for an area that no area has, of other words than those of ``but``."""
        known, words = {a.name.casefold() for a in self.areas}, content(" ".join(but)) - {"room"}
        free = [n for n in pools()["areas"]["usual"] if n.casefold() not in known and not content(n) & words]
        return self.rng.choice([n for n in free if self.held_out or not is_held_out(n)])

    def forget(self, name: str, where: str) -> None:
        """Gives the area of that name, said as ``where``, a name of other words."""
        area = next(a for a in self.areas if a.name == name)
        self._rename(area, self._unused([*WORDS["places"].get(where, ()), *called(name), where]))

    def _rename(self, area: Area, name: str, aliases: tuple[str, ...] = ()) -> None:
        def moved(e: Entity) -> Entity:
            text = e.name.replace(area.name, name) if e.id not in self.kept else e.name
            return replace(e, area=name, name=text) if e.area == area.name else e

        self.areas = [replace(a, name=name, aliases=aliases) if a.name == area.name else a for a in self.areas]
        self.entities = [moved(e) for e in self.entities]
        self.satellite = name if self.satellite == area.name else self.satellite

    def floor(self, where: str) -> str:
        """The name of the floor that is said, with an area of its own and one elsewhere."""
        name, other = WORDS["floors"][where], WORDS["floors"]["downstairs" if where == "upstairs" else "upstairs"]
        i = self.rng.randrange(len(name))
        while len(self.areas) < 2:
            self.any_area([a.name for a in self.areas])
        some = self.rng.sample(range(len(self.areas)), self.rng.randint(1, len(self.areas) - 1))
        self.areas = [replace(a, floor=(name if k in some else other)[i]) for k, a in enumerate(self.areas)]
        aliases = () if i == 0 or self.rng.random() < 0.6 else (where.title(),)
        self.floors = [Floor(name[i], int(where == "upstairs"), aliases)] if i or self.rng.random() < 0.5 else []
        return name[i]

    def drop(self, test: Callable[[Entity], Any]) -> None:
        """Leaves out the entities that are not there on purpose and pass the test."""
        self.entities = [e for e in self.entities if e.id in self.kept or not test(e)]

    def drop_named(self, tool: str) -> None:
        """Leaves out what ``tool`` acts on and the text names by its whole name, but for what was put there."""
        self.drop(lambda e: TOOLS[tool].acts_on(e.domain) and any(mentions(self.text, n) for n in (e.name, *e.also)))

    def add(self, name: str, domain: str, area: str | None, aliases: tuple[str, ...] = ()) -> Entity:
        """One more entity, at any place of the list; a name that its domain already has gets the area's before it."""
        if any(e.name.casefold() == name.casefold() and e.domain == domain for e in self.entities):
            name = f"{area or 'Other'} {name}"
        slug, taken = f"{domain}." + re.sub(r"\W+", "_", name.casefold()), {e.id for e in self.entities}
        while slug in taken:
            slug += "_2"
        entity = Entity(slug, name, domain, area, None, aliases)
        self.entities.insert(self.rng.randint(0, len(self.entities)), entity)
        self.kept.add(slug)
        return entity

    def name(self, names: Sequence[str], area: str | None, before: float = 0.35) -> str:
        """One of the names, now and then with more words; a held-out one only, and mostly, where they are allowed."""
        wanted = self.held_out and self.rng.random() < 0.7
        options = [n for n in names if is_held_out(n) == wanted] or list(names)
        drawn = (self._longer(self.rng.choice(options), area, before) for _ in range(_ATTEMPTS))
        name = next((n for n in drawn if self.held_out or not is_held_out(n)), options[0])
        return name.lower() if self.rng.random() < 0.08 else name

    def _longer(self, name: str, area: str | None, before: float) -> str:
        if self.rng.random() < 0.2:
            name = fill(f"{self.rng.choice(_BEFORE)} {name}", self.rng)
        named = area and self.rng.random() < before and area.casefold() not in name.casefold()
        return f"{area} {name}" if named else name
