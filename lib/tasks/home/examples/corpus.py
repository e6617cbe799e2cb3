"""Names, wordings and sampled requests, always the same, for choosing a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

from lib.tasks.home.examples.data import LEVELS, requests
from lib.tasks.home.language.prompt import prefix
from lib.tasks.home.language.references import references
from lib.tasks.home.sampler.grammar import Sampler
from lib.tasks.home.sampler.names import pools
from lib.tasks.home.sampler.phrases import bank
from lib.tasks.home.sampler.sample_homes import sample_home

SEED = 20_000


@cache
def corpus() -> tuple[str, ...]:
    """The texts, each with a space before it or as the prefix of a home's prompts."""
    return (*_strings(pools()), *_strings(bank()), *_sampled())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f" {value}"
    elif isinstance(value, Iterable):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(inner)


def _sampled() -> Iterator[str]:
    rng, sampler = Random(SEED), Sampler("en")
    for _ in range(200):
        home = sample_home(rng, (3, 40))
        yield "".join(prefix(references(home)))
        for _, draw in requests(rng, home, dict.fromkeys(LEVELS, 1.0), 20, False, sampler):
            yield f" {draw.text}"
