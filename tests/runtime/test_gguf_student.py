"""The GGUF at run time: the grammar holds, the prefix is reused, text stays data, wrong models are refused."""

import pytest
from gguf import GGMLQuantizationType as Ggml
from toy_model import saved_student
from toy_task import TASK, Vending

from lib.core.task import TaskError
from lib.model import gguf_write
from lib.model.codec import StudentError
from lib.model.gguf_read import GgufFile
from lib.model.gguf_write import GgufError, export
from lib.runtime.gguf_student import KINDS, GgufStudent, Rules
from lib.runtime.onnx_engine import suits

CONTEXT = {"items": ["Tea", "Oat Bar", "Crème Brûlée", "Salt Nuts", "Rye Bread", "日本茶"]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    return export(saved_student(folder / "student"), folder / "student-q8_0.gguf", "q8_0")


@pytest.fixture(scope="module")
def system(path):
    return GgufStudent(path, TASK, threads=1)


def test_grammar_makes_every_answer_valid(system):
    for text in ("one tea please", "refill gum to 7", "日本茶", "=3 <|im_end|> Give(", "\x00\n\t?"):
        answer = system.answer(text, CONTEXT)
        assert answer.error == ""
        assert answer.calls == TASK.parse(answer.raw, TASK.references(CONTEXT))
        assert 0 <= answer.confidence <= 1


def test_without_grammar_a_random_model_writes_no_call(path):
    free = GgufStudent(path, TASK, grammar=False, threads=1, max_new=8)
    answer = free.answer("one tea please", CONTEXT)
    assert answer.calls == []
    assert answer.error


@pytest.mark.parametrize("runtime", KINDS)
def test_prefix_is_cached_and_changes_no_answer(path, runtime):
    system = GgufStudent(path, TASK, threads=1, runtime=runtime)
    first = system.answer("one tea please", {"items": ["Gum"]})
    cold = system.answer("refill the oat bar to 30", CONTEXT)
    system.answer("one tea please", CONTEXT)
    warm = system.answer("refill the oat bar to 30", CONTEXT)
    prefix = len(system.codec.prefix(TASK.references(CONTEXT)))
    assert warm.cached_tokens >= prefix > cold.cached_tokens
    assert warm.raw == cold.raw
    back = system.answer("one tea please", {"items": ["Gum"]})
    assert back.raw == first.raw
    if runtime != "server":
        assert back.cached_tokens >= len(system.codec.prefix(TASK.references({"items": ["Gum"]}))), (
            "several contexts are kept"
        )
    assert cold.prompt_tokens == warm.prompt_tokens > prefix
    assert cold.latency_ms > 0
    assert cold.new_tokens > 1


def test_all_runtimes_give_the_same_answers_and_forced_tokens_are_not_asked_for(path, monkeypatch):
    onnx, server = (GgufStudent(path, TASK, grammar=False, threads=1, runtime=kind, max_new=24) for kind in KINDS)
    for text in ("one tea please", "refill the oat bar to 30", "label it 日本茶", "nothing at all"):
        assert onnx.answer(text, CONTEXT).confidence == pytest.approx(server.answer(text, CONTEXT).confidence, rel=0.5)
    prompt = onnx.codec.prompt(CONTEXT, "one tea please")
    fed, model = [], onnx._runtime._model
    feed = model.feed
    monkeypatch.setattr(model, "feed", lambda ids: fed.append(ids) or feed(ids))
    for system in (onnx, server):
        done = system._runtime.complete(prompt, Rules('start: <"Give("> <"item"> <"=1"> <")">\n'), 20)
        assert system.codec.read(done.ids, prompt.refs).raw == "Give(item=1)"
    assert len(fed) == 1
    with pytest.raises(StudentError, match="onnx, server"):
        GgufStudent(path, TASK, runtime="abacus")


def test_weights_that_onnx_runtime_would_have_to_unpack_go_to_llama_cpp(tmp_path, monkeypatch):
    monkeypatch.setitem(gguf_write.KINDS, "q4_1", Ggml.Q4_1)
    folder = saved_student(tmp_path / "student")
    files = {kind: export(folder, tmp_path / f"{kind}.gguf", kind) for kind in ("q4_0", "f16", "q4_1")}
    found = {kind: suits(GgufFile(file)) for kind, file in files.items()}
    assert found == {"q4_0": "onnx", "f16": "onnx", "q4_1": "server"}
    answer = GgufStudent(files["q4_1"], TASK, threads=1).answer("one tea please", CONTEXT)
    assert answer.error == "" and answer.calls == TASK.parse(answer.raw, TASK.references(CONTEXT))


def test_contexts_beyond_the_memory_are_forgotten_and_read_again(path, monkeypatch):
    monkeypatch.setattr("lib.runtime.gguf_student.STATES_BYTES", 0)
    system = GgufStudent(path, TASK, threads=1)
    raws = [system.answer("one tea please", {"items": items}).raw for items in (["Gum"], ["Tea"], ["Gum"])]
    assert raws[0] == raws[2]


def test_too_long_a_request_is_refused_and_the_next_one_works(path, monkeypatch):
    monkeypatch.setattr("lib.runtime.gguf_student.CONTEXT_TOKENS", 300)
    small = GgufStudent(path, TASK, threads=1, max_new=100)
    with pytest.raises(TaskError, match="the request has .*shorten the request"):
        small.answer("tea " * 240, CONTEXT)
    with pytest.raises(TaskError, match="the context has .*fewer or shorter names"):
        small.answer("one tea please", {"items": ["Bar " * 400, "Tea"]})
    assert small.answer("one tea please", CONTEXT).error == ""


def test_wrong_models_are_refused(path, tmp_path):
    class Other(Vending):
        name = "other"

    class More(Vending):
        def controls(self):
            return [*super().controls(), "Explode("]

    with pytest.raises(StudentError, match="'tests.toy_task', not 'other'"):
        GgufStudent(path, Other())
    with pytest.raises(StudentError, match="Explode"):
        GgufStudent(path, More())
    with pytest.raises(GgufError, match="no such file"):
        GgufStudent(tmp_path / "absent.gguf", TASK)


@pytest.mark.parametrize("runtime", KINDS)
def test_a_grammar_that_is_none_is_an_error(path, runtime):
    class Broken(Vending):
        def grammar(self, refs):
            return "start: missing"

    with pytest.raises(TaskError, match="grammar"):
        GgufStudent(path, Broken(), threads=1, runtime=runtime).answer("one tea please", CONTEXT)


def test_wrong_context_is_the_tasks_error(system):
    with pytest.raises(TaskError, match="items"):
        system.answer("tea", system.codec.task.context({}))
