"""The compact prompt: the numbered home as a shared prefix, then the request.

>>> from lib.tasks.home.language.references import references
>>> from lib.tasks.home.simulator.homes import Home
>>> refs = references(Home.from_dict({"areas": [{"name": "Den", "floor": "Ground"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}, {"id": "cover.b", "name": "Left", "area": "Den",
...     "device_class": "blind"}]}))
>>> print("".join(prefix(refs)[1:]), end="")
=F1 Ground
=A1 Den (Ground):=light=1 Lamp;=cover (blind)=2 Left
"""

from __future__ import annotations

from lib.core.task import Control, Piece, TaskError
from lib.tasks.home.language.calls import NONE
from lib.tasks.home.language.references import (
    DEVICE_CLASSES,
    DOMAINS,
    MAX_AREAS,
    MAX_ENTITIES,
    MAX_FLOORS,
    Line,
    References,
)
from lib.tasks.home.simulator.homes import Entity
from lib.tasks.home.simulator.tools import CLOSED, TOOLS
from lib.tasks.home.words import clean

START, END = Control("<|im_start|>"), Control("<|im_end|>")
MAX_TEXT = 1_000
"""Characters of a request; longer ones are refused."""
OTHER = "other"
SHOWN_CLASSES = ("cover", "binary_sensor", "sensor", "media_player")
"""Domains whose device class is shown in the home's lines."""


def controls() -> list[str]:
    """The texts that become one token each, in a fixed order; every Control of a prompt or an answer is among them."""
    keys = dict.fromkeys(a.key for t in TOOLS.values() for a in t.arguments if a.key not in CLOSED)
    return [
        *(START, END, "\n", ",", ";", ")", NONE),
        *(f"{name}(" for name in TOOLS),
        *(*CLOSED, *keys),
        *dict.fromkeys(f"={word}" for word in (*DOMAINS, OTHER, *DEVICE_CLASSES)),
        *(f"={i}" for i in range(MAX_ENTITIES + 1)),
        *(f"=A{i}" for i in range(1, MAX_AREAS + 1)),
        *(f"=F{i}" for i in range(1, MAX_FLOORS + 1)),
    ]


def prefix(refs: References) -> list[Piece]:
    """The part of the prompt that all requests of a home share: its floors, then a line an area."""
    pieces: list[Piece] = [START]
    for i, floor in enumerate(refs.floors, 1):
        pieces += [Control(f"=F{i}"), f" {clean(floor)}", Control("\n")]
    for line in refs.lines:
        pieces += _line(refs, line)
    return pieces


def _line(refs: References, line: Line) -> list[Piece]:
    number, numbers = line
    pieces: list[Piece] = ["-:"]
    if number is not None:
        area = refs.areas[number]
        floor = f" ({clean(area.floor)})" if area.floor else ""
        pieces = [Control(f"=A{number + 1}"), f" {clean(area.name)}{floor}:"]
    groups: dict[tuple[str, str], list[int]] = {}
    for i in numbers:
        groups.setdefault(_kind(refs.entities[i]), []).append(i)
    for k, ((domain, shown), members) in enumerate(groups.items()):
        pieces += [Control(";")] if k else []
        pieces += [Control(domain), *([shown] if shown else [])]
        for j, i in enumerate(members):
            pieces += [Control(",")] if j else []
            pieces += [Control(f"={i + 1}"), f" {clean(refs.entities[i].name)}"]
    return [*pieces, Control("\n")]


def _kind(entity: Entity) -> tuple[str, str]:
    """The domain control of an entity's group and the text after it."""
    known = entity.domain in DOMAINS
    details = [] if known else [clean(entity.domain)]
    if entity.device_class and entity.domain in SHOWN_CLASSES:
        details.append(clean(entity.device_class))
    return f"={entity.domain if known else OTHER}", f" ({' '.join(details)})" if details else ""


def request(refs: References, satellite: str | None, text: str) -> list[Piece]:
    """The part of the prompt that belongs to one request, up to where the answer starts.

    ``satellite``: the area of the device that heard it. Raises TaskError for an empty or overlong request.
    """
    said = clean(text)
    if not said:
        raise TaskError("the request is empty: expected what somebody said")
    if len(said) > MAX_TEXT:
        raise TaskError(f"the request has {len(said)} characters: at most {MAX_TEXT} are read; shorten it")
    number = refs.area_number.get(satellite.casefold()) if satellite else None
    return [START, *([Control(f"=A{number}")] if number else []), f" {said}", START]
