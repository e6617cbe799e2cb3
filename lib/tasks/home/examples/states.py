"""The test "states": what devices say, one kind after the other, and requests of the same words to do nothing.

Homes are of held-out names; sentences are those that training does not have, where there are some.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from lib.core.task import Example
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.examples.data import is_held_out, to_example
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.homes import Kind, kinds, sample_home, with_device
from lib.tasks.home.sampler.levels import satellite
from lib.tasks.home.sampler.phrases import surface
from lib.tasks.home.sampler.questions import about, bank, idle, topics_of
from lib.tasks.home.simulator.homes import Home

STATES, NOTHING = "states", "nothing"
SIZE = (4, 40)  # devices of a home
_ATTEMPTS = 40  # draws after which a sentence that is not held out is taken, too


def states(count: int = 300, seed: int = 1) -> list[Example]:
    """``count`` requests, always the same; ``level``: the domain that is asked about, or "nothing" (two of five)."""
    rng, unseen, rows = Random(f"{STATES} {seed}"), bank()["unseen"], list[Example]()
    asked = [kind for kind in kinds().values() if topics_of(kind.domain, kind.device_class)]
    rng.shuffle(asked)
    for i in range(count):
        kind, sentence = asked[i * 3 // 5 % len(asked)], unseen[i // 5 % len(unseen)] if i % 5 == 3 else ""
        level = NOTHING if i % 5 in (1, 3) else kind.domain
        home, draw = _nothing(rng, sentence) if level == NOTHING else _question(rng, kind)
        example = _example(draw, f"{STATES}-{i}", level)
        rows.append(replace(example, text=surface(rng, draw.text), context={"home": home, "area": draw.area}))
    return rows


def _example(draw: Draw, name: str = "", level: str = "") -> Example:
    return to_example(name, "", level, draw, STATES)


def _question(rng: Random, kind: Kind) -> tuple[Home, Draw]:
    attempt = 0
    while True:
        home, entity = with_device(rng, sample_home(rng, SIZE, held_out=True), kind, held_out=True)
        draw, attempt = about(rng, home, entity, satellite(rng, home)), attempt + 1
        if (
            draw
            and (is_held_out(draw.combination) or attempt > _ATTEMPTS)
            and not fault(_example(draw), home, draw.area)
        ):
            return home, draw


def _nothing(rng: Random, sentence: str) -> tuple[Home, Draw]:
    while True:
        home = sample_home(rng, SIZE, held_out=True)
        area = satellite(rng, home)
        draw = Draw.nothing(sentence, area, "world:unseen") if sentence else idle(rng, home, area)
        if draw:
            return home, draw
