"""Data sets of the home task, sampled by level and split, and what its teacher works on.

Training homes never hold a held-out name (``homes.is_held_out``) nor training requests a held-out combination of
template and domain; dev and test homes are made of held-out names and draw from all combinations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from lib.core.files import dumps, write_jsonl, write_text
from lib.core.task import Example, TaskError
from lib.tasks.home.examples import human
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.language.prompts import prefix
from lib.tasks.home.language.references import FILTER_OVER, references
from lib.tasks.home.sampler import grammar, levels, questions
from lib.tasks.home.sampler.abilities import hard
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.groups import abilities
from lib.tasks.home.sampler.homes import in_share, pools, sample_home
from lib.tasks.home.sampler.phrases import bank, surface
from lib.tasks.home.sampler.policy import settled
from lib.tasks.home.sampler.sources import varied
from lib.tasks.home.sampler.wishes import implicit, nothing
from lib.tasks.home.simulator.homes import Home
from lib.teacher.contract import TeacherSet

LEVELS: dict[str, Callable[[Random, Home], Draw | None]] = {
    **{"L0": grammar.draw, "L1": levels.partial, "L2": levels.free, "L3": levels.several},
    **{"L4": levels.noisy, "L5": implicit, "L6": nothing, "L7": questions.question, "L8": hard},
}
HELD_OUT_COMBINATIONS = 20  # one combination of template and domain in this many is kept for dev and test
CHUNK = 5_000  # training requests that are drawn together
_BESIDE = 5  # requests of the program in each home that was made around people's words
_ATTEMPTS = 60
CORPUS_SEED = 20_000


def is_held_out(combination: str) -> bool:
    """Whether a combination of template and domain is kept for dev and test."""
    return in_share(combination, HELD_OUT_COMBINATIONS)


def requests(
    rng: Random, home: Home, shares: Mapping[str, float], count: int, held_out: bool
) -> Iterator[tuple[str, Draw]]:
    """``count`` (level, request) pairs for one home, levels drawn by ``shares``; fewer if nothing is left to ask."""
    for _ in range(count):
        level = rng.choices(list(shares), list(shares.values()))[0]
        draw = draw_request(rng, home, level, held_out)
        if draw:
            yield level, draw


def draw_request(rng: Random, home: Home, level: str, held_out: bool) -> Draw | None:
    """One request of a level, as written or recognised; None where ``home`` has none that the split allows."""
    for _ in range(_ATTEMPTS):
        draw = LEVELS[level](rng, home)
        if draw and (held_out or not is_held_out(draw.combination)):
            draw = settled(replace(draw, text=surface(rng, draw.text)), home)
            if draw and not fault(to_example("", "", level, draw, ""), home, draw.area):
                return draw
    return None


def sample(params: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Writes ``01_homes.jsonl``, ``01_prototype.jsonl`` (seeds) and ``01_tests.jsonl`` (dev and test) under ``out``.

    ``params``: seed, seeds (training requests), dev and test (requests a level), home_size [low, high], per_home
    (requests a home in training), shares (level -> share of the seeds), and those of ``human.people``. Returns counts.
    Raises TaskError, or RecordError for a damaged file of utterances.
    """
    shares, size = params["shares"], tuple(params["home_size"])
    if not shares or not shares.keys() <= LEVELS.keys() or min(shares.values()) < 0 or not sum(shares.values()):
        raise TaskError(f"shares: {dict(shares)}: expected a share of at least 0 for levels among {', '.join(LEVELS)}")
    if not 1 <= size[0] <= size[1]:
        raise TaskError(f"home_size: {list(size)}: expected [low, high] with 1 <= low <= high")
    homes, tests = dict[str, Home](), list[Example]()
    for split in ("dev", "test"):
        tests += balanced(Random(f"{split} {params['seed']}"), split, params[split], size, homes)
    people = human.people(params)
    chunks = [_lines(homes | people.homes, people.undecided), *_chunks(_training, params, "seeds")]
    chunks += _chunks(_around, params, "human") if people.train else []
    write_text(out / "01_homes.jsonl", "".join(chunk.homes for chunk in chunks))
    write_text(out / "01_prototype.jsonl", "".join(chunk.rows for chunk in chunks))
    write_jsonl(out / "01_tests.jsonl", (e.to_dict() for e in [*tests, *people.dev]))
    levels, sources = (sum((getattr(c, name) for c in chunks), Counter[str]()) for name in ("levels", "sources"))
    counts = {
        "homes": sum(c.homes.count("\n") for c in chunks),
        "seeds": levels.total(),
        "levels": dict(sorted(levels.items())),
    }
    told = {**people.counts, "human": sources["human"] + len(people.dev)} if people.train else {}
    return {**counts, "tests": len(tests) + len(people.dev), **told}


@dataclass(frozen=True)
class _Chunk:
    """Homes and training requests as JSON lines, and how many requests there are by level and by source."""

    homes: str
    rows: str
    levels: Counter[str]
    sources: Counter[str]


def _lines(homes: Mapping[str, Home], rows: Sequence[Example]) -> _Chunk:
    texts = ({"id": key, **home.to_dict()} for key, home in homes.items()), (e.to_dict() for e in rows)
    homes_text, rows_text = ("".join(dumps(row) + "\n" for row in some) for some in texts)
    drawn = [e for e in rows if "reason" not in e.extra]
    return _Chunk(homes_text, rows_text, Counter(e.level for e in drawn), Counter(e.source for e in drawn))


