"""Prompts and answers of a task of tools: the context's things are numbered, and answers point at their numbers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from lib.core.task import Call, Control, Copied, Example, Piece, TaskError
from lib.model.vocabulary import START
from lib.tasks import notation
from lib.tasks.notation import CLOSE, MAX_CALLS, NONE, STRING, clean, control
from lib.tasks.tools import Argument, Tools

_PATTERNS = {
    "integer": r"(-?\d+)",
    "number": r"(-?\d+(?:\.\d{1,2})?)",
    "text": r"( (?:\\.|[^\\,)])+)",
    "reference": r"=([A-Z]?\d+)",
    "new": r"=([A-Z]?\d+| (?:\\.|[^\\,)])+)",
}


class Thing(NamedTuple):
    """``code``: what points at it, after "="."""

    kind: str
    code: str
    name: str


Refs = tuple[Thing, ...]


class Compact:
    """``most``: things of a kind that a prompt shows; of more, those that fit the request's words best."""

    most = 48
    arguments: Tools  # of each tool, by its name
    _kinds: list[str]  # of things that references name

    def things(self, context: dict[str, Any]) -> Mapping[str, Sequence[str]]:
        """By kind: the names that references can have."""
        return {kind: context[kind] for kind in self._kinds}

    def controls(self) -> list[str]:
        arguments = [a for own in self.arguments.values() for a in own]
        codes = [f"={_code(k, i)}" for k in range(len(self._kinds)) for i in range(1, self.most + 1)]
        values = [f"={value}" for a in arguments for value in a.choices]
        keys = [*(f"{name}(" for name in self.arguments), *(k for a in arguments for k in (a.key, a.text_key) if k)]
        return list(dict.fromkeys(map(str, ["\n", ",", ")", NONE, *keys, *values, *codes])))

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> Refs:
        """Numbers things in an order of its own; with ``rng``, shuffled half of the time."""
        rng, found = rng if rng and rng.random() < 0.5 else None, list[Thing]()
        for k, (kind, names) in enumerate(self.things(context).items()):
            names = sorted(names, key=lambda name: (name.casefold(), name))
            if len(names) > self.most:
                names = sorted(names, key=lambda name: -_fit(name, text))[: self.most]
            names = rng.sample(names, len(names)) if rng else names
            found += [Thing(kind, _code(k, i), name) for i, name in enumerate(names, 1)]
        return tuple(found)

    def focus(self, refs: Refs, context: dict[str, Any], text: str) -> Refs:
        return self.references(context, text) if self._large(context) else refs

    def _large(self, context: dict[str, Any]) -> bool:
        return any(len(names) > self.most for names in self.things(context).values())

    def shared(self, refs: Refs) -> Refs:
        return refs

    def prefix(self, refs: Refs) -> list[Piece]:
        lines = [(Control(f"={t.code}"), f" {clean(t.name)}", Control("\n")) for t in refs]
        return [START, *(piece for line in lines for piece in line)]

    def request(self, refs: Refs, context: dict[str, Any], text: str) -> list[Piece]:
        return [START, f" {notation.apart(notation.checked(text))}", START]

    def answer(self, calls: Sequence[Call], refs: Refs) -> list[Piece]:
        if len(calls) > MAX_CALLS:
            raise TaskError(f"{len(calls)} calls in one answer: at most {MAX_CALLS} can be written")
        pieces: list[Piece] = []
        for call in map(self.arguments.checked, calls):
            pieces += [*([Control("\n")] if pieces else []), Control(f"{call['name']}(")]
            given = [a for a in self.arguments[call["name"]] if a.name in call["arguments"]]
            for i, a in enumerate(given):
                pieces += [Control(",")] if i else []
                pieces += _written(a, call["arguments"][a.name], refs)
            pieces.append(Control(")"))
        return pieces or [NONE]

    def taught(self, example: Example, refs: Refs) -> list[Piece]:
        return self.answer(example.gold[0], refs)

    def parse(self, raw: str, refs: Refs) -> list[Call]:
        return [_read_call(line, self.arguments, refs) for line in notation.lines(raw)]

    def asked(self, raw: str) -> dict[str, str] | None:
        return None

    def lesson(self, raw: str, refs: Refs) -> dict[str, Any]:
        return {}

    def grammar(self, refs: Refs) -> str:
        rules = notation.Rules()
        return rules.answers({name: body(own, refs, rules) for name, own in self.arguments.items()})

    def copied(self, text: str) -> Mapping[str, Copied]:
        texts = [a.text_key for own in self.arguments.values() for a in own if a.text_key]
        return dict.fromkeys(texts, Copied(notation.escaped(clean(text))))


