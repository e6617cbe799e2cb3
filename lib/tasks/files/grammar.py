"""The grammar of calls that can be carried out: they name what is in the folder to which the calls before have led.

A rule for each folder holds the calls that are possible there, and after each the rule of where the user then is. Once
there are new files, calls may name any file; once there are new folders, or old ones elsewhere, anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lib.tasks.compact import Refs, Thing, body
from lib.tasks.notation import NONE, Rules, control
from lib.tasks.tools import Argument

FOLDER = "in"  # the code of a path, which stands before what is in that folder
UP, ROOT = "..", "/"
_ANYWHERE, _NEW = "anywhere", "n"  # the rule for all calls; what ends the names of rules for folders with new files
_MOVING = "mv", "cp"

Arguments = Sequence[Argument]


def executable(tools: Mapping[str, Arguments], refs: Refs) -> str:
    """``refs``: folder by folder, the user's first, as ``Files.references`` gives them."""
    return _Writer(tools, refs).text()


class _Writer:
    def __init__(self, tools: Mapping[str, Arguments], refs: Refs) -> None:
        self.tools, self.rules = tools, Rules()
        self.things = tuple(dict.fromkeys(t for t in refs if t.kind))
        self.folders, inside = dict[str, list[Thing]](), list[Thing]()
        for thing in refs:
            if thing.code == FOLDER:
                inside = self.folders.setdefault(thing.name, [])
            elif thing.kind:
                inside.append(thing)
        self.always = [t for t in self.things if t.kind == "folders" and t.name in (UP, ROOT)]
        self.names = {path: f"in{i}" for i, path in enumerate(self.folders)}

    def text(self) -> str:
        steps = {_ANYWHERE: [(self._call(name, own, self.things), _ANYWHERE) for name, own in self.tools.items()]}
        for path, name in self.names.items():
            steps |= {f"{name}{mark}": list(self._steps(path, mark)) for mark in ("", _NEW)}
        rules = [f"{name}: {self._alternatives(found)}" for name, found in steps.items()]
        rules += [f"{name}: {text}" for text, name in self.rules.names.items()]
        return "\n".join([f"start: {control(NONE)} | {next(iter(self.names.values()))}", *rules]) + "\n"

    def _steps(self, path: str, mark: str) -> Iterator[tuple[str, str]]:
        """The calls that are possible in a folder, each with the rule of what can follow it."""
        here, inside = self.names[path], [t for t in self.folders[path] if t.kind == "folders"]
        things = (*(t for t in (self.things if mark else self.folders[path]) if t.kind == "files"), *inside)
        for name, arguments in self.tools.items():
            own = [_limited(a, bool(mark)) for a in arguments]
            if name == "cd":
                for thing in (*inside, *self.always):
                    if (to := self._after(path, thing.name)) in self.names:
                        yield self._call(name, own, (thing,)), f"{self.names[to]}{mark}"
            elif name in _MOVING:
                yield self._call(name, [_only(a, "files") for a in own], things), f"{here}{_NEW}"
                yield self._call(name, [_only(a, "folders") for a in own], things), _ANYWHERE
            else:
                known = (*things, *self.always[1:]) if name == "find" else things
                after = {"mkdir": _ANYWHERE, "touch": f"{here}{_NEW}"}.get(name, f"{here}{mark}")
                yield self._call(name, own, known), after

    def _after(self, path: str, to: str) -> str:
        return {UP: path.rpartition("/")[0], ROOT: min(self.folders, key=len)}.get(to, f"{path}/{to}")

    def _call(self, name: str, arguments: Arguments, things: Refs) -> str:
        text = body(arguments, things, self.rules)
        return f"{control(f'{name}(')} {text}" if text else ""

    def _alternatives(self, steps: Sequence[tuple[str, str]]) -> str:
        calls: dict[str, list[str]] = {}
        for call, after in steps:
            calls.setdefault(after, []).extend([call] if call else [])
        found = {after: self.rules.add(" | ".join(some)) for after, some in calls.items()}
        return " | ".join(f"{some} ({control(chr(10))} {after})?" for after, some in found.items() if some)


def _limited(argument: Argument, more: bool) -> Argument:
    """Without names of what is not there, unless it is a new place or there may be ``more`` files."""
    new = argument.name == "destination" or (more and "files" in argument.kinds)
    return replace(argument, new=argument.new and new)


def _only(argument: Argument, kind: str) -> Argument:
    """What is moved is of one kind."""
    new = argument.new and kind == "files"
    return replace(argument, kinds=(kind,), new=new) if argument.name == "source" else argument
