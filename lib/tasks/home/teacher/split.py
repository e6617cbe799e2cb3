"""Takes a request of several commands apart by its joining and correcting words, where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.lexicon import SAYS, WORDS, kind_stems, lexicon
from lib.tasks.home.words import stem

JOINED = re.compile(rf"{SAYS['join'].pattern}\S|{SAYS['correction'].pattern}", re.IGNORECASE)


class _Part(NamedTuple):
    """A piece of a request: what stands ``before`` the things or places that it ``names``, and ``after`` them."""

    before: str
    names: str
    after: str

    @property
    def text(self) -> str:
        return "".join(self)

    @property
    def leads(self) -> bool:
        """Whether nothing but an article stands before what it names."""
        return bool(self.names) and WORDS["inside"].issuperset(self.before.casefold().split())

    @property
    def bare(self) -> bool:
        return self.leads and not self.after.strip(" .?!")

    def about(self, other: _Part) -> str:
        """This command about what ``other`` names, with the ending of ``other`` if it has one."""
        ending = "" if other.after.rstrip() else self.after
        return f"{SAYS['determiners'].sub('', self.before)}{other.text.strip()}{ending}".strip()


class _Splitter:
    """``known``: stems of words for things and places; ``plain``: whether a text is surely one command."""

    def __init__(self, known: frozenset[str], plain: Callable[[str], bool]) -> None:
        self.known, self.plain = known, plain

    def part(self, text: str) -> _Part:
        words = re.finditer(r"\S+", text)
        found = [m.span() for m in words if stem(re.sub(r"['’]s$", "", m[0].casefold().strip(".,;?!"))) in self.known]
        start, end = (found[0][0], found[-1][1]) if found else (len(text), len(text))
        return _Part(text[:start], text[start:end], text[end:])

    def parts(self, pieces: Iterable[str]) -> list[_Part]:
        return [self.part(piece) for piece in pieces if piece.strip()]

    def corrected(self, parts: list[_Part]) -> list[str] | None:
        """What is said last: a command, or the target of the one before."""
        before, last = parts[-2:]
        if any(SAYS["join"].search(part.text) for part in parts):
            return None
        if last.bare and before.names:
            return [before.about(last)]
        return [last.text] if last.names and self.plain(last.text) else None

    def completed(self, parts: list[_Part]) -> list[str] | None:
        """Every part as a command: with the verb of the one before, the ending of the one after, without pronouns."""
        done: list[_Part] = []
        for part in parts:
            before = done[-1] if done and done[-1].names else None
            if not part.names and SAYS["pronoun"].search(part.text):
                if before is None:
                    return None
                done.append(self.part(SAYS["pronoun"].sub(before.names.replace("\\", r"\\"), part.text, count=1)))
            elif not done or (not part.bare and self.plain(part.text)):
                done.append(part)
            elif part.leads and before:
                done.append(self.part(before.about(part)))
            else:
                return None
            for i in range(len(done) - 2, -1, -1) if part.leads else ():
                if done[i].after.strip(" ,."):
                    break
                done[i] = self.part(f"{done[i].text.rstrip(' ,.')}{part.after.rstrip()}")
        return [c.text for c in done] if all(c.names or self.plain(c.text) for c in done) else None


def cut(text: str, home: Home, free: frozenset[str], plain: Callable[[str], bool]) -> list[str] | None:
    """The single commands of a request, or None where its words do not show them; ``free``: as for a shortlist."""
    names = [*(e.name for e in home.entities), *(a.name for a in home.areas), *home.floors]
    if any(JOINED.search(name) for name in names if name.casefold() in text.casefold()):
        return None
    splitter = _Splitter((lexicon(home).words - free) | kind_stems(), plain)
    parts = splitter.parts(SAYS["correction"].split(text))
    while len(parts) > 1 and len(parts[0].text.split()) < 3 and not parts[0].names:
        parts = parts[1:]
    if len(parts) > 1:
        return splitter.corrected(parts)
    parts = splitter.parts(SAYS["join"].split(text))
    return splitter.completed(parts) if len(parts) > 1 else [text]