def _code(kind: int, number: int) -> str:
    return f"{chr(ord('A') + kind) if kind else ''}{number}"


def _fit(name: str, text: str) -> float:
    """The share of a name's words that a text has, and whether it has the name itself."""
    own, said = (Counter(re.findall(r"[^\W_]+", words.casefold())) for words in (name, text))
    return (own & said).total() / max(1, own.total()) + (name.casefold() in text.casefold())


def _coded(argument: Argument, refs: Refs) -> dict[str, Any]:
    """What references and choices can be, by what stands after "="."""
    return argument.choices | {t.code: t.name for t in refs if t.kind in argument.kinds}


def _written(argument: Argument, value: Any, refs: Refs) -> list[Piece]:
    """An argument's key and value."""
    if argument.type in ("integer", "number"):
        return [Control(argument.key), notation.written(value)]
    if found := [code for code, known in _coded(argument, refs).items() if known == value]:
        return [Control(argument.key), Control(f"={found[0]}")]
    if not argument.text_key:
        kinds = " or ".join(argument.kinds)
        raise TaskError(f"{argument.name}: {value!r:.80} has no number in this prompt: name one of its {kinds}")
    return [Control(argument.text_key), f" {notation.escaped(clean(value))}"]


def _read_call(line: str, tools: Tools, refs: Refs) -> Call:
    name, _, rest = line.partition("(")
    if name not in tools:
        raise TaskError(f"cannot read the answer {line[:120]!r}: expected 'none' or a tool with arguments")
    values, end = dict[str, Any](), ")" if rest == ")" else ","
    for a in tools[name]:
        pattern = _PATTERNS.get("new" if a.new else a.type) or f"=({notation.either(a.choices)})"
        match = re.match(f"{re.escape(a.key)}{pattern}([,)])", rest, re.DOTALL)
        if match and end == ",":
            values[a.name] = _read(a, match[1], refs)
            rest, end = rest[match.end() :], match[2]
    if rest not in ("", ")") or end != ")":
        raise TaskError(f"cannot read {line[:120]!r}: an unknown or misplaced argument, or unfinished")
    return tools.checked({"name": name, "arguments": values})


def _read(argument: Argument, text: str, refs: Refs) -> Any:
    if argument.text_key and text.startswith(" "):
        return notation.unescaped(text)
    if argument.type in ("integer", "number"):
        return float(text) if "." in text else int(text)
    if text not in (known := _coded(argument, refs)):
        raise TaskError(f"{argument.name}={text} points at nothing in this prompt")
    return known[text]


def body(arguments: Sequence[Argument], refs: Refs, rules: notation.Rules) -> str:
    """What follows the opening parenthesis, the closing one included; empty if it needs a thing that is not there."""
    parts = [(_values(a, refs, rules), a.required) for a in arguments]
    if any(required and not part for part, required in parts):
        return ""
    values = rules.listed([part for part in parts if part[0]])
    optional = "?" if values and not any(required for _, required in parts) else ""
    return rules.add(f"{values}{optional} {CLOSE}".lstrip())


def _values(argument: Argument, refs: Refs, rules: notation.Rules) -> str:
    """A key with its values; empty if it can have none here."""
    if argument.type in ("reference", "choice"):
        codes = [f"={code}" for code in _coded(argument, refs)]
        coded = f"{control(argument.key)} {control(*codes)}" if codes else ""
        copied = f"{control(argument.text_key)} {rules.add(STRING, terminal=True)}" if argument.new else ""
        return rules.add(f"{coded} | {copied}") if coded and copied else coded or copied
    kinds = {"text": lambda low, high: STRING, "integer": notation.whole, "number": notation.decimal}
    return f"{control(argument.key)} {rules.add(kinds[argument.type](argument.low, argument.high), terminal=True)}"
