"""Requests written by a program, in trees of random names: ``wordings.yaml`` has what is said for which calls.

Users go on in a tree: the next request finds what the one before has left and may say "it" of what that was about.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from os.path import commonprefix
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.tasks.files import system
from lib.tasks.from_tools import call, example

SAID = yaml.safe_load(Path(__file__).with_name("wordings.yaml").read_text(encoding="utf-8"))
_AT_ONCE, _IDLE, _AWAY = 4, 0.12, 0.35  # requests in a state; shares that cannot be carried out, of steps elsewhere
_CHOICE, _SLOT = re.compile(r"\(([^()]*)\)"), re.compile(r"\{(\w+)}")
_KINDS = {"file2": "file", "empty": "folder", "word": "text", "part": "new", "new_file": "new", "new_folder": "new"}


def examples(rng: Random, held_out: bool) -> Iterator[Example]:
    """Requests without end; those ``held_out`` have wordings and words of their own."""
    writer = _Writer(rng, held_out)
    while True:
        tree = writer.tree(rng.choice((0, 1, 1, 2, 2, 3)))
        at = rng.choice([path for path, _ in system.folders(tree)] + [()] * 3)
        context = {"root": writer.name(), "tree": tree, "at": "/".join(at), "last": []}
        for _ in range(rng.randint(1, 4)):
            made = [writer.request(context) for _ in range(_AT_ONCE)]
            yield from made
            context, _ = system.after(context, rng.choice(made).gold[0])


class _Writer:
    def __init__(self, rng: Random, held_out: bool) -> None:
        def own(texts: Sequence[str]) -> list[str]:
            return [text for i, text in enumerate(texts) if (i % 3 == 2) == held_out]

        self.rng, self.words, self.nothing = rng, own(SAID["words"]), own(SAID["nothing"])
        self.kinds = [(key, own(said)) for key, said in SAID["calls"].items() if own(said)]

    def request(self, context: dict[str, Any]) -> Example:
        while True:
            idle, calls, said, state = self.rng.random() < _IDLE, list[Call](), list[str](), context
            try:
                for _ in range(1 if idle else self.rng.choice((1, 1, 1, 2, 2, 3))):
                    text, made = self._idle(state) if idle else self._step(state)
                    state, calls, said = system.after(state, made)[0], calls + made, [*said, text]
                left, printed = system.after(context, calls)
            except TaskError:
                continue
            if idle or printed or any(left[key] != context[key] for key in ("tree", "at")):
                return example(self._sentence(said), context, calls, f"F{min(len(calls), 3)}")

    def _step(self, context: dict[str, Any]) -> tuple[str, list[Call]]:
        """What is said for one step and its calls. Raises TaskError if the tree has not what it needs."""
        rng, (key, wordings), trees = self.rng, self.rng.choice(self.kinds), dict(system.folders(context["tree"]))
        slots, counts = [*dict.fromkeys(_SLOT.findall(key))], Counter(name for tree in trees.values() for name in tree)
        here = tuple(filter(None, context["at"].split("/")))
        where = rng.choice([*trees]) if slots and rng.random() < _AWAY else here
        recent = [name for name in context["last"] if "." in name and counts[name] == 1 and "file" in slots]
        if it := recent[0] if recent and rng.random() < 0.5 else "":
            where = next(path for path, tree in trees.items() if it in tree)
        values = self._values(slots, trees[where], it)
        said = self._expanded(wordings).format(**{slot: self._named(slot, values[slot], it) for slot in slots})
        known = it or any(counts[value] == 1 and value in trees[where] for value in values.values())
        if where != here and not (known and rng.random() < 0.5):
            near = self._named("folder", where[-1]) if where else "the root folder"
            place = "/".join(where) if where[1:] and rng.random() < 0.4 else near
            said = self._expanded(SAID["place"]).format(place=place, said=said)
        same = len(commonprefix([here, where]))
        path = [*[".."] * (len(here) - same), *where[same:]]
        return said, [*(call("cd", folder=name) for name in path), *_calls(key, {"true": True, **values})]

    def _idle(self, context: dict[str, Any]) -> tuple[str, list[Call]]:
        """A request that cannot be carried out: no tool, too little said, or a file that is nowhere."""
        names = [name for _, tree in system.folders(context["tree"]) for name in tree if isinstance(tree[name], str)]
        wordings, file = self.nothing, self.rng.choice(names or [self._file()])
        if self.rng.random() < 0.5:
            wordings = self.rng.choice([said for key, said in self.kinds if _SLOT.findall(key) == ["file"]])
            file = next(name for name in iter(self._file, "") if name not in names)
        return self._expanded(wordings).format(file=self._named("file", file)), []

    def _values(self, slots: list[str], tree: system.Tree, it: str) -> dict[str, Any]:
        """Something for each slot, all different. Raises TaskError if there is too little."""
        files, found = [name for name, item in tree.items() if isinstance(item, str)], dict[str, Any]()
        folders = [name for name in tree if name not in files]
        options: dict[str, list[Any]] = {
            **{"file": [it] if it else files, "file2": files, "folder": folders, "item": files * 3 + folders},
            **{"empty": [name for name in folders if not tree[name]], "new_file": [self._file()]},
            **{"new_folder": [self.name()], "text": [self._text()], "n": [self.rng.randint(1, 40)]},
            "word": [*self.rng.sample(self.words, 3), *" ".join(tree[name] for name in files).split()],
            "part": [*self.rng.sample(self.words, 1), *re.findall(r"[^\W_]{2,}", " ".join(tree))],
        }
        for slot in slots:
            if not (free := [value for value in options[slot] if value not in found.values()]):
                raise TaskError(f"nothing for {slot}")
            found[slot] = self.rng.choice(free)
        return found

    def _named(self, slot: str, value: Any, it: str = "") -> str:
        kind, name = _KINDS.get(slot, slot), str(value)
        kind = ("file" if "." in name else "folder") if kind == "item" else kind
        kind = "it" if name == it and self.rng.random() < 0.8 else kind
        spoken = " ".join(re.findall(r"[^\W_]+", name.rpartition(".")[0] or name))
        return self._expanded(SAID["named"][kind]).format(v=name, spoken=spoken)

    def _sentence(self, said: list[str]) -> str:
        fixed = said[0].endswith("?") or re.match("~|(?:over |with|)in(?:side|) ", said[0])
        text, *rest = [step.replace("~", "") for step in said]
        text = text if fixed else self._expanded(SAID["open"]) + text
        for step in rest:
            text += f" {step[:1].upper()}{step[1:]}" if text.endswith("?") else self._expanded(SAID["join"]) + step
        if not text.endswith("?"):
            end = "?" if re.match("could|can|would|will", text) else self.rng.choice(("", "."))
            text += self._expanded(SAID["for"]) + end
        text = text if self.rng.random() < 0.3 else text[:1].upper() + text[1:]
        return re.sub(" (?=[ .]|$)", "", f"{self._expanded(SAID['why'])} {text}").strip()

    def _expanded(self, wordings: list[str]) -> str:
        text = self.rng.choice(wordings)
        while match := _CHOICE.search(text):
            text = text[: match.start()] + self.rng.choice(match[1].split("|")) + text[match.end() :]
        return text

    def tree(self, depth: int) -> system.Tree:
        files = {
            self._file(): [self._text() for _ in range(self.rng.randint(0, 6))] for _ in range(self.rng.randint(1, 5))
        }
        inner = range(self.rng.randint(0, 2) if depth else 0)
        folders = {self.name(): self.tree(depth - 1) if self.rng.random() < 0.8 else {} for _ in inner}
        return {**{name: "\n".join(lines) for name, lines in files.items()}, **folders}

    def _file(self) -> str:
        return f"{self.name()}.{self.rng.choice(SAID['extensions'])}"

    def name(self) -> str:
        rng, words = self.rng, self.rng.sample(self.words, self.rng.choice((1, 1, 2, 2, 3)))
        words += [str(rng.choice(SAID["endings"]))] * (rng.random() < 0.25)
        words = [word.title() for word in words] if rng.random() < 0.2 else words
        return rng.choice(("_", "_", "_", "-", " ", "")).join(words)

    def _text(self) -> str:
        text = self._expanded(SAID["texts"]).replace("{n}", str(self.rng.randint(1, 99)))
        text = re.sub("{w}", lambda _: self.rng.choice(self.words), text)
        return text[:1].upper() + text[1:] if self.rng.random() < 0.4 else text


def _calls(key: str, values: dict[str, Any]) -> list[Call]:
    """The calls that a key of the wordings names, such as ``tail file_name={file} lines={n}``."""
    pairs = [(part.split()[0], [pair.split("=", 1) for pair in part.split()[1:]]) for part in key.split(" + ")]
    return [call(name, **{k: values.get(v.strip("{}"), v) for k, v in given}) for name, given in pairs]
