"""Takes a request of several commands apart by its joining and correcting words, where that is safe.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": f"light.{n}", "name": n} for n in ("Sink", "Otter")]})
>>> plain = lambda text: text[:4] in ("turn", "make")
>>> cut("turn the sink and the otter on, then make it red", home, frozenset(), plain)
['turn the sink on', 'turn the otter on', 'make otter red']
>>> cut("turn on the sink no wait the otter", home, frozenset(), plain)
['turn on the otter']
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.describe import kind_stems, lexicon
from lib.tasks.home.words import stem

_JOIN = re.compile(
    r"\s*(?:[,;.]\s+|[,;.]?\s+\b(?=and|then|also|plus|as well|after))"
    r"(?:(?:and then|and also|and while you're at it|and|then|also|plus|as well as|after that)\b[,\s]*)*",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"[\s,.]*\b(?:uh no|no wait|wait no|wait|no i meant|no|sorry i mean|sorry i meant|sorry|i mean|i meant|actually|"
    r"scratch that|or rather|rather|oops|hang on|make that)\b[\s,]*",
    re.IGNORECASE,
)
JOINED = re.compile(rf"{_JOIN.pattern}\S|{_CORRECTION.pattern}", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|them|that one|those)\b", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_ARTICLES = frozenset("the my our a an".split())
_INSIDE = _ARTICLES | frozenset("in on at of by near all every".split())

Span = tuple[int, int]


def cut(text: str, home: Home, free: frozenset[str], plain: Callable[[str], bool]) -> list[str] | None:
    """The single commands of a request, or None where its words do not show them; alone if nothing is joined.

    ``free``: stems of words that people use in commands of any kind; ``plain``: whether a text is surely one command.
    """
    if any(JOINED.search(name) for name in _names(home) if name.casefold() in text.casefold()):
        return None
    parts = [part for part in _CORRECTION.split(text) if part.strip()]
    while len(parts) > 1 and len(parts[0].split()) < 3 and not _span(parts[0], home, free):
        parts = parts[1:]
    if len(parts) > 1:
        return _corrected(parts, home, free, plain)
    parts = [part for part in _JOIN.split(text) if part.strip()]
    return _completed(parts, home, free, plain) if len(parts) > 1 else [text]


def _names(home: Home) -> list[str]:
    return [*(e.name for e in home.entities), *(a.name for a in home.areas), *home.floors]


def _corrected(parts: list[str], home: Home, free: frozenset[str], plain: Callable[[str], bool]) -> list[str] | None:
    """What is said last: a command, or the target of the one before."""
    if any(len(_JOIN.split(part)) > 1 for part in parts):
        return None
    before, last = parts[-2:]
    if _bare(last, home, free) and _span(before, home, free):
        return [_replaced(before, last, home, free)]
    return [last] if plain(last) and _span(last, home, free) else None


def _completed(parts: list[str], home: Home, free: frozenset[str], plain: Callable[[str], bool]) -> list[str] | None:
    """Every part as a command: with the verb of the one before, with the ending of the one after, without pronouns."""
    commands: list[str] = []
    for part in parts:
        if _PRONOUN.search(part) and not _span(part, home, free):
            span = _span(commands[-1], home, free) if commands else None
            if span is None:
                return None
            commands.append(_PRONOUN.sub(commands[-1][span[0] : span[1]].replace("\\", r"\\"), part, count=1))
        elif not commands or (plain(part) and not _bare(part, home, free)):
            commands.append(part)
        elif _leads(part, home, free) and _span(commands[-1], home, free):
            commands.append(_replaced(commands[-1], part, home, free))
        else:
            return None
        if _leads(part, home, free):
            _end_alike(commands, _after(part, home, free), home, free)
    return commands if all(plain(c) or _span(c, home, free) for c in commands) else None


def _end_alike(commands: list[str], ending: str, home: Home, free: frozenset[str]) -> None:
    """Gives the commands that end in what they name the ending of the last one."""
    for i in range(len(commands) - 2, -1, -1):
        if _after(commands[i], home, free).strip(" ,."):
            return
        commands[i] = f"{commands[i].rstrip(' ,.')}{ending}"


def _span(text: str, home: Home, free: frozenset[str]) -> Span | None:
    """From where to where a text names things or places of the home, articles before them left out."""
    known = (lexicon(home).words - free) | kind_stems()
    found = [m.span() for m in _WORD.finditer(text) if stem(_clean(m[0])) in known]
    return (found[0][0], found[-1][1]) if found else None


def _clean(word: str) -> str:
    return re.sub(r"['’]s$", "", word.casefold().strip(".,;?!"))


def _leads(text: str, home: Home, free: frozenset[str]) -> bool:
    """Whether nothing but an article stands before what a text names."""
    span = _span(text, home, free)
    return span is not None and all(w.casefold() in _INSIDE for w in text[: span[0]].split())


def _after(text: str, home: Home, free: frozenset[str]) -> str:
    """What follows what a text names."""
    span = _span(text, home, free)
    return text[span[1] :].rstrip() if span else ""


def _bare(text: str, home: Home, free: frozenset[str]) -> bool:
    return _leads(text, home, free) and not _after(text, home, free).strip(" .?!")


def _replaced(command: str, part: str, home: Home, free: frozenset[str]) -> str:
    """The command about what ``part`` names, with the ending of ``part`` if it has one."""
    span = _span(command, home, free)
    assert span is not None
    before = re.sub(r"(?:\b(?:the|my|our|all|every)\s+)+$", "", command[: span[0]], flags=re.IGNORECASE)
    return f"{before}{part.strip() if _after(part, home, free) else part.strip() + command[span[1] :]}".strip()
