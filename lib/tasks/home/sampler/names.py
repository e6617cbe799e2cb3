"""The tables of this folder's YAML files: names that homes are made of, and which of them are kept for testing only.

A name belongs to the held-out tenth by its own hash, so that training and testing homes can be drawn at any time, in
any order, and never share a held-out name:

>>> is_held_out("Harbor Lamp"), is_held_out("harbor lamp")
(False, False)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.tasks.home.simulator.homes import Entity

HELD_OUT_SHARE = 10
"""One name in this many is never seen in training."""
_LISTS = {"person": "persons", "word": "words", "colour": "colours", "adjective": "adjectives", "place": "places"}


@cache
def table(name: str) -> dict[str, Any]:
    """The tables of ``name.yaml``."""
    return yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))


pools, wordings, weights = (partial(table, name) for name in ("names", "wordings", "weights"))


@dataclass(frozen=True)
class Kind:
    """A kind of device: its domain and class, how common it is, and what people call it."""

    domain: str
    device_class: str | None
    weight: float
    nouns: tuple[str, ...]
    words: tuple[str, ...]
    plurals: tuple[str, ...]


@cache
def kinds() -> dict[tuple[str, str | None], Kind]:
    """Every kind of device by (domain, device_class)."""
    rows: dict[tuple[str, str | None], Kind] = {}
    for key, row in pools()["kinds"].items():
        domain, _, device_class = key.partition("/")
        called = (tuple(row[k]) for k in ("nouns", "words", "plurals"))
        rows[domain, device_class or None] = Kind(domain, device_class or None, row["weight"], *called)
    return rows


def kind_of(domain: str, device_class: str | None) -> Kind:
    """The nearest kind: the device class's own, else the domain's, else one made from the domain's name."""
    plain = domain.replace("_", " ")
    fallback = Kind(domain, device_class, 0.0, (), (plain,), (f"{plain}s",))
    return kinds().get((domain, device_class)) or kinds().get((domain, None)) or fallback


def called(area: str) -> list[str]:
    """An area's name and what people also call it."""
    return [area, *pools()["synonyms"].get(area, ())]


def fits(entity: Entity, kinds: Sequence[str]) -> bool:
    """Whether ``entity`` is one of ``kinds``, each a domain or ``domain/device_class``."""
    return entity.domain in kinds or f"{entity.domain}/{entity.device_class}" in kinds


def in_share(text: str, share: int) -> bool:
    """Whether ``text`` is of the one in ``share`` that its hash chooses."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % share == 0


@cache
def is_held_out(name: str) -> bool:
    """Whether ``name`` (any case) is kept for dev and test homes."""
    return in_share(" ".join(name.casefold().split()), HELD_OUT_SHARE)


def fill(template: str, rng: Random) -> str:
    """``template`` with its ``{person}``, ``{word}``, … drawn from the pools, ``{pseudo}`` invented, ``{n}`` 1 to 6."""

    def draw(match: re.Match[str]) -> str:
        if match[1] == "n":
            return str(rng.randint(1, 6))
        return pseudo_word(rng) if match[1] == "pseudo" else rng.choice(pools()[_LISTS.get(match[1], match[1])])

    return re.sub(r"\{(\w+)\}", draw, template)


def pseudo_word(rng: Random) -> str:
    """An invented word, so that matching is learnt by shape and not by a closed list of names."""
    parts = wordings()["syllables"]
    drawn = (rng.choice(parts[k]) for _ in range(rng.randint(2, 3)) for k in ("onsets", "nuclei", "codas"))
    return "".join(drawn).capitalize()


def pick(rng: Random, options: Sequence[str]) -> str:
    """One option, with any pools in it filled."""
    return fill(rng.choice(options), rng)