def _chunks(draw: Callable[[Mapping[str, Any], int, int], _Chunk], params: Mapping[str, Any], key: str) -> list[_Chunk]:
    """``params[key]`` requests in chunks, each by a process if there are several; the same on any number of cores."""
    sizes = [min(CHUNK, params[key] - at) for at in range(0, params[key], CHUNK)]
    given = [params] * len(sizes), range(len(sizes)), sizes
    if len(sizes) < 2:
        return list(map(draw, *given))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(draw, *given), key, len(sizes), unit=f" x {CHUNK:,} requests", disable=None))


def _training(params: Mapping[str, Any], number: int, count: int) -> _Chunk:
    rng, homes, rows = Random(f"train {params['seed']} {number}"), dict[str, Home](), list[Example]()
    while len(rows) < count:
        key = f"train-{number}-{len(homes)}"
        homes[key] = home = varied(rng, sample_home(rng, tuple(params["home_size"])))
        for level, draw in requests(rng, home, params["shares"], min(params["per_home"], count - len(rows)), False):
            rows.append(to_example(f"seed-{number * CHUNK + len(rows)}", key, level, draw, "train"))
    return _lines(homes, rows)


def _around(params: Mapping[str, Any], number: int, count: int) -> _Chunk:
    """People's requests, and in their homes some of the program's: much alike, and to be told apart."""
    rng, homes, rows = Random(f"beside {params['seed']} {number}"), dict[str, Home](), list[Example]()
    for said, home in human.taught(params, number, count):
        homes[key := said[0].id] = home
        beside = requests(rng, home, params["shares"], _BESIDE, False)
        rows += [*said, *(to_example(f"{key}-{i}", key, *drawn, "train") for i, drawn in enumerate(beside))]
    return _lines(homes, rows)


def balanced(
    rng: Random, split: str, per_level: int, size: Any, homes: dict[str, Home], start: str = ""
) -> Iterator[Example]:
    """``per_level`` requests a level over new ``homes`` of held-out names; ids begin with ``split``.

    Those of the teacher begin with ``start`` and have its levels only.
    """
    missing, numbers = dict.fromkeys(SHARES if start else LEVELS, per_level), count()
    while any(missing.values()):
        key = f"{start}-test-{next(numbers)}" if start else f"{split}-{next(numbers)}"
        home = sample_home(rng, size, held_out=True)
        home = home if start else varied(rng, home, held_out=True)
        for level in missing:
            for _ in range(min(3, missing[level])):
                draw = draw_request(rng, home, level, True)
                if draw is None:
                    break
                name = f"{start or split}-{level}-{per_level - missing[level]}"
                homes[key] = home
                missing[level] -= 1
                yield to_example(name, key, level, draw, split)


def to_example(example_id: str, home: str, level: str, draw: Draw, split: str) -> Example:
    """A drawn request as an Example; ``home`` is the key of its home."""
    source = "grammar" if level == "L0" else "program"
    context = {"home": home, "area": draw.area}
    return Example(example_id, draw.text, context, draw.gold, level, source, split, draw.extra)


@cache
def corpus() -> tuple[str, ...]:
    """Names, wordings and sampled requests, always the same, for choosing a vocabulary."""
    tables = pools(), bank(), abilities(), questions.bank()
    return (*chain.from_iterable(map(_strings, tables)), *_sampled())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f" {value}"
    elif isinstance(value, Iterable):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(inner)


def _sampled() -> Iterator[str]:
    rng = Random(CORPUS_SEED)
    for _ in range(200):
        home = varied(rng, sample_home(rng, (3, 40)))
        yield "".join(prefix(references(home)))
        for _, draw in requests(rng, home, dict.fromkeys(LEVELS, 1.0), 20, False):
            yield f" {draw.text}"


# of the levels that the teacher was recorded with
SHARES = {"L0": 1.8, "L1": 1.6, "L2": 2.2, "L3": 1.5, "L4": 0.4, "L5": 1.2, "L6": 1.6}
PER_HOME, SIZE = 16, (2, FILTER_OVER)
FEWEST_WORDS = 3  # a shorter seed ("please", "set to") has no other way to be said


def teacher_set(seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
    """What the teacher works on, over new homes: seeds to expand, tests (so many of each level), a pool of examples."""
    homes: dict[str, Home] = {}
    found = list(_seeds(Random(f"teacher seeds {seed}"), "t", seeds, homes))
    shown = list(_seeds(Random(f"teacher pool {seed}"), "p", pool, homes))
    tested = list(balanced(Random(f"teacher tests {seed}"), "dev", tests, SIZE, homes, "teacher"))
    return TeacherSet(homes, found, tested, shown)


def _seeds(rng: Random, start: str, count: int, homes: dict[str, Home]) -> Iterator[Example]:
    made = 0
    while made < count:
        key = f"teacher-{len(homes)}"
        homes[key] = home = sample_home(rng, SIZE)
        for level, draw in requests(rng, home, SHARES, PER_HOME, False):
            if made < count and len(draw.text.split()) >= FEWEST_WORDS:
                yield to_example(f"{start}{made}", key, level, draw, "train")
                made += 1
