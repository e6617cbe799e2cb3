"""Variants of utterances: other values, two in one breath, a place or a player added, case and punctuation."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from random import Random

from lib.tasks.home.human.meanings import Meaning, Target, Want, meaning
from lib.tasks.home.human.refilling import refilled
from lib.tasks.home.human.said import WORDS
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.sampler.phrases import joined

JOINED_SHARE, PLACED_SHARE, WRITTEN_SHARE = 0.07, 0.2, 0.15
_LONGEST = 9  # words of an utterance that is joined to another
_CALLED = re.compile(r"\b(?:olly|alexa|siri|google|hey|hi|hello)\b", re.IGNORECASE)
understood = cache(meaning)


def varied(rng: Random, first: Utterance, second: Utterance) -> tuple[str, Meaning]:
    """The text and the meaning of the first, now and then with the second after it."""
    text, meant = refilled(rng, first.text, understood(first))
    if rng.random() < JOINED_SHARE and _joinable(first) and _joinable(second) and first.intent != second.intent:
        after, other = refilled(rng, second.text, understood(second))
        text = joined(rng, [text.rstrip(" .!?"), after])
        return text, Meaning(((*meant.golds[0], *other.golds[0]),))
    if rng.random() < PLACED_SHARE and meant.acts and not meant.unclear:
        text, meant = _placed(rng, text, meant)
    if rng.random() < WRITTEN_SHARE:
        text = text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?" else rng.choice((".", ".", "", "!")))
    return text, meant


def _joinable(utterance: Utterance) -> bool:
    meant = understood(utterance)
    free = not meant.acts or any(want.tool == "HassStartTimer" for want in meant.golds[0])
    short = len(utterance.text.split()) <= _LONGEST and not _CALLED.search(utterance.text)
    return short and not free and not meant.unclear


def _placed(rng: Random, text: str, meant: Meaning) -> tuple[str, Meaning]:
    """With a room or a player said at the end, where something is done in a room and none is said."""
    targets = {want.target for gold in meant.golds for want in gold}
    target = targets.pop() if len(targets) == 1 else None
    cleaning = target in (Target("vacuum"), Target("vacuum", "vacuuming"))  # and not "the vacuum in the hall"
    if target is None or target.place or not (cleaning or target.kind in ("player", "lights", "climate")):
        return text, meant
    where, said = "", rng.choice(WORDS["added places"])
    new, words = replace(target, place=said), f"in the {said}"
    if target == Target("player") and rng.random() < 0.5:
        where, said = rng.choice(list(WORDS["added players"].items()))
        new, words = Target(where, said), f"on {rng.choice(('the', 'the', 'my'))} {said}"
    bare = re.sub(r"(?: please| now)*[ .!?]*$", "", text)
    return f"{bare} {words}", Meaning((tuple(_at(want, new) for want in meant.golds[0]),), meant.unclear)


def _at(want: Want, target: Target) -> Want:
    """The want there; a vacuum that is to start cleans the room."""
    if want.tool == "HassVacuumStart":
        return Want("HassVacuumCleanArea", {}, Target("floor", "", target.place))
    return replace(want, target=target)
