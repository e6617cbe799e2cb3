"""What the teacher works on: seeds to expand and requests to be tested on, drawn once and kept with its recording.

So a change of the sampler does not make the recording useless. Seeds come from training homes and allowed combinations
only, tests from held-out names, like all of this task's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lib.core.task import Example
from lib.tasks.home.examples import data
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.language.references import FILTER_OVER
from lib.tasks.home.sampler.sample_homes import sample_home
from lib.tasks.home.simulator.homes import Home
from lib.teacher.contract import TeacherSet

SHARES = {"L0": 1.8, "L1": 1.6, "L2": 2.2, "L3": 1.5, "L4": 0.4, "L5": 1.2, "L6": 1.6}
"""More of the levels that people's own words matter for."""
PER_HOME, SIZE = 16, (2, FILTER_OVER)
FEWEST_WORDS = 3  # a shorter seed ("please", "set to") has no other way to be said


def draw(seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
    """A teacher's set over new homes, the same for the same numbers; ``tests`` is of each level."""
    homes: dict[str, Home] = {}
    found = list(_seeds(Random(f"teacher seeds {seed}"), "t", seeds, homes))
    shown = list(_seeds(Random(f"teacher pool {seed}"), "p", pool, homes))
    balanced = data.balanced(Random(f"teacher tests {seed}"), "dev", tests, SIZE, homes, "teacher")
    return TeacherSet(homes, found, list(balanced), shown)


def _seeds(rng: Random, prefix: str, count: int, homes: dict[str, Home]) -> Iterator[Example]:
    made = 0
    while made < count:
        key = f"teacher-{len(homes)}"
        homes[key] = home = sample_home(rng, SIZE)
        for level, draw_ in data.requests(rng, home, SHARES, PER_HOME, False):
            example = data.to_example(f"{prefix}{made}", key, level, draw_, "train")
            if made < count and len(draw_.text.split()) >= FEWEST_WORDS and not fault(example, home, draw_.area):
                made += 1
                yield example
