"""The pools of names that homes are made of, and the split that keeps some of them for testing only.

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
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

HELD_OUT_SHARE = 10
"""One name in this many is never seen in training."""


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
def pools() -> dict[str, Any]:
    """The lists of ``names.yaml``."""
    return yaml.safe_load((Path(__file__).parent / "names.yaml").read_text(encoding="utf-8"))


@cache
def kinds() -> dict[tuple[str, str | None], Kind]:
    """Every kind of device by (domain, device_class)."""
    rows = {}
    for key, row in pools()["kinds"].items():
        domain, _, device_class = key.partition("/")
        kind = Kind(
            domain, device_class or None, row["weight"], *(tuple(row[k]) for k in ("nouns", "words", "plurals"))
        )
        rows[domain, kind.device_class] = kind
    return rows


def kind_of(domain: str, device_class: str | None) -> Kind:
    """The nearest kind: the device class's own, else the domain's, else one made from the domain's name."""
    plain = domain.replace("_", " ")
    fallback = Kind(domain, device_class, 0.0, (), (plain,), (f"{plain}s",))
    return kinds().get((domain, device_class)) or kinds().get((domain, None)) or fallback


@cache
def is_held_out(name: str) -> bool:
    """Whether ``name`` (any case) is kept for dev and test homes."""
    digest = hashlib.sha256(" ".join(name.casefold().split()).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def fill(template: str, rng: Random) -> str:
    """``template`` with its ``{person}``, ``{word}``, ``{colour}`` and ``{n}`` drawn from the pools."""
    lists = {"person": "persons", "word": "words", "colour": "colours"}

    def draw(match: re.Match[str]) -> str:
        key = match.group(1)
        return str(rng.randint(1, 6)) if key == "n" else rng.choice(pools()[lists[key]])

    return re.sub(r"\{(\w+)\}", draw, template)


_ONSETS = (
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gl",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "z",
    "sh",
    "th",
)
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "oo", "ou", "ie")
_CODAS = ("", "", "l", "n", "r", "s", "t", "x", "m", "nd", "rk", "ck", "ll")


def pseudo_word(rng: Random) -> str:
    """An invented word, so that matching is learnt by shape and not by a closed list of names."""
    syllables = (rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS) for _ in range(rng.randint(2, 3)))
    return "".join(syllables).capitalize()


def pick(rng: Random, options: Sequence[str]) -> str:
    """One option, with any pools in it filled."""
    return fill(rng.choice(options), rng)
