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
_AT_ONCE, _IDLE, _AWAY = 4, 0.15, 0.35  # requests in a state; shares that cannot be carried out, of steps elsewhere
_CHOICE, _SLOT = re.compile(r"\(([^()]*)\)"), re.compile(r"\{(\w+)}")
_APART = re.compile(r"~|\?$")  # in what is a sentence of its own
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

        learnt: dict[str, list[str]] = {} if held_out else SAID["learnt"]
        self.rng, self.words, self.nothing = rng, own(SAID["words"]), own(SAID["nothing"]) + learnt.get("nothing", [])
        self.kinds = [(key, own(said) + learnt.get(key, [])) for key, said in SAID["calls"].items() if own(said)]

    def request(self, context: dict[str, Any]) -> Example:
        while True:
            idle, calls, said, state = self.rng.random() < _IDLE, list[Call](), list[str](), context
            try:
                for _ in range(1 if idle else self.rng.choice((1, 1, 2, 2, 3))):
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
        here, twins = tuple(filter(None, context["at"].split("/"))), Counter(map(_spoken, counts))
        away = {*slots} - {"text"} and "find" not in key and rng.random() < (1 if "empty" in slots else _AWAY)
        fit = [path for path in trees if away and ("empty" not in slots or {} in trees[path].values())]
        recent = [name for name in context["last"] if "." in name and counts[name] == 1 and {"file", "item"} & {*slots}]
        if it := recent[0] if recent and rng.random() < 0.5 else "":
            fit = [path for path, tree in trees.items() if it in tree]
        values = self._values(slots, trees[where := rng.choice(fit or [here])], it)
        named = {s: self._named("new" if twins[_spoken(str(v))] > 1 else s, v, it) for s, v in values.items()}
        said = self._expanded(wordings).format(**named)
        if it and re.search(r"\b(do|are|it\b.*) it\b", said):
            raise TaskError("'it' cannot be said there")
        known = it or any(counts[value] == 1 and value in trees[where] for value in values.values())
        if where != here and not (known and rng.random() < 0.5):
            place = self._named("folder", where[-1]) if where else "the root folder"
            place = "/".join(where) if where[1:] and (rng.random() < 0.4 or twins[_spoken(where[-1])] > 1) else place
            said = self._expanded(SAID["asked" if _APART.search(said) else "place"]).format(place=place, said=said)
        same = len(commonprefix([here, where]))
        path = [*[".."] * (len(here) - same), *where[same:]]
        return said, [*(call("cd", folder=name) for name in path), *_calls(key, {"true": True, **values})]

    def _idle(self, context: dict[str, Any]) -> tuple[str, list[Call]]:
        """A request that cannot be carried out: no tool, too little said, or what is nowhere. Raises TaskError."""
        rng, trees, it = self.rng, {"/".join(path): tree for path, tree in system.folders(context["tree"])}, ""
        names, file = sorted({name for tree in trees.values() for name in tree}), self._file()
        values = {"file": file, "item": file, "folder": self.name()}
        key, said = rng.choice([k for k in self.kinds if "+" not in k[0] and {*values} & {*_SLOT.findall(k[0])}])
        slot, *others = sorted(_SLOT.findall(key), key=lambda slot: slot not in ("file", "item"))
        if rng.random() < 0.5:
            found = {k: [n for n in names if ("." in n) != (k == "folder")] or [lost] for k, lost in values.items()}
            said, values = self.nothing, {k: rng.choice(some) for k, some in found.items()} | {"text": self._text()}
        elif any(_spoken(one) in _spoken(two) for n in names for one, two in ((values[slot], n), (n, values[slot]))):
            raise TaskError("it could be something that is there")
        else:
            values |= self._values(others, trees[context["at"]])
            it = file if names[1:] and not context["last"] and rng.random() < 0.5 else ""
        return self._expanded(said).format(**{slot: self._named(slot, v, it) for slot, v in values.items()}), []

    def _values(self, slots: list[str], tree: system.Tree, it: str = "") -> dict[str, Any]:
        """Something for each slot, all different. Raises TaskError if there is too little."""
        files, found = [name for name, item in tree.items() if isinstance(item, str)], dict[str, Any]()
        folders = [name for name in tree if name not in files]
        options: dict[str, list[Any]] = {
            **{"file": [it] if it else files, "file2": files, "folder": folders, "new_folder": [self.name()]},
            **{"item": [it] if it else files * 3 + folders, "new_file": [self._file()], "text": [self._text()]},
            **{"empty": [name for name in folders if not tree[name]], "n": [self.rng.randint(1, 40)]},
            "word": [*self.rng.sample(self.words, 3), *re.findall(r"\w+", " ".join(tree[name] for name in files))],
            "part": [*self.rng.sample(self.words, 1), *re.findall(r"[^\W_]{2,}", " ".join(tree))],
        }
        for slot in slots:
            if not (free := [value for value in options[slot] if value not in found.values()]):
                raise TaskError(f"nothing for {slot}")
            found[slot] = self.rng.choice(free)
        return found

    def _named(self, slot: str, value: Any, it: str = "") -> str:
        name, kinds = str(value), {**_KINDS, "item": "file" if "." in str(value) else "folder"}
        kind = "it" if name == it and self.rng.random() < 0.8 else kinds.get(slot, slot)
        form = "'{v}'" if kind == "new" and " " in name else self._expanded(SAID["named"][kind])
        return (form.replace("'", '"') if "'" in name else form).format(v=name, spoken=_spoken(name))

    def _sentence(self, said: list[str]) -> str:
        text = ("" if _APART.search(said[0]) else self._expanded(SAID["open"])) + said[0].replace("~", "")
        for step in said[1:]:
            between = " " if text.endswith("?") else self._expanded(SAID["apart" if _APART.search(step) else "join"])
            step = step.replace("~", "")
            text += between + (step[:1].upper() + step[1:] if between in (" ", ". ") else step)
        if not text.endswith("?"):
            asked = re.match("could|can|would|will", text) and not any(map(_APART.search, said))
            text += self._expanded(SAID["for"]) + ("?" if asked else self.rng.choice(("", ".")))
        text = text if self.rng.random() < 0.3 else text[:1].upper() + text[1:]
        return re.sub(" (?=[ .,;?]|$)", "", f"{self._expanded(SAID['why'])} {text}").strip()

    def _expanded(self, wordings: list[str]) -> str:
        text = self.rng.choice(wordings)
        while match := _CHOICE.search(text):
            text = text[: match.start()] + self.rng.choice(match[1].split("|")) + text[match.end() :]
        return text

    def tree(self, depth: int) -> system.Tree:
        texts = [[self._text() for _ in range(self.rng.randint(0, 6))] for _ in range(self.rng.randint(1, 5))]
        inner = range(self.rng.randint(0, 2) if depth else 0)
        folders = {self.name(): self.tree(depth - 1) if self.rng.random() < 0.6 else {} for _ in inner}
        return {**{self._file(): "\n".join(lines) for lines in texts}, **folders}

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


def _spoken(name: str) -> str:  # the words of a name, without its extension
    return " ".join(re.findall(r"[A-Za-z]?\d+|[A-Z]*[a-z]+", name.rpartition(".")[0] or name)).lower()


def _calls(key: str, values: dict[str, Any]) -> list[Call]:
    """The calls that a key of the wordings names, such as ``tail file_name={file} lines={n}``."""
    pairs = [(part.split()[0], [pair.split("=", 1) for pair in part.split()[1:]]) for part in key.split(" + ")]
    return [call(name, **{k: values.get(v.strip("{}"), v) for k, v in given}) for name, given in pairs]
