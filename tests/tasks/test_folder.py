"""A task from a folder: its splits and variants, what its executor decides, and each bad input."""

import json
import pickle
import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import garden
import pytest

from lib import new_task
from lib.core import params, paths, provenance
from lib.tasks import load
from lib.tasks.folder import Folder
from lib.tasks.from_tools import call
from lib.tasks.home.sampler import phrases


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tasks", "params"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    return garden.folder(tmp_path / "garden")


def bring(folder: Path, name: str = "garden") -> int:
    return new_task.main(["--name", name, "--from", str(folder)])


def test_a_folder_becomes_a_task_with_parameters_that_are_kept(folder: Path) -> None:
    assert bring(folder) == 0
    assert load("garden").name == "garden" and paths.profiles() == ["garden/cpu", "garden/gpu", "garden/smoke"]
    for profile in ("garden/cpu", "garden/gpu"):
        found = {n.name[:2]: params.load(n, profile) for n in paths.notebooks()}
        assert {values["task"] for values in found.values() if "task" in values} == {"garden"}
        assert found["03"]["repeats"] == found["04"]["repeats"] == found["05"]["training"]["pool_shares"] == {}
    texts = {path: path.read_text() for path in paths.PARAMS.rglob("*.yaml")}
    assert not [path for path, text in texts.items() if re.search("intents|CLINC|human|out_of_scope", text)]
    before, own, other = provenance.library("", "garden"), min(texts), max(texts)
    own.write_text("# mine\n")
    other.unlink()
    (folder / "executor.py").write_text((folder / "executor.py").read_text() + "\n")
    assert bring(folder) == 0 and own.read_text() == "# mine\n" and other.read_text() == texts[other]
    assert provenance.library("", "garden") != before, "its stages run again"


