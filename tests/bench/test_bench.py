"""The bench as a whole: its table and files, a run that was killed, and a tiny model through its own processes."""

import csv
import json

import pytest
import yaml
from toy_bench import MACHINE, Sampled, replies, reply
from toy_model import saved_student, tiny_base

from lib.bench import __main__ as bench
from lib.bench.systems import BenchParams, Entrant
from lib.bench.table import summary
from lib.core.params import read_yaml
from lib.model import gguf_write
from lib.model import student as students
from lib.tasks import load
from lib.tasks.home import TASK as HOME


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two toy students as files, the larger one first by name."""
    folder = tmp_path_factory.mktemp("models")
    small, large = saved_student(folder / "s", layers=1), saved_student(folder / "l", layers=4)
    gguf_write.export(large, folder / "a-tiny.gguf", "q8_0")
    gguf_write.export(small, folder / "b-super.gguf", "q8_0")
    return folder


def run(models, out, answer=replies, only=()):
    values = BenchParams(task="tests.toy_task", threads=1, warm=4, cold=2, baselines=["silent"], sample={"dev": 4})
    return bench.bench(values, out, [models], only=only, task=Sampled(), run=answer)


def rows(out):
    return {r["system"]: r for r in csv.DictReader((out / "bench.csv").open()) if "llama.cpp" not in r["system"]}


def test_table_csv_and_json_of_a_run(models, tmp_path):
    shown, well = run(models, tmp_path)
    silent, small, large = rows(tmp_path).values()
    assert well and [r["system"] for r in (silent, small, large)] == ["silent", "b-super", "a-tiny"]
    assert {(r["warm_n"], r["cold_n"]) for r in (silent, small, large)} == {("4", "2")}
    assert (float(small["warm_ratio"]), float(small["cold_ratio"])) == (1, 1)
    assert float(small["limit_decode"]) > float(large["limit_decode"]) and silent["limit_decode"] == ""
    document = json.loads((tmp_path / "bench.json").read_text())
    for key in ("date", "commit", "machine", "versions", "parameters", "models", "systems"):
        assert document[key]
    assert document["models"]["a-tiny"]["sha256"] == large["sha256"]
    assert str(tmp_path) not in json.dumps(document)
    for name in ("silent", "b-super", "a-tiny", "warm p50", "with 1 threads:\n1.0 GB/s", "times as long as b-super."):
        assert name in shown


class Killed(BaseException):
    """The end of the process, as far as a program can tell."""


@pytest.mark.parametrize("count", [0, 7, 20])
def test_a_killed_bench_goes_on_with_the_system_that_was_cut_off(models, tmp_path, count):
    whole = []

    def killed(job):
        for row in replies(job):
            if len(whole) == count:
                raise Killed
            whole.append((row.get("system"), row["kind"]))
            yield row

    with pytest.raises(Killed):
        run(models, tmp_path, killed)
    assert not (tmp_path / "bench.csv").exists()
    jobs = []
    run(models, tmp_path, lambda job: jobs.append(job.get("system", {}).get("name")) or replies(job))
    ends = {"silent": "process"}
    done = [name for name, kind in whole if kind in ("machine", ends.get(name, "speed"))]
    every = [None, "silent", "b-super", "b-super, llama.cpp", "a-tiny", "a-tiny, llama.cpp"]
    assert jobs == every[len(done) :] and {r["warm_n"] for r in rows(tmp_path).values()} == {"4"}
    jobs.clear()
    run(models, tmp_path, lambda job: jobs.append(job) or replies(job))
    assert len(jobs) == len(every), "a finished run is measured anew"


def test_released_models_have_a_row_for_large_contexts(models, tmp_path):
    values = BenchParams(task="tests.toy_task", threads=1, warm=4, cold=2, sample={"dev": 4}, large={"seed": 5})
    jobs = {}
    bench.bench(values, tmp_path, [models], task=Sampled(), run=lambda job: jobs.update(_named(job)) or replies(job))
    found = {r["system"]: r for r in csv.DictReader((tmp_path / "bench.csv").open())}
    assert found["b-super, large"]["warm_n"] == "4" and found["b-super, large"]["released"] == "False"
    assert jobs["b-super, large"] == str(tmp_path / "large") and jobs["b-super"] == str(tmp_path / "sample")


def _named(job):
    return {job["system"]["name"]: job["folder"]} if "system" in job else {}


def test_systems_that_fail_are_named_and_only_those_that_are_asked_for_are_measured(models, tmp_path):
    def answer(job):
        if job.get("system", {}).get("name") == "b-super":
            raise ValueError("out of memory")
        return replies(job)

    shown, well = run(models, tmp_path, answer)
    assert not well and "b-super failed: out of memory" in shown
    assert rows(tmp_path)["a-tiny"]["warm_p50_ms"] and not rows(tmp_path)["b-super"]["warm_p50_ms"]
    run(models, tmp_path, only=["a-tiny"])
    assert list(rows(tmp_path)) == ["a-tiny"]
    with pytest.raises(bench.BenchError, match="--only tiny: use one of: silent; b-super; "):
        run(models, tmp_path, only=["tiny"])


def test_figures_of_the_table(tmp_path):
    entrants, held = [Entrant("rules", "baseline")], {}
    for name, size in {"large": 3000, "small": 1000}.items():
        (tmp_path / f"{name}.gguf").write_bytes(bytes(size))
        entrants.append(Entrant(name, "student", tmp_path / f"{name}.gguf", "0" * 64, released=True))
        held[name] = {"decode_bytes": size, "decode_weights": 1000}
    given = []
    for name, (warm, cold) in {"small": (10.0, 100.0), "large": (40.0, 300.0), "rules": (1.0, 1.0)}.items():
        given += [reply(name, "c", "cold", cold), reply(name, "a", "warm", warm * 9)]
        given += [reply(name, "a", "warm", warm - 1), reply(name, "b", "warm", warm + 1, exact=False, error="no")]
    given += [{"system": "small", "kind": "speed", "prompt_tokens_s": 1e5, "decode_tokens_s": 5e5}]
    rules, large, small = summary(entrants, given, held, {}, MACHINE)
    assert (small["warm_p50_ms"], small["warm_p95_ms"], small["cold_p50_ms"]) == (10, pytest.approx(10.9), 100)
    assert (large["warm_ratio"], large["cold_ratio"]) == (4, 3)
    assert (rules["warm_ratio"], rules["cold_ratio"]) == (0.1, 0.01)
    for row in (rules, large, small):  # a request that was asked twice counts once, and last
        assert (row["warm_n"], row["cold_n"], row["right"], row["errors"]) == (2, 1, "2/3", 1)
    assert small["share_decode"] == pytest.approx(5e5 / small["limit_decode"]) and "share_decode" not in large
    assert "warm_ratio" not in summary(entrants[:1], given, {}, {}, MACHINE)[0]


def test_a_tiny_student_goes_through_the_whole_path(tmp_path, capsys):
    """Real processes: sampling, the machine, a GGUF under a grammar."""
    folder = students.save(students.build(HOME, tiny_base(1), vocab_size=1500, layers=1), tmp_path / "student")
    file = gguf_write.export(folder, tmp_path / "random.gguf", "q8_0")
    given = {"task": "home", "sample": {"seeds": 2, "dev": 7, "test": 0, "home_size": [3, 8]}}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(given))
    options = ["--params", tmp_path / "bench.yaml", "--model", file, "--out", tmp_path / "out", "--only", "random"]
    options += ["--threads", 1, "--warm", 2, "--cold", 1]
    assert bench.main([str(option) for option in options]) == 0, capsys.readouterr().err
    (random,) = rows(tmp_path / "out").values()
    assert float(random["warm_p50_ms"]) > 0 and float(random["peak_mb"]) > 10 and random["errors"] == "0"
    assert random["engine"] == "ONNX Runtime" and float(random["share_decode"]) > 0
    assert float(random["warm_fresh_tokens"]) < float(random["cold_fresh_tokens"])
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "no-such.gguf"], "no-such.gguf: no such file"),
        (["--llm", "big"], "--llm big: expected NAME=FILE"),
        (["--task", "nonsense"], "unknown task 'nonsense'"),
        (["--params", "no-such.yaml"], "no-such.yaml"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_measured(options, message, tmp_path, capsys):
    assert bench.main(["--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_projects_own_parameters_are_well_formed():
    found = BenchParams.read(read_yaml(bench.PARAMETERS), "bench.yaml")
    assert load(found.task).name == found.task and found.cold <= found.warm
    assert all(len(one.sha256) in (0, 64) for one in found.llms.values())
