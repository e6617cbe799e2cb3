"""Requests in people's own words: examples to learn from, and dev_human, the held-out set that choices are made by.

``checked.jsonl`` tells which rows of dev_human were read one by one: the utterance's id, a digest of its words and of
what was made of them, and whether that is right. What is wrong is left out, unless something else is made of it now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

from lib.core import paths
from lib.core.files import digest, read_jsonl
from lib.core.task import Example
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.human import utterances
from lib.tasks.home.human.homes import Household
from lib.tasks.home.human.requests import Request, idle, nothing_in, of_sort, request, requests
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.human.variants import understood
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.simulator.homes import Home

SOURCE, DEV = "human", "dev_human"
ACTING = 0.6  # share of dev_human whose utterances ask for something, though not always for what is there
LARGE, LARGE_EVERY, LARGE_OVER = (60, 185), 6, 40  # every sixth home of dev_human is large, where homes may be
IDLE_SHARE = 0.4  # of the homes, in which an utterance is asked, too, that asks for nothing
CHECKED = Path(utterances.__file__).with_name("checked.jsonl")


@dataclass
class People:
    """``train``: what to make rows of; ``undecided`` and ``dev``: rows; ``homes``: theirs, by key.

    ``counts``: read (utterances, one by one) and wrong (how many of them).
    """

    train: list[Utterance] = field(default_factory=list)
    undecided: list[Example] = field(default_factory=list)
    dev: list[Example] = field(default_factory=list)
    homes: dict[str, Home] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def people(params: Mapping[str, Any]) -> People:
    """What ``params`` ask for: seed, human_speech (a folder), dev_human (rows, at most), home_size.

    Nothing where the folder is absent. Raises RecordError for a damaged file.
    """
    said = _read(params["human_speech"])
    found = People(utterances.train(said))
    if said:
        _add_dev(params, utterances.dev(said), found)
    for utterance in found.train if params["human"] else ():
        if reason := understood(utterance).rejected:
            rng = Random(f"undecided {params['seed']} {utterance.id}")
            house = Household(rng, utterance.text, tuple(params["home_size"]), False)
            found.homes[utterance.id] = house.home()
            found.undecided.append(_undecided(utterance, reason, house.satellite))
    return found


def _add_dev(params: Mapping[str, Any], said: Sequence[Utterance], found: People) -> None:
    rows, known = read_jsonl(CHECKED), {u.id: told(u) for u in said}
    wrong = [(row["id"], row["digest"]) for row in rows if not row["right"]]
    found.dev = [e for e in _dev(params, said, found.homes) if known[e.id] not in wrong]
    found.counts = {"read": len({row["id"] for row in rows}), "wrong": len({name for name, _ in wrong})}


@cache
def _read(folder: str) -> list[Utterance]:
    return utterances.read(paths.ROOT / folder if folder else None)


def taught(params: Mapping[str, Any], number: int, count: int) -> Iterator[tuple[list[Example], Home]]:
    """The ``number``-th ``count`` requests to learn from, each with its home; a second one there asks for nothing."""
    rng, said = Random(f"human {params['seed']} {number}"), utterances.train(_read(params["human_speech"]))
    others = idle(said, rng)
    for i, one in enumerate(requests(said, rng, count, tuple(params["home_size"]))):
        key = f"human-{number}-{i}"
        rows, other = [_example(key, one, "train")], next(others, None) if rng.random() < IDLE_SHARE else None
        if other and nothing_in(one.home, other.text):
            draw = Draw(other.text, one.draw.area, [[]], other.intent, f"human:{other.id}")
            rows.append(replace(_example(key, Request(one.home, draw, other), "train"), id=f"{key}-idle"))
        yield rows, one.home


def told(utterance: Utterance) -> tuple[str, str]:
    """An utterance's id, and a digest of its words and its meaning, whatever the home."""
    return utterance.id, digest([utterance.text, repr(understood(utterance))])[:12]


def _example(name: str, made: Request, split: str) -> Example:
    draw = made.draw
    level = "acts" if draw.gold[0] else "asks" if draw.ask else "absent" if draw.wanted else "nothing"
    return Example(name, draw.text, {"home": name, "area": draw.area}, draw.gold, level, SOURCE, split, draw.extra)


def _undecided(utterance: Utterance, reason: str, area: str | None) -> Example:
    """A request without any answer, in a home of its own; a model may find one (lib/training/self_training.py)."""
    extra = {"intent": utterance.intent, "reason": f"no program can tell: {reason}"}
    context = {"home": utterance.id, "area": area}
    return Example(utterance.id, utterance.text, context, [], "undecided", SOURCE, "train", extra)


def _dev(params: Mapping[str, Any], said: Sequence[Utterance], homes: dict[str, Home]) -> Iterator[Example]:
    """At most ``dev_human`` rows, each in a home of its own that depends on the utterance's id alone."""
    acting = int(ACTING * params["dev_human"])
    for acts, count in ((True, acting), (False, params["dev_human"] - acting)):
        some = of_sort(said, acts)
        for number, utterance in enumerate(_spread(some, count)):
            large = number % LARGE_EVERY == 0 and params["home_size"][1] > LARGE_OVER
            rng = Random(f"{DEV} {params['seed']} {utterance.id}")
            made = request(utterance, rng, LARGE if large else tuple(params["home_size"]), True)
            if made and not fault(row := _example(utterance.id, made, DEV), made.home, made.draw.area):
                homes[row.id] = made.home
                yield row


def _spread(given: Sequence[Utterance], count: int) -> list[Utterance]:
    """``count`` utterances in an order drawn by their ids, of each intent in proportion to the root of its number."""
    sizes, ranks = Counter(u.intent for u in given), Counter[str]()
    places: list[tuple[float, str, Utterance]] = []
    for name, utterance in sorted((digest(u.id), u) for u in given):
        ranks[utterance.intent] += 1
        places.append((ranks[utterance.intent] / sqrt(sizes[utterance.intent]), name, utterance))
    return [utterance for *_, utterance in sorted(places)[:count]]
