"""The bench as a whole: a tiny model through its own processes, and what is said when something is missing."""

import csv
import json

import pytest
import yaml
from toy_bench import Sampled, replies
from toy_model import saved_student, tiny_base

from lib.bench import __main__ as bench
from lib.bench.systems import DEFAULTS
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


def values(**changed):
    return {**DEFAULTS, "threads": 1, "warm": 4, "cold": 2, "baselines": ["silent"], "sample": {"dev": 4}} | changed


def test_table_csv_and_json_of_a_run(models, tmp_path):
    shown, well = bench.systems(Sampled(), values(), tmp_path, [models], run=replies)
    assert well
    rows = [r for r in csv.DictReader((tmp_path / "bench.csv").open()) if "llama.cpp" not in r["system"]]
    assert [r["system"] for r in rows] == ["silent", "b-super", "a-tiny"]
    assert [(r["warm_n"], r["cold_n"]) for r in rows] == [("4", "2")] * 3
    assert (float(rows[1]["warm_ratio"]), float(rows[1]["cold_ratio"])) == (1, 1)
    assert float(rows[1]["limit_decode"]) > float(rows[2]["limit_decode"])
    document = json.loads((tmp_path / "bench.json").read_text())
    for key in ("date", "commit", "machine", "versions", "parameters", "models", "systems"):
        assert document[key]
    assert document["models"]["a-tiny"]["sha256"] == rows[2]["sha256"]
    assert str(tmp_path) not in json.dumps(document)
    for name in ("silent", "b-super", "a-tiny", "warm p50", "GB/s"):
        assert name in shown


def test_same_sample_again_and_a_finished_run_is_measured_anew(models, tmp_path):
    asked = []

    def run(job):
        asked.append(job)
        return replies(job)

    bench.systems(Sampled(), values(), tmp_path, [models], run=run)
    first = list(asked)
    bench.systems(Sampled(), values(), tmp_path, [models], run=run)
    assert asked == first * 2


def test_a_failing_system_is_named_and_the_others_are_measured(models, tmp_path):
    def run(job):
        if job.get("system", {}).get("name") == "b-super":
            raise ValueError("out of memory")
        return replies(job)

    shown, well = bench.systems(Sampled(), values(), tmp_path, [models], run=run)
    assert not well
    assert "b-super failed: out of memory" in shown
    rows = {r["system"]: r for r in csv.DictReader((tmp_path / "bench.csv").open())}
    assert rows["a-tiny"]["warm_p50_ms"] and not rows["b-super"]["warm_p50_ms"]


def test_a_tiny_student_goes_through_the_whole_path(tmp_path, capsys):
    """Real processes: sampling, a GGUF under a grammar in both engines, a rule system, the machine."""
    folder = students.save(students.build(HOME, tiny_base(1), vocab_size=1500, layers=1), tmp_path / "student")
    file = gguf_write.export(folder, tmp_path / "random.gguf", "q8_0")
    sample = {"seeds": 2, "dev": 7, "test": 0, "home_size": [3, 8]}
    given = {"threads": 1, "warm": 2, "cold": 1, "sample": sample, "baselines": ["hassil"]}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(given))
    options = ["--only", "systems", "--params", str(tmp_path / "bench.yaml"), "--model", str(file)]
    assert bench.main([*options, "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    rules, random, *others = csv.DictReader((tmp_path / "out" / "bench.csv").open())
    assert [rules["system"], random["system"]] == ["hassil", "random"]
    assert (random["engine"], random["instructions"]) == ("ONNX Runtime", "")
    assert [(r["system"], r["engine"]) for r in others] in ([], [("random, llama.cpp", "llama.cpp")])
    for row in (rules, random, *others):
        assert float(row["warm_p50_ms"]) > 0 and float(row["peak_mb"]) > 10 and row["errors"] == "0"
    assert float(random["decode_tokens_s"]) > 0 and float(random["share_decode"]) > 0
    assert float(random["warm_fresh_tokens"]) < float(random["cold_fresh_tokens"])
    assert rules["decode_tokens_s"] == ""
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "no-such.gguf"], "no-such.gguf: no such file"),
        (["--llm", "big"], "--llm big: expected NAME=FILE"),
        (["--llm", "big=no-such.gguf"], "no such file; name a GGUF that is there"),
        (["--task", "nonsense"], "unknown task 'nonsense'"),
        (["--threads", "0"], "--threads 0: expected at least 1"),
        (["--params", "no-such.yaml"], "no-such.yaml"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_measured(options, message, tmp_path, capsys):
    assert bench.main(["--only", "systems", "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_projects_own_parameters_are_well_formed():
    from lib.bench.systems import parameters

    found = parameters(bench.PARAMETERS)
    assert load(found["task"]).name == found["task"]
    assert found["cold"] <= found["warm"]
    assert all(one["sha256"] == "" or len(one["sha256"]) == 64 for one in found["llms"].values())
