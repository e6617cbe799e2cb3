"""What people said to voice assistants: four public corpora in one file, and the part that is held out.

The file is not part of the project: ``python -m lib.human_speech`` makes it (lib/tasks/home/human/corpora.py).
Utterances that differ in order, number, politeness, digits and small words alone are near-duplicates and stay
together; a sixth of these groups, by hash, is held out.

>>> key("Please turn off the lamps, Alexa!") == key("turn the lamp off")
True
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib.core.files import RecordError, Row, lines, strict
from lib.tasks.home.sampler.homes import in_share
from lib.tasks.home.words import stem, stems, words

FILE = "utterances.jsonl.gz"
SHA256 = "1ea1432c8748f9964104aeea81eb349a459945a2332d741a67b70bd2309512c7"  # of the decompressed file
REMEDY = "make it again with python -m lib.human_speech (README.md)"
KEYS = ("id", "intent", "text", "slots")
HELD_OUT_SHARE = 6
NEAR = 0.8  # share of common words from which a held-out utterance is too near to one for training
_SMALL = frozenset(
    "i me you it is are be am do can could would will want need s m d ll let us and some for with hey ok okay now"
    " alexa olly siri google pda assistant kindly just".split()
)


@dataclass(frozen=True)
class Utterance:
    """What somebody said; ``slots``: pairs of the corpus's slot name and words; ``id``: corpus/number."""

    id: str
    intent: str
    text: str
    slots: tuple[tuple[str, str], ...]


def read(folder: Path | None, sha256: str = SHA256) -> list[Utterance]:
    """All utterances; none if there is no such folder. Raises RecordError: file, line, remedy."""
    if folder is None or not folder.is_dir():
        return []
    found, whole = list[Utterance](), hashlib.sha256()
    for where, line in lines(folder / FILE, REMEDY):
        found.append(_utterance(where, strict(where, line, REMEDY)))
        whole.update(line)
    if whole.hexdigest() != sha256:
        raise RecordError(f"{FILE}: another SHA-256 than that of the known file: {REMEDY}")
    return found


def _utterance(where: str, row: Row) -> Utterance:
    if missing := [k for k in KEYS if k not in row]:
        raise RecordError(f"{where}: '{missing[0]}' is missing: {REMEDY}")
    slots, strings = row["slots"], [row["id"], row["intent"], row["text"]]
    pairs = isinstance(slots, list) and all(isinstance(s, list) and [*map(type, s)] == [str, str] for s in slots)
    if not pairs or not all(isinstance(v, str) for v in strings):
        raise RecordError(f"{where}: 'slots' must be pairs of strings, all else a string: {REMEDY}")
    return Utterance(row["id"], row["intent"], row["text"], tuple((name, value) for name, value in slots))


@lru_cache(maxsize=65536)
def key(text: str) -> frozenset[str]:
    """The words by which near-duplicates are found: stems without small words, all numbers alike."""
    found = frozenset("#" if w.isdigit() else w for w in stems(text)) - _SMALL
    return found or frozenset(stem(w) for w in words(text))


def is_held_out(utterance: Utterance) -> bool:
    """Whether its group of near-duplicates is kept for dev_human."""
    return in_share(" ".join(sorted(key(utterance.text))), HELD_OUT_SHARE)


def train(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Those to learn from."""
    return [u for u in utterances if not is_held_out(u)]


def dev(utterances: Sequence[Utterance]) -> list[Utterance]:
    """One of each group that is held out and has no near-duplicate among those to learn from."""
    groups = {key(u.text): u for u in reversed(utterances) if is_held_out(u)}
    near_ = near(groups, {key(u.text) for u in train(utterances)})
    return [u for words_, u in reversed(groups.items()) if words_ not in near_]


def near(given: Iterable[frozenset[str]], others: set[frozenset[str]]) -> set[frozenset[str]]:
    """Those of ``given`` that share at least NEAR of all words with one of the ``others``."""
    often = Counter(w for ws in others for w in ws)
    index = defaultdict[str, list[frozenset[str]]](list)
    for other in others:
        for word in other:
            index[word].append(other)
    return {ws for ws in given if any(_shared(ws, o) >= NEAR for w in _rarest(ws, often) for o in index.get(w, ()))}


def _rarest(given: frozenset[str], often: Counter[str]) -> list[str]:
    """So many of the rarest words that two sets which share NEAR of their words have one of them in common."""
    return sorted(given, key=lambda w: (often[w], w))[: len(given) - int(NEAR * len(given)) + 1]


def _shared(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
