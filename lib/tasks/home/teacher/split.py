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
from dataclasses import dataclass

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.lexicon import kind_stems, lexicon
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
_DETERMINERS = re.compile(r"(?:\b(?:the|my|our|all|every)\s+)+$", re.IGNORECASE)
_INSIDE = frozenset("the my our a an in on at of by near all every".split())


@dataclass(frozen=True)
class _Part:
    """A piece of a request: what stands ``before`` the things or places that it ``names``, and ``after`` them."""

    before: str
    names: str
    after: str

    @property
    def text(self) -> str:
        return f"{self.before}{self.names}{self.after}"

    @property
    def leads(self) -> bool:
        """Whether nothing but an article stands before what it names."""
        return bool(self.names) and all(w.casefold() in _INSIDE for w in self.before.split())

    @property
    def bare(self) -> bool:
        return self.leads and not self.after.strip(" .?!")

    def about(self, other: _Part) -> str:
        """This command about what ``other`` names, with the ending of ``other`` if it has one."""
        ending = "" if other.after.rstrip() else self.after
        return f"{_DETERMINERS.sub('', self.before)}{other.text.strip()}{ending}".strip()


class _Splitter:
    """``known``: stems of words for things and places; ``plain``: whether a text is surely one command."""

    def __init__(self, known: frozenset[str], plain: Callable[[str], bool]) -> None:
        self.known, self.plain = known, plain

    def part(self, text: str) -> _Part:
        words = re.finditer(r"\S+", text)
        found = [m.span() for m in words if stem(re.sub(r"['’]s$", "", m[0].casefold().strip(".,;?!"))) in self.known]
        start, end = (found[0][0], found[-1][1]) if found else (len(text), len(text))
        return _Part(text[:start], text[start:end], text[end:])

    def corrected(self, parts: list[_Part]) -> list[str] | None:
        """What is said last: a command, or the target of the one before."""
        if any(len(_JOIN.split(part.text)) > 1 for part in parts):
            return None
        before, last = parts[-2:]
        if last.bare and before.names:
            return [before.about(last)]
        return [last.text] if self.plain(last.text) and last.names else None

    def completed(self, parts: list[_Part]) -> list[str] | None:
        """Every part as a command: with the verb of the one before, the ending of the one after, without pronouns."""
        commands: list[_Part] = []
        for part in parts:
            before = commands[-1] if commands and commands[-1].names else None
            if _PRONOUN.search(part.text) and not part.names:
                if before is None:
                    return None
                commands.append(self.part(_PRONOUN.sub(before.names.replace("\\", r"\\"), part.text, count=1)))
            elif not commands or (self.plain(part.text) and not part.bare):
                commands.append(part)
            elif part.leads and before:
                commands.append(self.part(before.about(part)))
            else:
                return None
            if part.leads:
                self._end_alike(commands, part.after.rstrip())
        return [c.text for c in commands] if all(c.names or self.plain(c.text) for c in commands) else None

    def _end_alike(self, commands: list[_Part], ending: str) -> None:
        """Gives the commands that end in what they name the ending of the last one."""
        for i in range(len(commands) - 2, -1, -1):
            if commands[i].after.strip(" ,."):
                return
            commands[i] = self.part(f"{commands[i].text.rstrip(' ,.')}{ending}")


def cut(text: str, home: Home, free: frozenset[str], plain: Callable[[str], bool]) -> list[str] | None:
    """The single commands of a request, or None where its words do not show them; alone if nothing is joined.

    ``free``: stems of words that people use in commands of any kind; ``plain``: whether a text is surely one command.
    """
    names = [*(e.name for e in home.entities), *(a.name for a in home.areas), *home.floors]
    if any(JOINED.search(name) for name in names if name.casefold() in text.casefold()):
        return None
    splitter = _Splitter((lexicon(home).words - free) | kind_stems(), plain)
    parts = [splitter.part(piece) for piece in _CORRECTION.split(text) if piece.strip()]
    while len(parts) > 1 and len(parts[0].text.split()) < 3 and not parts[0].names:
        parts = parts[1:]
    if len(parts) > 1:
        return splitter.corrected(parts)
    parts = [splitter.part(piece) for piece in _JOIN.split(text) if piece.strip()]
    return splitter.completed(parts) if len(parts) > 1 else [text]
