"""The prompt: the numbered home as a prefix that its requests share, and a request.

>>> from lib.tasks.home.language.references import references
>>> refs = references(Home.from_dict({"areas": [{"name": "Den", "floor": "Ground"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}]}))
>>> print("".join(prefix(refs)[1:]), end="")
=F1 Ground
=A1 Den (Ground):=light=1 Lamp
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lib.core.task import Control, Piece
from lib.tasks.home.language.references import DEVICE_CLASSES, DOMAINS, References
from lib.tasks.home.simulator.homes import Entity, Floor, Home
from lib.tasks.home.simulator.tools import DEFAULT, fitting
from lib.tasks.notation import checked, clean

START, END = Control("<|im_start|>"), Control("<|im_end|>")
OTHER = "other"
SHOWN_CLASSES = ("cover", "binary_sensor", "sensor", "media_player")  # domains that show their device class


def prefix(refs: References) -> list[Piece]:
    """The part of the prompt that all requests of a home share: tools, floors, then a line an area.

    A line has the area's devices, or only their kinds if each request has its own candidates.
    """
    pieces: list[Piece] = [START, *_tools(refs.home)]
    rows = {f.name: f for f in refs.home.floor_rows}
    for i, floor in enumerate(refs.floors, 1):
        row = rows.get(floor, Floor(floor))
        level = "" if row.level is None else f" ({row.level})"
        pieces += [Control(f"=F{i}"), f" {_names(floor, row.aliases)}{level}", Control("\n")]
    loose = refs.per_request and any(e.area not in refs.home.floor_of for e in refs.home.entities)
    for number, numbers in [*refs.lines, *([(None, ())] if loose else [])]:
        pieces += _line(refs, number, numbers)
    return pieces


def _tools(home: Home) -> list[Piece]:
    """Which tools that would fit are not offered, and which are that others do not offer."""
    if home.tools is None:
        return []
    missing = [n for n in fitting(replace(home, tools=None)) if n not in home.tools]
    lines = (" without", missing), (" with", [n for n in home.tools if n not in DEFAULT])
    return [p for word, ns in lines if ns for p in (word, *(Control(f"{n}(") for n in ns), Control("\n"))]


def _names(name: str, aliases: Sequence[str]) -> str:
    return ", ".join(map(clean, (name, *aliases)))


def _line(refs: References, number: int | None, numbers: Sequence[int]) -> list[Piece]:
    pieces: list[Piece] = ["-:"]
    if number is not None:
        area = refs.areas[number]
        floor = f" ({clean(area.floor)})" if area.floor else ""
        pieces = [Control(f"=A{number + 1}"), f" {_names(area.name, area.aliases)}{floor}:"]
    if refs.per_request:
        return [*pieces, *_kinds(refs.home, None if number is None else refs.areas[number].name), Control("\n")]
    groups: dict[tuple[Piece, ...], list[int]] = {}
    for i in numbers:
        groups.setdefault(_kind(refs.entities[i]), []).append(i)
    for k, (kind, members) in enumerate(groups.items()):
        pieces += [*([Control(";")] if k else []), *kind]
        for j, i in enumerate(members):
            pieces += [Control(",")] if j else []
            pieces += [Control(f"={i + 1}"), f" {_names(refs.entities[i].name, refs.entities[i].aliases)}"]
    return [*pieces, Control("\n")]


@lru_cache(maxsize=4096)
def _kinds(home: Home, area: str | None) -> tuple[Piece, ...]:
    """The kinds of device in an area, in one order."""
    return tuple(piece for kind in sorted({_kind(e) for e in home.entities if e.area == area}) for piece in kind)


def _candidates(refs: References) -> list[Piece]:
    """The devices that a request in a large home may speak about, each with its kind and area."""
    pieces: list[Piece] = []
    for i, e in enumerate(refs.entities if refs.per_request else (), 1):
        area = refs.area_number.get((e.area or "").casefold())
        pieces += [*_kind(e), Control(f"={i}"), f" {_names(e.name, e.aliases)}"]
        pieces += [Control(f"=A{area}")] if area else []
    return pieces


def _kind(entity: Entity) -> tuple[Piece, ...]:
    """An entity's domain and device class: controls where they have one, else text."""
    known, shown = entity.domain in DOMAINS, entity.device_class if entity.domain in SHOWN_CLASSES else None
    if known and shown in DEVICE_CLASSES:
        return Control(f"={entity.domain}"), Control(f"={shown}")
    details = " ".join([*([] if known else [clean(entity.domain)]), *([clean(shown)] if shown else [])])
    return Control(f"={entity.domain if known else OTHER}"), *([f" ({details})"] if details else [])


def request(refs: References, satellite: str | None, text: str) -> list[Piece]:
    """The prompt's part for one request, heard in the area ``satellite``. Raises TaskError as ``checked``."""
    said = checked(text)
    number = refs.area_number.get(satellite.casefold()) if satellite else None
    return [*_candidates(refs), START, *([Control(f"=A{number}")] if number else []), f" {said}", START]
