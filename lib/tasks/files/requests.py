"""Requests written by a program, in trees of random names: ``wordings.yaml`` has what is said for which calls.

Users go on in a tree: the next request finds what the one before has left and may say "it" of what that was about.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.tasks.files import system
from lib.tasks.from_tools import call, example

SAID = yaml.safe_load(Path(__file__).with_name("wordings.yaml").read_text(encoding="utf-8"))
_AT_ONCE = 4  # requests in one state of a tree
_IDLE, _AWAY = 0.12, 0.35  # shares: requests that cannot be carried out, steps in another folder
_CHOICE, _SLOT = re.compile(r"\(([^()]*)\)"), re.compile(r"\{(\w+)}")
_KINDS = {"file2": "file", "empty": "folder", "word": "text", "part": "new", "new_file": "new", "new_folder": "new"}
_EXISTING = {"file", "file2", "folder", "item", "empty"}


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
            context = _after(context, rng.choice(made).gold[0])


def level(calls: Sequence[Call]) -> str:
    """How many calls: F0 to F2, and F3 for more."""
    return f"F{min(len(calls), 3)}"


def _after(context: dict[str, Any], calls: list[Call]) -> dict[str, Any]:
    """The context that calls leave. Raises TaskError for calls that fail."""
    changed = system.start(context)
    system.run(changed, calls)
    return system.state(changed, calls) if calls else context


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
                    state, calls, said = _after(state, made), calls + made, [*said, text]
            except TaskError:
                continue
            return example(self._sentence(said), context, calls, level(calls))

    def _step(self, context: dict[str, Any]) -> tuple[str, list[Call]]:
        """What is said for one step and its calls. Raises TaskError if the tree has not what it needs."""
        rng, (key, wordings), trees = self.rng, self.rng.choice(self.kinds), dict(system.folders(context["tree"]))
        slots, counts = [*dict.fromkeys(_SLOT.findall(key))], Counter(name for tree in trees.values() for name in tree)
        here = tuple(filter(None, context["at"].split("/")))
        where = rng.choice([*trees]) if slots and rng.random() < _AWAY else here
        it = next((name for name in context["last"] if "." in name and counts[name] == 1), "")
        it = it if "file" in slots and rng.random() < 0.5 else ""
        where = next(path for path, tree in trees.items() if it in tree) if it else where
        values = self._values(slots, trees[where], it)
        said = self._expanded(wordings).format(**{slot: self._named(slot, values[slot], it) for slot in slots})
        known = it or any(counts[values[slot]] == 1 for slot in slots if slot in _EXISTING)
        if where != here and not (known and rng.random() < 0.5):
            places = (
                [f"{self._named('folder', where[-1])}{' in ' * (len(where) > 1)}{''.join(where[-2:-1])}"]
                if where
                else []
            )
            place = rng.choice([*places, "/".join(where)] if where else ["the root folder", "the top folder"])
            said = self._expanded(SAID["place"]).format(place=place, said=said)
        same = next(
            (i for i, pair in enumerate(zip(here, where, strict=False)) if len({*pair}) > 1), min(len(here), len(where))
        )
        path = [".."] * (len(here) - same) + list(where[same:])
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
        if slot == "n":
            return str(value)
        kind = _KINDS.get(slot, slot)
        kind = ("file" if "." in value else "folder") if kind == "item" else kind
        kind = "it" if value == it and self.rng.random() < 0.8 else kind
        spoken = " ".join(re.findall(r"[^\W_]+", value.rpartition(".")[0] or value))
        return self._expanded(SAID["named"][kind]).format(v=value, spoken=spoken)

    def _sentence(self, said: list[str]) -> str:
        text, *rest = said
        fixed = text.endswith("?") or re.match("(?:over |with|)in(?:side|) ", text)
        text = text if fixed else self._expanded(SAID["open"]) + text
        for step in rest:
            text += f" {step[:1].upper()}{step[1:]}" if text.endswith("?") else self._expanded(SAID["join"]) + step
        end = "" if text.endswith("?") else "?" if re.match("could|can|would", text) else self.rng.choice(("", "."))
        text = text if self.rng.random() < 0.3 else text[:1].upper() + text[1:]
        return f"{self._expanded(SAID['why'])} {text}{end}".strip()

    def _expanded(self, wordings: list[str]) -> str:
        text = self.rng.choice(wordings)
        while match := _CHOICE.search(text):
            text = text[: match.start()] + self.rng.choice(match[1].split("|")) + text[match.end() :]
        return text

    def tree(self, depth: int) -> system.Tree:
        """One to five files and up to two folders, with as many in them."""
        rng, inner = self.rng, range(self.rng.randint(0, 2) if depth else 0)
        found: system.Tree = {
            self._file(): "\n".join(self._text() for _ in range(rng.randint(0, 6))) for _ in range(rng.randint(1, 5))
        }
        return found | {self.name(): self.tree(depth - 1) if rng.random() < 0.8 else {} for _ in inner}

    def _file(self) -> str:
        return f"{self.name()}.{self.rng.choice(SAID['extensions'])}"

    def name(self) -> str:
        """One to three words, perhaps with a number, as files and folders are named."""
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
