"""A task from its tools and an iterator of examples: all else of ``lib.core.task.StudyTask`` has a default here.

See tests/toy_task.py for one. A context has a list of names for each kind of thing that references point at.
"""

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, pairwise, product
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import BaseModel, Field

from lib.core import files
from lib.core.examples import context_of
from lib.core.task import Call, Example, Score, System, TaskError
from lib.core.turn import Ask, Reply, ToolCall, Turn
from lib.runtime.requests import read_row
from lib.tasks import notation
from lib.tasks.compact import Compact
from lib.tasks.notation import clean
from lib.tasks.tools import KEY, form, read, task_checked
from lib.teacher.contract import TeacherSet, Writer
from lib.teacher.pipeline import OneStage, Prototype

DRAWS = 100  # examples drawn for each test request of a level, at most
CORPUS = 4_000  # examples whose words choose the vocabulary
_MARKS = re.escape("\"'([{“‘«.,;:!?…)]}”’»\\")  # around a word, that are no part of what is copied


def call(name: str, /, **arguments: Any) -> Call:
    return {"name": name, "arguments": arguments}


def example(text: str, context: dict[str, Any], calls: list[Call], level: str = "L0") -> Example:
    """A request with its whole context and its right calls."""
    return Example("", text, context, [calls], level, "program", "")


