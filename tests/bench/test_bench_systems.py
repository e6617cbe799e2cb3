"""Who is compared: what is absent is left out with the remedy, what is wrong is refused before anything is measured."""

import hashlib

import pytest
from toy_model import saved_student
from toy_task import TASK, Vending

from lib.bench import systems
from lib.bench.systems import BenchError, BenchParams, Llm, entrants
from lib.core.params import ParamsError, read_yaml
from lib.core.wheels import cache_folder
from lib.model import gguf_write
from lib.model.base import WHEEL, BaseError, fetch_wheel

HUB = "maker/some-model-GGUF:some-model-q4.gguf"


@pytest.fixture(autouse=True)
def no_release(monkeypatch, tmp_path):
    monkeypatch.setattr(systems, "RELEASED", tmp_path / "released")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("systems") / "student", layers=1)


@pytest.fixture
def chat():
    try:
        return fetch_wheel(cache_folder())
    except BaseError as error:
        pytest.skip(str(error))


def values(**changed):
    return BenchParams(task="tests.toy_task", **changed)


class Other(Vending):
    name = "other"


def test_students_come_smallest_first_then_their_parent_each_by_both_engines(student, tmp_path):
    gguf_write.export(student, tmp_path / "a.gguf", "q8_0")
    gguf_write.export(student, tmp_path / "b.gguf", "q4_0")
    given = values(parent=str(student), baselines=["silent"], warm=7, cold=3)
    found, absent = entrants(TASK, given, [tmp_path], {}, tmp_path / "made")
    names = [e.name for e in found]
    assert [n for n in names if "llama" not in n] == ["silent", "b", "a", "parent q8_0", "parent f16"]
    assert names[1:5] == ["b", "b, llama.cpp", "a", "a, llama.cpp"]
    assert [e.name for e in found if e.released] == ["b", "a"] and absent == {}
    assert all((e.runtime == "server") == ("llama.cpp" in e.name) for e in found[1:5])
    assert {(e.warm, e.cold) for e in found} == {(7, 3)}
    assert all(e.sha256 == hashlib.sha256(e.file.read_bytes()).hexdigest() for e in found[1:])


def test_a_parent_is_exported_once_and_may_be_a_file(student, tmp_path):
    file = gguf_write.export(student, tmp_path / "parent.gguf", "q8_0")
    first, _ = entrants(TASK, values(parent=str(file)), [file], {}, tmp_path / "made")
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()}
    again, _ = entrants(TASK, values(parent=str(file)), [file], {}, tmp_path / "made")
    assert first == again and len(written) == 2
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()}


def test_what_is_not_here_is_left_out_with_the_remedy(student, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPER_TINY_CACHE", str(tmp_path / "cache"))
    llms = {"big": Llm(source=HUB), "own": Llm(source="models/none.gguf")}
    found, absent = entrants(TASK, values(parent="runs/none", llms=llms), [], {}, tmp_path)
    assert found == []
    assert "hf download maker/some-model-GGUF some-model-q4.gguf --local-dir" in absent["big"]
    assert absent["big"].endswith("or name a file: --llm big=FILE")
    assert absent["own"] == "models/none.gguf is not here: name a file: --llm own=FILE"
    assert "runs/none is not there" in absent["parent"] and "--parent" in absent["parent"]
    (tmp_path / "released").mkdir()
    gguf_write.export(student, tmp_path / "released" / "tiny.gguf", "q8_0")
    assert [e.name for e in entrants(TASK, values(), [], {}, tmp_path)[0]] == ["tiny", "tiny, llama.cpp"]
    found, absent = entrants(Other(), values(), [], {}, tmp_path)
    assert found == [] and "no model for the task 'other' is there" in absent["student"]


def test_a_large_model_is_found_where_it_is_kept_and_must_be_the_pinned_one(chat, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPER_TINY_CACHE", str(tmp_path))
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "some-model-q4.gguf").symlink_to(chat)
    digest = hashlib.sha256(chat.read_bytes()).hexdigest()
    llm = Llm(source=HUB, sha256=digest, prompt="short")
    (big,), _ = entrants(TASK, values(llms={"big": llm}), [], {}, tmp_path)
    assert (big.kind, big.sha256, big.prompt, big.warm, big.cold) == ("llm", digest, "short", 3, 2)
    wrong = llm.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(BenchError, match="some-model-q4.gguf: SHA-256 .* is not the 000000000000"):
        entrants(TASK, values(llms={"big": wrong}), [], {}, tmp_path)
    named, _ = entrants(TASK, values(llms={"big": wrong}), [], {"big": chat, "new": chat}, tmp_path)
    assert {e.name: (e.file, e.prompt) for e in named} == {"big": (chat, "short"), "new": (chat, "")}
    (base,), _ = entrants(TASK, values(llms={"base": Llm(source=WHEEL)}), [], {}, cache_folder())
    assert base.kind == "llm"


def test_models_that_cannot_be_used_are_refused(student, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        file = gguf_write.export(student, tmp_path / folder / "same.gguf", "q8_0")
    with pytest.raises(BenchError, match="two systems are called 'same'"):
        entrants(TASK, values(), [tmp_path / "one", tmp_path / "two"], {}, tmp_path)
    with pytest.raises(ValueError, match="'tests.toy_task', not 'other'"):
        entrants(Other(), values(), [file], {}, tmp_path)
    with pytest.raises(ValueError, match="same.gguf: has no chat template"):
        entrants(TASK, values(), [file], {"x2": file}, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread: 2", "unknown parameter 'thread'; did you mean 'threads'"),
        ("threads: 0", "threads: Input should be greater than 0"),
        ("warm: many", "warm: Input should be a valid integer"),
        ("llms: {big: {}}", "'llms.big.source' is missing"),
        ("llms: {big: {source: x.gguf, promt: y}}", "did you mean 'prompt'"),
    ],
)
def test_wrong_parameters_name_file_and_key(tmp_path, text, message):
    (tmp_path / "bench.yaml").write_text(f"task: home\n{text}")
    with pytest.raises(ParamsError, match=f"bench.yaml: .*{message}"):
        BenchParams.read(read_yaml(tmp_path / "bench.yaml"), "bench.yaml")
