"""Free text as people say it: items, titles, messages and names of any words, so that copying is learnt, not a list.

Much of it is invented, compounded or put together at random; letter case and signs vary.

>>> from random import Random
>>> len({free_text(Random(i), "item") for i in range(300)}) > 280
True
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from string import capwords

import yaml

from lib.tasks.home.sampler.homes import pseudo_word
from lib.tasks.home.sampler.templates import compile_text, walk

MOST = 48  # characters; a longer text is drawn again


class _Loader(yaml.SafeLoader):
    """Reads ``!words``: words between spaces, ``-`` for a space within one."""


_Loader.add_constructor("!words", lambda loader, node: str(loader.construct_scalar(node)).split())


@cache
def _lists() -> dict[str, list[str]]:
    text = Path(__file__).with_name("copying.yaml").read_text(encoding="utf-8")
    return yaml.load(text, _Loader)  # noqa: S506


def free_text(rng: Random, kind: str) -> str:
    """A free text of ``kind``: item, search_query, message or name."""
    text = _drawn(rng, kind)
    while len(text) > MOST:
        text = _drawn(rng, kind)
    case = rng.random()
    return text.lower() if case < 0.6 else text if case < 0.9 else capwords(text) if case < 0.97 else text.upper()


def _drawn(rng: Random, kind: str) -> str:
    if kind in ("number", "n"):
        return str(rng.randint(1, 99 if kind == "number" else 9))
    if kind == "pseudo":
        return pseudo_word(rng)
    options = _lists()[kind]
    text = options[int(rng.random() * len(options))]
    if "{" in text or "(" in text:
        return walk(compile_text(text), rng, lambda name, _: _drawn(rng, name))
    return text.replace("-", " ") if rng.random() < 0.8 else text
