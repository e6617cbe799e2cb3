"""Damaged input of every kind that is read: an answer, or one error that says where and what to do."""

import json
import lzma
import shutil
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import REMEDY, damaged, damaged_text, edits, fuzz
from hypothesis import strategies as st
from small_homes import absent, random_call, random_home

from lib.core import notebook_files, params, paths
from lib.core.task import Answer, TaskError
from lib.data.recording import Recording
from lib.runtime.requests import open_system, predict, read_row
from lib.serve.reading import Refused, read_turn
from lib.tasks import load
from lib.tasks.home import TASK
from lib.tasks.home.assist.dialogue import Dialogue
from lib.tasks.home.simulator.tools import ASSIST, TOOLS
from tests.simulated_assistant import listed, schema, system

pytestmark = pytest.mark.robust

RELEASE = Path(__file__).parent / "release_2026_11_30"
HOMES = [random_home(Random(i), 3 + 9 * i) for i in range(6)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def checked(message: str, *where: str) -> None:
    """A message names one of the places and a remedy."""
    assert any(place in message for place in where), f"names no place: {message}"
    assert REMEDY.search(message), f"no remedy: {message}"
    assert len(message) < 2_000, f"too long: {message}"


def calls_of(rng: Random, of: int) -> list[Any]:
    """Calls that can be written in a home."""
    refs, found = TASK.references({"home": HOMES[of]}, "the lamp"), list[Any]()
    for _ in range(rng.randint(1, 3)):
        call = random_call(rng, HOMES[of])
        try:
            TASK.answer([call], refs)
        except TaskError:
            continue
        found.append(call)
    return found


def test_answers() -> None:
    """The call parser: no answer names what the home lacks."""
    numbered = [TASK.references({"home": home}, "the lamp") for home in HOMES]
    valid = [(of, "".join(TASK.answer(calls_of(Random(i), of), numbered[of]))) for i in range(200) for of in range(6)]

    def check(case: Any) -> None:
        number, changes, pieces = case
        of, answer = valid[number]
        raw = "".join(pieces) or damaged_text(answer, changes)
        for read in (TASK.asked, lambda raw: TASK.lesson(raw, numbered[of])):
            try:
                read(raw)
            except TaskError as error:
                assert 0 < len(str(error)) < 2_000
        try:
            calls = TASK.parse(raw, numbered[of])
        except TaskError as error:
            assert 0 < len(str(error)) < 2_000
            return
        done, _ = TASK.executable(calls, {"home": HOMES[of], "area": None}, raw)
        assert absent([*calls, *done], HOMES[of]) == []

    controls = TASK.controls()
    pieces = st.lists(st.sampled_from(controls) | st.text(max_size=5), max_size=12)
    changes, numbers = edits(*(text.encode() for text in controls)), st.integers(0, len(valid) - 1)
    fuzz("answers", 0.59, st.tuples(numbers, changes, st.just([])) | st.tuples(numbers, st.just([]), pieces), check)


def test_files_of_models(tmp_path: Path) -> None:
    data, path = (RELEASE / "model.gguf").read_bytes(), tmp_path / "model.gguf"
    words = (b"llama.", b"tokenizer.ggml.merges", b"token_embd.weight", b"blk.0.attn_q", b"supertiny")
    places = [0, *(data.index(word) for word in words)]
    home = {"areas": [], "entities": [{"id": "light.lamp", "name": "Lamp"}]}

    def check(case: Any) -> None:
        start, changes = case
        near = [(kind, start + place % 400 if start else place, *rest) for kind, place, *rest in changes]
        path.write_bytes(damaged(data, near))
        try:
            model, _ = open_system(path, load, threads=1)
        except ValueError as error:
            return checked(str(error), path.name)
        try:
            model.answer("lamp on", TASK.context({"home": home}))
        except TaskError as error:
            checked(str(error), "the request")

    cases = st.tuples(st.sampled_from(places), edits(b"llama.", b"blk.0.", b"weight", b"HassTurnOn("))
    fuzz("files of models", 0.02, cases, check)


def test_recordings(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RELEASE / "recording", tmp_path / "recording"))
    names = sorted(path.name for path in folder.iterdir())
    whole = {name: (folder / name).read_bytes() for name in names}
    plain = {name: lzma.decompress(data) if name.endswith(".xz") else data for name, data in whole.items()}

    def check(case: Any) -> None:
        name, packed, changes = case
        data = damaged(whole[name] if packed else plain[name], changes)
        made = lzma.compress(data, preset=0) if name.endswith(".xz") and not packed else data
        (folder / name).write_bytes(made)
        try:
            found = Recording.read(TASK, folder)
            for reason in found.rejected:
                assert name in reason
            candidates, _ = found.candidates()
            found.votes_on(candidates)
            found.on_others({"others": found.tests})
            found.labelled(candidates, "sample")
        except ValueError as error:
            checked(str(error), name, "recording")
        finally:
            (folder / name).write_bytes(whole[name])

    cases = st.tuples(st.sampled_from(names), st.booleans(), edits(b'"id"', b'"gold"', b'"context"', b'"calls"'))
    fuzz("recordings", 0.01, cases, check)


class Scripted:
    """A model whose answers are drawn and can be carried out, or ask back; it checks the home that it is told."""

    def __init__(self) -> None:
        self.rng = Random(0)

    def __call__(self, text: str, context: dict[str, Any]) -> Answer:
        drawn = [random_call(self.rng, context["home"]) for _ in range(self.rng.randint(0, 3))]
        calls, ask = TASK.executable(drawn, context, text)
        self.home = context["home"]
        return Answer(calls, confidence=self.rng.random(), ask=ask)