def test_near_duplicates_stay_together_and_variants_in_their_part(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(phrases, "mistyped", lambda rng, text: text)
    near = '{"text": "sprinkle beans, 3 minutes", "beds": ["Beans"], "calls": []}\n'
    (folder / "examples.jsonl").write_text((folder / "examples.jsonl").read_text() + near)
    task, texts = pickle.loads(pickle.dumps(Folder("garden", folder))), dict[str, set[str]]()
    assert len({e.split for e in task.said if e.text.startswith("sprinkle")}) == 1
    for part in ("train", "dev", "test"):
        drawn, own = list(islice(task.examples(Random(1), part), 200)), [e for e in task.said if e.split == part]
        assert {e.text for e in drawn[: len(own)]} == {e.text for e in own} and len(drawn) > 3 * len(own)
        assert {e.level for e in drawn[len(own) :]} == {"varied"} and {e.split for e in drawn} == {part}
        given = [(e, value) for e in drawn for one in e.gold[0] for value in one["arguments"].values()]
        assert all(str(value).lower() in e.text.lower() for e, value in given)
        assert {value for _, value in given} - {value for e, value in given if e in own}, "others than the user's"
        assert all(e.context in [e.context for e in own] for e in drawn)
        texts[part] = {re.sub(r"\W+", " ", e.text.lower()) for e in drawn}
    assert not texts["train"] & (texts["dev"] | texts["test"])


def test_the_executor_decides_what_is_right_and_what_is_refused(folder: Path) -> None:
    task, here, once = Folder("garden", folder), {"beds": ["Roses", "Herbs"]}, [call("Water", bed="Herbs", minutes=10)]
    twice = [call("Water", bed="Herbs", minutes=5)] * 2
    assert task.effect(twice, here) == task.effect(once, here) not in (None, task.effect([], here))
    assert task.effect([call("Water", bed="Herbs", minutes=50)] * 2, here) is None, "it raises ValueError"
    slow = "import time\nSECONDS = 2\ndef execute(context, calls):\n    time.sleep(1000 * len(calls))\n    return 1\n"
    (folder / "executor.py").write_text(slow)
    task = Folder("garden", folder)
    assert task.effect(once, here) is None and task.effect([], here) == "1\n", "stopped, and started again"


def refused(folder: Path, message: str, capsys: Any, name: str = "garden") -> None:
    assert bring(folder, name) == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and len(said.splitlines()) == 1, said
    assert not paths.TASKS.exists() and not paths.PARAMS.exists()


HEAD = "def execute(context, calls):\n"
EXECUTORS = {
    f"{HEAD}    return calls[0]['who']\n": "examples.jsonl, line 1: executor.py, line 2: KeyError: 'who': correct it",
    f"SECONDS = 0.2\n{HEAD}    while True:\n        pass\n": r"executor.py, line [34]: stopped, not done after 0:00",
    f"\n{HEAD}    return context.pop('beds')\n": "executor.py, line 2: execute changes its input: let it work on",
    f"{HEAD}    return {{1, 2}}\n": "executor.py, line 1: TypeError: Object of type set is not JSON",
    f"{HEAD}    raise ValueError('no')\n": r"line 1: executor.py refuses its calls \(no\): correct it",
    "def execute(\n": "executor.py, line 1: SyntaxError",
    "x = 1\n": "executor.py, line 1: AttributeError: module 'executor' has no attribute 'execute'",
}


@pytest.mark.parametrize("code", EXECUTORS)
def test_executors_that_cannot_be_used(code: str, folder: Path, capsys: Any) -> None:
    (folder / "executor.py").write_text(code)
    refused(folder, EXECUTORS[code], capsys)


WATER = {"name": "Water", "arguments": {"bed": "Roses", "minutes": 10}}
ROW = {"text": "water the roses for 10 minutes", "beds": ["Roses"], "calls": [WATER]}
ROWS = {
    "not JSON in UTF-8": "{",
    "unknown parameter 'room'": {**ROW, "room": 1},
    "'beds' is missing": {"text": "hi", "calls": []},
    "the request is empty": {**ROW, "text": " "},
    "unknown tool 'Rain'": {**ROW, "calls": [{**WATER, "name": "Rain"}]},
    "Water: 'minutes' is missing": {**ROW, "calls": [{"name": "Water", "arguments": {"bed": "Roses"}}]},
    "the request has no words 'weed'": {**ROW, "calls": [{"name": "Note", "arguments": {"text": "weed"}}]},
    "bed: 'Roses' is none of the context's beds": {**ROW, "beds": ["Kale"]},
}


@pytest.mark.parametrize("message", ROWS)
def test_examples_that_cannot_be_learnt(message: str, folder: Path, capsys: Any) -> None:
    (folder / "examples.jsonl").write_text("\n\n".join(r if r == "{" else json.dumps(r) for r in (ROW, ROWS[message])))
    refused(folder, rf"examples.jsonl, line 3: .*{re.escape(message)}.*: correct it", capsys)


def test_examples_that_are_too_few_or_too_alike(folder: Path, capsys: Any) -> None:
    lines = (folder / "examples.jsonl").read_text().splitlines(keepends=True)
    for some in (lines[:19], []):
        (folder / "examples.jsonl").write_text("".join(some))
        n = len(some)
        refused(folder, f"examples.jsonl, line {n or 1}: {n} requests are too few: write at least 20, .* five", capsys)
    (folder / "examples.jsonl").write_text("".join([*lines, lines[3]]))
    told = f"line {len(lines) + 1}: the same request as in examples.jsonl, line 4: write each once"
    refused(folder, f"examples.jsonl, {told}", capsys)


def test_parts_are_alike_however_tools_are_combined(folder: Path) -> None:
    task = Folder("garden", folder)
    done = (("water the {}", ["Water"]), ("{}: soak, note", ["Water", "Note"]), ("note {} today", ["Note"]))
    rows = [
        replace(task.said[0], text=said.format(thing), gold=[[call(name) for name in names]])
        for said, names in done
        for thing in ("alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo")
    ]
    parts = Counter(e.split for e in task._split(rows))
    assert parts == {"train": 13, "dev": 4, "test": 4}


TOOLS: list[tuple[Any, str]] = [
    ([{"name": "A"}] * 2, "line 3: tool 'A': expected a name of its own"),
    ([{"name": "A"}, {"description": "a"}], "line 3: tool None: expected a name of its own"),
    ([{"name": "A"}, {"type": "array"}], "line 3: tool 'B': argument 'x': type 'array' is not supported"),
    ([{"type": "string", "pattern": "a"}], "line 2: .* 'pattern' is not supported"),
    ([{"type": "string", "x-reference": "text"}], "line 2: .* x-reference 'text': the word is taken: name the things"),
    ([{"type": "string", "enum": []}], "line 2: properties.x.enum: List should have at least 1 item"),
    ([{"name": "A", "parameters": {"oneOf": []}}], "line 2: unknown parameter 'oneOf'"),
    ('[{"name": "A"}]', "line 1: 'function': correct it; a list of OpenAI tools is expected"),
    ("[\n{,}]", "line 2: Expecting property name .*: correct it"),
    ("[]", "line 1: there are no tools: describe at least one"),
]


@pytest.mark.parametrize(("tools", "message"), TOOLS)
def test_tools_that_cannot_be_used(tools: Any, message: str, folder: Path, capsys: Any) -> None:
    if isinstance(tools, list):
        typed = [{"name": "B", "parameters": {"properties": {"x": t}}} if "type" in t else t for t in tools]
        tools = "[\n" + ",\n".join(json.dumps({"type": "function", "function": t}) for t in typed) + "\n]"
    (folder / "tools.json").write_text(tools)
    refused(folder, f"tools.json, {message}", capsys)


def test_names_that_are_taken_or_wrong_and_no_folder(folder: Path, capsys: Any) -> None:
    refused(folder / "none", "tools.json, line 1: .*No such file", capsys)
    for name in ("home", "A", "../x", ""):
        refused(folder, f"NAME={re.escape(name)}: use small letters", capsys, name)
