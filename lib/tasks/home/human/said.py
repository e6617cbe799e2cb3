"""What an utterance says of numbers, durations, places and devices; patterns of them for ``rules.yaml``.

>>> number("sixty five"), number("21"), duration("half an hour"), duration("ten seconds")
(65, 21, {'minutes': 30}, {'seconds': 10})
>>> place("dim the lights in my living room"), place("lights off in here"), place("all lights off"), place("lights off")
('living room', 'here', 'everywhere', '')
"""

from __future__ import annotations

import re
from functools import cache, partial
from pathlib import Path

from lib.tasks.home.sampler import homes
from lib.tasks.home.sampler.templates import number_words
from lib.tasks.notation import either

table = partial(homes.table, folder=Path(__file__).parent)


WORDS = table("words")
_NUMBERS = {number_words(i).replace("-", " "): i for i in range(1000)}
_DIGIT = either({w for text in _NUMBERS for w in text.split()} - {"and"})
NUMBER = rf"(?:\b\d+|\b(?:{_DIGIT})\b(?:[ -](?:and )?(?:{_DIGIT})\b)*)"
_UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}
TIME = rf"(?:half an hour|(?:{NUMBER}|\ban?|\bnext) ?-?(?:hour|hr|minute|min|second|sec)s?\b)"
PLACE = rf"(?:{either([*WORDS['places'], *WORDS['floors']])}|(?:the |my |this )?room)"
_KINDS = "|".join(row["said"] for row in table("things")["kinds"].values())
DEVICE = rf"(?:(?:{either(WORDS['device words'])}) )*(?:{_KINDS})\b(?: (?:{either(WORDS['device ends'])})\b)*"
_NO_NAME = r"(?!(?:off|from|on|to|in|of|for|and|out|my|the)\b)"
LIST = rf"(?:(?:my|the|our|a|today's|current) )*(?:{_NO_NAME}[\w'’]+ ){{0,3}}?(?:{WORDS['list']})"


def number(text: str) -> int | None:
    """The number that a text is, in digits or words."""
    said = text.strip().replace("-", " ")
    return int(said) if said.isdigit() else _NUMBERS.get(said, _NUMBERS.get(said.replace(" and ", " ")))


def duration(text: str) -> dict[str, int] | None:
    """Hours, minutes or seconds as a timer takes them."""
    if text.startswith("half an hour"):
        return {"minutes": 30}
    found = re.match(rf"({NUMBER}|an?\b|next)[ -]*(\w)", text)
    amount = (number(found[1]) or 1) if found else 0
    return {next(u for u in _UNITS if u[0] == found[2]): amount} if found and amount else None


def place(text: str) -> str:
    """Where: a room or floor as said, "here", "everywhere", "" if nowhere, "?" if in several places."""
    found = re.findall(rf"\b(?:{either([*WORDS['places'], *WORDS['floors']])})(?=\b|s\b|'s\b)", text)
    if len(set(found)) > 1:
        return "?"
    if found:
        return found[0]
    everywhere = re.search(WORDS["everywhere"], text)
    return "everywhere" if everywhere else "here" if re.search(WORDS["here"], text) else ""


@cache
def _lamps() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{WORDS['lamps'].replace('{words}', either(WORDS['device words']))})")


def device(text: str, target: str) -> str:
    """The words for a lamp of its own ("lights") or a player ("player") in a text; "" if there are none."""
    found = (_lamps() if target == "lights" else re.compile(rf"\b{WORDS['heard']}")).search(text)
    return found[0] if found else ""


def kind(words: str) -> str:
    """The kind of thing (a key of ``kinds`` in things.yaml) that words mean: by the last word, else by any."""
    rows, last = table("things")["kinds"], re.sub(r" one$", "", words)
    if "wemo" in words:
        return "wemo"
    ends = [k for k, row in rows.items() if re.search(rf"\b(?:{row['said']})$", last)]
    return (ends or [k for k, row in rows.items() if re.search(rf"\b(?:{row['said']})\b", words)])[0]