TOOLS_OFFERED = [{"name": name, "description": "", "parameters": schema(TOOLS[name])} for name in ASSIST] + [
    {"name": name, "description": "", "parameters": {"type": "object", "properties": {}}}
    for name in ("GetLiveContext", "GetDateTime")
]


def conversation(of: int) -> list[dict[str, Any]]:
    """A question about states, answered after the live context, and a request."""
    told = json.dumps({"success": True, "result": "Live Context: An " + listed(HOMES[of], lambda e: {"state": "on"})})
    made = [{"id": "call_0", "function": {"name": "GetLiveContext", "arguments": "{}"}}]
    return [
        {"role": "system", "content": system(HOMES[of], HOMES[of].areas[0].name)},
        {"role": "user", "content": "is the lamp on"},
        {"role": "assistant", "content": None, "tool_calls": made},
        {"role": "tool", "content": told, "tool_call_id": "call_0"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "turn it off and the other one on"},
    ]


def test_requests_to_the_server() -> None:
    """Of both protocols: what is said is of the home that was told."""
    model = Scripted()
    dialogue = Dialogue(model)
    told = [conversation(of) for of in range(4)]

    def check(case: Any) -> None:
        of, length, where, changes, tool, odd = case
        messages = [dict(message) for message in told[of][:length]]
        message = messages[where % length]
        message["content"] = damaged_text(message["content"] or "", changes)
        tools = [{"function": tool} for tool in TOOLS_OFFERED]
        if tool < len(tools):
            tools[tool] = {"function": {**TOOLS_OFFERED[tool], "parameters": odd}}
        body = json.dumps({"model": "home", "messages": messages, "tools": tools}).encode()
        if tool == len(tools):
            body = damaged(body, changes)
        try:
            reply = dialogue.reply(read_turn(read_row(body, "body")))
        except (Refused, TaskError) as error:
            checked(str(error), "body", "model", "messages", "tools", "stream", "user")
            return
        assert reply.text or reply.calls
        acting = [{"name": c.name, "arguments": c.arguments} for c in reply.calls if c.name in TOOLS]
        assert not acting or absent(acting, model.home) == []

    counts = st.integers(0, 3), st.sampled_from([2, 4, 6]), st.integers(0, 5)
    changes = edits(b"names: ", b"- names: ", b"areas: ", b"domain: ", b"You are in area ", b"&x [*x]", b"{a: *b}")
    cases = st.tuples(*counts, changes, st.integers(0, len(TOOLS_OFFERED) + 4), JSON)
    fuzz("requests to the server", 0.15, cases, check)


def test_lines_of_predict() -> None:
    model, task = open_system(RELEASE / "model.gguf", load, threads=1)
    rows = [{"id": 1, "text": "turn on the lamp", "home": home.to_dict(), "area": None} for home in HOMES[:3]]
    rows += [row | {"tools": ["HassTurnOn"], "unit": "°C"} for row in rows]

    def check(case: Any) -> None:
        of, changes, key, odd = case
        row = rows[of] if key is None else _with(rows[of], key, odd)
        data = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for found in predict([damaged(data, changes).replace(b"\n", b" ")], model, task):
            json.dumps(found, allow_nan=False)
            if "calls" not in found:
                checked(found["error"], "line 1")

    places = st.sampled_from("id text area tools unit home home.areas home.entities home.floors".split())
    fields = st.sampled_from("name id domain area device_class aliases floor level unit".split())
    keys = places | st.tuples(st.sampled_from(["home.entities.0.", "home.areas.0."]), fields).map("".join)
    damage = st.tuples(st.integers(0, 5), edits(b'"home"', b'"name"', b'"aliases": ["x"]'), st.none(), st.none())
    fuzz("lines of predict", 0.13, damage | st.tuples(st.integers(0, 5), st.just([]), keys, JSON), check)


def _with(row: Any, key: str, value: Any) -> Any:
    """A copy of nested rows with another value at a place such as ``home.areas.0.name``."""
    first, _, rest = key.partition(".")
    copy = list(row) if isinstance(row, list) else dict(row)
    at: Any = int(first) if isinstance(row, list) else first
    copy[at] = _with(copy[at], rest, value) if rest else value
    return copy


def test_files_of_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage's, as ``lib.stages`` reads them; where they are taken, the values are of the defaults' types."""
    books = {paths.stage_number(book): book for book in paths.notebooks()}
    known = {book: notebook_files.read(book) for book in books.values()}
    defaults = {book.name: notebook_files.defaults(known[book], book.name) for book in known}
    for book in books.values():
        params.load(book, "smoke")  # imports what the parameters' classes need
    monkeypatch.setattr(notebook_files, "read", known.__getitem__)  # notebooks are whole: they are read and parsed once
    monkeypatch.setattr(notebook_files, "defaults", lambda _, name: deepcopy(defaults[name]))
    folder = tmp_path / "smoke"
    folder.mkdir()
    given = {path.name: path.read_bytes() for path in sorted((paths.PARAMS / "smoke").glob("[0-9][0-9]_*.yaml"))}

    def check(case: Any) -> None:
        name, changes = case
        (folder / name).write_bytes(damaged(given[name], changes))
        try:
            params.load(books[name[:2]], "smoke", tmp_path)
        except params.ParamsError as error:
            checked(str(error), name)
        finally:
            (folder / name).unlink()

    cases = st.tuples(
        st.sampled_from(sorted(given)), edits(b"seed: ", b"<<: *a\n", b"1e5", b"!!python/name:os.system ")
    )
    fuzz("files of parameters", 0.1, cases, check)