class FromTools(Compact):
    """A task is a subclass with ``name``, ``schemas`` and ``examples``, and an instance of it as ``TASK``."""

    name: str
    schemas: Sequence[dict[str, Any]]

    def __init__(self) -> None:
        """Raises TaskError for a schema that is not supported."""
        self.arguments = read(self.schemas)
        self._kinds = list(dict.fromkeys(k for own in self.arguments.values() for a in own for k in a.kinds))

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def examples(self, rng: Random, split: str) -> Iterator[Example]:
        """Draws requests without end, or all there are, for "train", "dev" or "test"."""
        raise NotImplementedError

    def effects(self, context: dict[str, Any], calls: list[Call]) -> Hashable:
        """What valid calls do, equal for calls that do the same. Raises TaskError for calls that are refused."""
        return tuple(sorted(json.dumps(call, sort_keys=True, ensure_ascii=False).casefold() for call in calls))

    def described(self, context: Mapping[str, Any]) -> str:
        """The context as JSON, for a teacher."""
        return json.dumps({key: value for key, value in context.items() if key != KEY}, ensure_ascii=False)

    @property
    def recordings(self) -> Path:
        """The folder with what teachers answered, beside the task's module."""
        return Path(inspect.getfile(type(self))).parent / "recordings"

    def teacher_set(self, seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
        given = {"seed": f"teacher {seed}", "seeds": seeds + pool, "dev": tests}
        train, dev = self.drawn(given, "train"), self.drawn(given, "dev")
        if not train:
            raise TaskError(f"task '{self.name}' has no requests to paraphrase here: bring its data, see its README")
        contexts, keyed = self.keyed([replace(e, id=f"teacher-{e.id}") for e in (*train, *dev)])
        return TeacherSet(contexts, keyed[:seeds], keyed[len(train) :], keyed[seeds : len(train)])

    def writer(self, prompts: Path | None = None) -> Writer:
        from lib.tasks import teaching

        return teaching.Writer(prompts)

    def one_stage(self, pool: Sequence[Example]) -> dict[str, OneStage]:
        from lib.tasks import teaching

        return teaching.one_stage(self, pool)

    def prototype(self, pool: Sequence[Example]) -> Prototype:
        from lib.tasks import teaching

        return teaching.Prototype(self, pool)

    def dialogue(self, ask: Ask) -> "Dialogue":
        return Dialogue(ask, self)

    def tools(self) -> list[dict[str, Any]]:
        return list(self.schemas)

    def corpus(self) -> Iterable[str]:
        for e in islice(self.examples(Random(0), "train"), CORPUS):
            yield from (f" {clean(text)}" for text in (notation.apart(e.text), *self._names(e.context)))

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        given = {key: value for key, value in row.items() if key not in ("id", "text")}
        found: dict[str, Any] = task_checked(_lists(*self._kinds), given, where).model_dump(by_alias=True)
        for kind in self._kinds:
            if twice := [name for name, n in Counter(found[kind]).items() if n > 1]:
                raise TaskError(f"{where}: {kind}: {twice[0]!r} stands twice: give each a name of its own")
        return found

    def effect(self, calls: Sequence[Call], context: dict[str, Any]) -> Hashable | None:
        try:
            return self.effects(context, [self.valid(call, context) for call in calls])
        except TaskError:
            return None

    def valid(self, call: Call, context: dict[str, Any]) -> Call:
        """The call, checked against its tool and the context's things. Raises TaskError."""
        found, things = self.arguments.checked(call), self.things(context)
        for a in self.arguments[found["name"]]:
            known = {None, *(name for kind in a.kinds for name in things[kind])}
            if a.kinds and not a.new and (value := found["arguments"].get(a.name)) not in known:
                raise TaskError(
                    f"{found['name']}: {a.name}: {value!r:.80} is none of the context's {' or '.join(a.kinds)}"
                )
        return found

    def executable(
        self, calls: Sequence[Call], context: dict[str, Any], text: str
    ) -> tuple[list[Call], dict[str, str] | None]:
        return list(calls), None

    def score(self, example: Example, calls: Sequence[Call]) -> Score:
        done, golds = self.effect(calls, example.context), example.gold
        if done is not None and done in [self.effect(gold, example.context) for gold in golds]:
            return Score(True, 1.0)
        if not calls:
            return Score(False, 0.2, "did_nothing")
        if done is None or [] in golds:
            return Score(False, 0.0, "error" if done is None else "acted_on_nothing")
        used = [Counter(c["name"] for c in some) for some in (calls, *golds)]
        return Score(False, 0.1, "wrong_value") if used[0] in used[1:] else Score(False, 0.0, "wrong_tool")

    def traits(self, example: Example) -> list[str]:
        return ["large"] * self._large(example.context) + ["nothing"] * ([] in example.gold)

    def sample(self, params: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """Of ``params``: ``seed``, how many ``seeds``, and how many requests of each level for ``dev`` and ``test``."""
        train, tests = self.drawn(params, "train"), [*self.drawn(params, "dev"), *self.drawn(params, "test")]
        contexts, keyed = self.keyed([*train, *tests])
        files.write_jsonl(out / "01_homes.jsonl", ({"id": key, **context} for key, context in contexts.items()))
        files.write_jsonl(out / "01_prototype.jsonl", (e.to_dict() for e in keyed[: len(train)]))
        files.write_jsonl(out / "01_tests.jsonl", (e.to_dict() for e in keyed[len(train) :]))
        return {"seeds": len(train), "tests": len(tests), "homes": len(contexts)}

    def keyed(self, examples: Sequence[Example]) -> tuple[dict[str, Any], list[Example]]:
        """The contexts by key, and the examples with the keys of theirs."""
        keys = [files.digest(e.context)[:16] for e in examples]
        pairs = [*zip(keys, examples, strict=True)]
        return {key: e.context for key, e in pairs}, [replace(e, context={KEY: key}) for key, e in pairs]

    def drawn(self, params: Mapping[str, Any], split: str) -> list[Example]:
        """Requests of a split, numbered. Raises TaskError for a test whose answer cannot be right."""
        learnt, found, seen = split == "train", list[Example](), Counter[str]()
        most = params["seeds" if learnt else split]
        draws = islice(self.examples(Random(f"{params['seed']} {split}"), split), most * (1 if learnt else DRAWS))
        for number, drawn in enumerate(draws):
            if learnt or seen[drawn.level] < most:
                seen[drawn.level] += 1
                where = f"{self.name}: {split} example {number}, {drawn.text!r:.60}"
                context = self.context(drawn.context, where)
                found.append(replace(drawn, id=f"{split}-{number}", split=split, context=context))
                if not learnt and (fault := self._fault(found[-1])):
                    raise TaskError(f"{where}: {fault}")
        return found

    def contexts(self, path: Path) -> dict[str, Any]:
        return {str(row["id"]): self.context(row, f"{path.name}: {row['id']}") for row in files.read_jsonl(path)}

    def resolve(self, examples: Iterable[Example], contexts: Mapping[str, Any]) -> list[Example]:
        return [replace(e, context={**e.context, **context_of(e, contexts, KEY)}) for e in examples]

    def accept(
        self, seeds: Iterable[Example], contexts: Mapping[str, Any], tests: Collection[Example]
    ) -> tuple[list[Example], list[Example]]:
        tested, seen = {notation.words(e.text) for e in tests}, set[Any]()
        accepted, rejected = list[Example](), list[Example]()
        for seed in seeds:
            said = seed.context[KEY], notation.words(seed.text)
            repeated = "words of a test" if said[1] in tested else "same request twice" if said in seen else ""
            reason = repeated or self._fault(*self.resolve([seed], contexts))
            seen.add(said)
            rejected += [replace(seed, extra={**seed.extra, "reason": reason})] if reason else []
            accepted += [] if reason else [seed]
        return accepted, rejected

    def _fault(self, e: Example) -> str:
        """Why the first right answer of an example cannot be learnt, or an empty string."""
        try:
            calls = [self.valid(call, e.context) for call in e.gold[0]]
            self.effects(e.context, calls)
            pieces = self.answer(calls, self.references(e.context, e.text))
        except TaskError as error:
            return str(error)
        texts = [notation.unescaped(value) for key, value in pairwise(pieces) if key in self.copied(e.text)]
        edge, said = f"[{_MARKS}]*", clean(e.text)
        lacking = [t for t in texts if not re.search(rf"(?<!\S){edge}{re.escape(t)}{edge}(?!\S)", said)]
        lacking += [t for t in texts if len(t) > notation.MAX_STRING]
        return f"the request has no words {lacking[0]!r} that could be copied" if lacking else ""

    def overlap(
        self, train: Sequence[Example], tests: Sequence[Example], contexts: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        facts: dict[str, Callable[[Example], str]] = {
            "contexts": lambda e: e.context[KEY],
            "sentences": lambda e: notation.words(e.text),
            "sentences with names masked": lambda e: self.masked(e, contexts),
        }
        rows = []
        for split, (kind, fact) in product(dict.fromkeys(e.split for e in tests), facts.items()):
            found, learnt = {fact(e) for e in tests if e.split == split}, {*map(fact, train)}
            n, seen = len(found), len(found & learnt)
            rows.append({"split": split, "of": kind, "n": n, "seen": seen, "share": seen / n})
        return rows

    def words(self, text: str, context: dict[str, Any]) -> str:
        """The casefolded words of a request, the context's names masked."""
        return notation.words(text, self._names(context))

    def masked(self, example: Example, contexts: Mapping[str, Any]) -> str:
        own = example.context  # with its things if it is resolved
        return self.words(example.text, {**own, **contexts.get(own.get(KEY, ""), {})})

    def _names(self, context: dict[str, Any]) -> list[str]:
        return [name for names in self.things(context).values() for name in names]

    def baselines(self, train: Sequence[Example]) -> list[System]:
        return []

    def more_tests(self, tests: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
        return {}

    def third_party(self, path: Path) -> dict[str, list[Example]]:
        return {}


@dataclass(frozen=True)
class Dialogue:
    """See ``lib.core.turn.Dialogue``: the request is what the user said last, its context JSON in system messages."""

    ask: Ask
    task: FromTools

    def reply(self, turn: Turn) -> Reply:
        """Calls if all their tools are offered, and then what these returned. Raises TaskError."""
        said = max((i for i, message in enumerate(turn.messages) if message.role == "user"), default=None)
        if said is None:
            raise TaskError("messages: none has the role 'user': send what was said")
        if results := [message.text for message in turn.messages[said:] if message.role == "tool"]:
            return Reply("\n".join(results))
        system = "\n".join(message.text for message in turn.messages if message.role == "system")
        given = re.search(r"\{.*\}", system, re.DOTALL)
        row = read_row(given[0].encode(), "system message") if given else {}
        answer = self.ask(turn.messages[said].text, self.task.context(row, "system message"))
        calls = tuple(ToolCall("", c["name"], c["arguments"]) for c in answer.calls)
        offered = {call.name for call in calls} <= {tool.name for tool in turn.tools}
        return Reply("", calls if offered else (), answer.confidence, hand_over=not calls or not offered)


@cache
def _lists(*kinds: str) -> type[BaseModel]:
    """A context that is a list of names for each kind."""
    return form("Context", dict.fromkeys(kinds, (list[Annotated[str, Field(min_length=1)]], ...)))
