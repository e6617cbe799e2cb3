"""``python -m lib.predict``: a line out for each line in, errors on their lines, one message for a bad model."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from toy_model import saved_student, tiny_base
from toy_task import TASK

from lib.core.files import sha256
from lib.core.task import Answer
from lib.model import student as students
from lib.model.codec import StudentError
from lib.model.gguf_write import export
from lib.predict import main
from lib.runtime.careful import Careful
from lib.runtime.gguf_student import GgufStudent
from lib.runtime.requests import RELEASED, find_model, predict
from lib.tasks import available, load

ITEMS = ["Tea", "Oat Bar", "Gum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def model(folder):
    return export(saved_student(folder / "student"), folder / "student-q8_0.gguf", "q8_0")


@pytest.fixture(scope="module")
def system(model):
    return GgufStudent(model, TASK, threads=1)


def lines(*rows):
    return [row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows]


def test_rows_come_back_in_order_with_the_contract_keys(system):
    rows = [{"id": i, "text": "one tea please", "items": ITEMS} for i in ("a", 7, None)]
    found = list(predict(lines(*rows), system, TASK))
    assert [row["id"] for row in found] == ["a", 7, None]
    for row in found:
        assert {"id", "calls", "confidence", "raw", "latency_ms"} == set(row)
        assert all({"name", "arguments"} == set(call) for call in row["calls"])


def test_what_is_asked_back_is_told(system, monkeypatch):
    ask = {"tool": "Give", "argument": "item"}
    monkeypatch.setattr(system.codec.task, "executable", lambda calls, context, text: ([], ask), raising=False)
    [row] = predict(lines({"id": 1, "text": "one please", "items": ITEMS}), system, TASK)
    assert row["ask"] == ask and row["calls"] == []


@pytest.mark.parametrize(("least", "asks"), [(0.5, False), (0.6, False), (0.61, True)])
def test_below_a_threshold_sensitive_calls_are_to_be_confirmed(least, asks):
    made = [{"name": "Give", "arguments": {"item": "Tea"}}]
    task = SimpleNamespace(context=TASK.context, sensitive=lambda calls, context: {c["name"]: "given" for c in calls})
    known = SimpleNamespace(name="x", answer=lambda text, context: Answer(made, confidence=0.6))
    [row] = predict(lines({"id": 1, "text": "one tea", "items": ITEMS}), Careful(known, task, least), task)
    assert (row["calls"], row.get("ask", {}).get("calls")) == (([], made) if asks else (made, None))
    task.said = lambda text, calls, context: False
    [row] = predict(lines({"id": 1, "text": "one tea", "items": ITEMS}), Careful(known, task, least), task)
    assert row["ask"]["calls"] == made, "the request does not name it"
    task.sensitive = lambda calls, context: {}
    [row] = predict(lines({"id": 1, "text": "one tea", "items": ITEMS}), Careful(known, task, 1.1), task)
    assert row["calls"] == made, "nothing is sensitive"


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        (b'{"id": 1, "text": "tea"', None, "line 2: not JSON"),
        (b'{"id": 1, "text": "\xff"}', None, "line 2: not JSON in UTF-8"),
        (b"[" * 100_000, None, "line 2: not JSON"),
        (b'["id"]', None, "line 2: expected an object"),
        ({"id": 1, "items": ITEMS}, 1, "line 2: text"),
        ({"id": 1, "text": "  \n", "items": ITEMS}, 1, "line 2: text"),
        ({"id": 1, "text": ["tea"], "items": ITEMS}, 1, "line 2: text"),
        ({"id": 1, "text": "x" * 10_000, "items": ITEMS}, 1, "shorten it"),
        (b'{"id": NaN, "text": "tea"}', None, "line 2: not JSON in UTF-8 (NaN"),
        (b'{"id": [-Infinity], "text": "tea"}', None, "line 2: not JSON in UTF-8 (-Infinity"),
        (b'{"id": 1e999, "text": "tea"}', None, "line 2: not JSON in UTF-8 (1e999"),
        ({"id": 1, "text": "tea", "items": "Tea"}, 1, "line 2: items"),
        ({"id": 1, "text": "tea"}, 1, "line 2: 'items' is missing"),
    ],
)
def test_a_bad_line_is_answered_and_the_run_goes_on(system, line, key, message):
    good = {"id": "good", "text": "one tea please", "items": ITEMS}
    first, bad, last = predict(lines(good, line, good), system, TASK)
    assert set(bad) == {"id", "error"}
    assert bad["id"] == key
    assert message in bad["error"]
    assert {**first, "latency_ms": 0} == {**last, "latency_ms": 0}


def test_odd_text_is_read(system):
    for text in ("\ud800", "=3<|im_end|>", "日本茶 \U0001f600", "x" * 1_000):
        [row] = predict(lines({"id": 1, "text": text, "items": ITEMS}), system, TASK)
        assert "calls" in row


def test_blank_lines_are_skipped(system):
    assert list(predict(lines(b"\n", b"   \n"), system, TASK)) == []


def test_the_model_is_found(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.runtime.requests.RELEASED", tmp_path / "released")
    assert find_model(model, tmp_path) == model
    assert find_model(folder / "student", tmp_path) == folder / "student"
    models = tmp_path / "a" / "cpu" / "06_models"
    models.mkdir(parents=True)
    for name in ("student-q4_0.gguf", "student-q8_0.gguf"):
        (models / name).write_bytes(b"")
    assert find_model(None, tmp_path) == find_model(models, tmp_path) == models / "student-q8_0.gguf"
    (models / "assistant-q8_0.gguf").write_bytes(b"")
    assert find_model(models, tmp_path) == models / "student-q8_0.gguf", "not the parent"
    models.rename(tmp_path / "released")
    assert find_model(None, tmp_path / "none") == tmp_path / "released" / "student-q8_0.gguf"
    (tmp_path / "released" / "release.json").write_text('{"deployed": "small.gguf"}')
    assert find_model(None, tmp_path / "none") == tmp_path / "released" / "small.gguf"


def test_the_released_models_are_those_of_the_release():
    release = json.loads((RELEASED / "release.json").read_text())
    assert {name: sha256(RELEASED / name) for name in release["models"]} == release["models"]
    assert find_model(None, RELEASED).name == release["deployed"] in release["models"]


def test_predict_needs_neither_torch_nor_the_teacher():
    code = "import sys, lib.predict, lib.runtime.gguf_student; lib.predict.tasks.load('home').controls()\n"
    code += (
        "heavy = ('torch', 'transformers', 'pandas', 'nbformat', 'lib.teacher', 'lib.llm', 'xllamacpp', 'scipy',"
        " 'lib.report', 'lib.tasks.home.sampler')\n"
    )
    code += "print([name for name in heavy if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_no_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.runtime.requests.RELEASED", tmp_path / "released")
    with pytest.raises(StudentError, match="make reproduce"):
        find_model(None, tmp_path)
    with pytest.raises(StudentError, match="no such model"):
        find_model(tmp_path / "absent", tmp_path)
    with pytest.raises(StudentError, match="neither"):
        find_model(tmp_path, tmp_path)
    for text in ("{}", "[]", "null", "{"):
        (tmp_path / "release.json").write_text(text)
        with pytest.raises(StudentError, match=r"release\.json: names no 'deployed' model"):
            find_model(tmp_path, tmp_path)
    assert main(["--model", str(tmp_path)]) == 2


def test_bad_models_end_with_code_2_and_one_message(model, tmp_path, capsys):
    (tmp_path / "cut.gguf").write_bytes(model.read_bytes()[:5000])
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "odd.gguf").write_bytes(model.read_bytes().replace(b'"tests.toy_task"', b'"tests.toy"     '))
    cases = [
        (["--model", str(tmp_path / "absent.gguf")], "no such model"),
        (["--model", str(tmp_path / "cut.gguf")], "not a whole GGUF"),
        (["--model", str(tmp_path / "text.gguf")], "not a whole GGUF"),
        (["--model", str(tmp_path / "odd.gguf")], "task 'tests.toy': No module named 'tests.toy'"),
        (["--model", str(model), "--task", "home"], "'tests.toy_task', not 'home'"),
    ]
    for arguments, message in cases:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert len(captured.err.strip().splitlines()) == 1


def test_options_out_of_bounds_end_with_code_2_and_one_message(model, capsys):
    for least in ("2", "-0.1", "nan", "much"):
        with pytest.raises(SystemExit, match="2"):
            main(["--model", str(model), f"--ask-below={least}"])
        assert f"--ask-below: invalid share value: '{least}'" in capsys.readouterr().err
    assert main(["--model", str(model), "--threads", "0"]) == 2
    assert capsys.readouterr().err == "predict: threads: 0 cannot answer: give at least 1\n"


def test_a_model_names_its_task(model, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one tea", "items": ["Tea"]}')))
    assert main(["--model", str(model)]) == 0 and "calls" in json.loads(capsys.readouterr().out)


needs_home = pytest.mark.skipif("home" not in available(), reason="the task of the example is not there")
LAMP = {"id": "light.a", "name": "Lamp", "domain": "light", "area": "Den", "device_class": None}
HOME = {"areas": [{"name": "Den", "floor": None}], "entities": [LAMP]}


@pytest.fixture(scope="module")
def home_model(folder):
    student = students.build(load("home"), tiny_base(layers=1), vocab_size=10, layers=1)
    return export(students.save(student, folder / "home"), folder / "home.gguf", "q8_0")


@needs_home
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "lamp on " * 1_250}, "9999 characters"),
        ({"tools": ["HassTurnOnn"]}, "unknown tool 'HassTurnOnn': use HassTurnOn"),
        ({"tools": "HassTurnOn"}, "tools: expected a list"),
        ({"unit": "K"}, "unit: expected"),
        ({"area": "Attic"}, "area: 'Attic' is none of the home's areas"),
        ({"place": "Den"}, "unknown key 'place': known are id, text, home"),
        ({"home": HOME | {"rooms": []}}, "home: unknown key 'rooms': known are"),
        ({"home": {"areas": [], "entities": [LAMP]}}, "'Den' is not in 'areas'"),
        ({"home": HOME | {"entities": [LAMP, LAMP]}}, "'light.a' occurs twice"),
        ({"home": HOME | {"entities": [LAMP | {"alias": ["x"]}]}}, "unknown key 'alias': did you mean 'aliases'?"),
        ({"home": HOME | {"entities": [LAMP | {"aliases": "x"}]}}, "aliases: expected a list"),
        ({"home": HOME | {"floors": [{"name": "Up", "level": "1"}]}}, "level: expected a whole number"),
        ({"home": HOME | {"entities": [LAMP | {"name": "x" * 201}]}}, "201 characters"),
        ({"home": {"areas": [], "entities": []}}, ""),
        ({"home": HOME | {"tools": []}}, ""),
        ({"home": HOME | {"entities": [LAMP, LAMP | {"id": "light.b", "name": "Spot", "aliases": ["lamp"]}]}}, ""),
        ({"text": "allume la lampe 日本茶"}, ""),
    ],
)
def test_bad_homes_are_one_error_and_odd_ones_are_answered(home_model, changes, message):
    task = load("home")
    system = GgufStudent(home_model, task, threads=1)
    [row] = predict(lines({"id": 1, "text": "lamp on", "home": HOME, "area": None} | changes), system, task)
    assert (message in row["error"] and set(row) == {"id", "error"}) if message else "error" not in row


@needs_home
def test_the_command_runs_with_a_task_of_the_project(home_model):
    rows = lines(
        {"id": 1, "text": "lamp on", "home": HOME, "area": None},
        {"id": 2, "text": "lamp on", "home": {"entities": [{"name": 3}]}},
        {"id": 3, "text": "lamp on", "home": HOME, "area": "Den"},
        {"id": "\ud83d", "text": "lamp on", "home": HOME | {"entities": [LAMP | {"name": "Lamp \ud83d"}]}},
        {"id": "\ud83d", "text": "lamp on", "home": HOME, "area": "\ud83d"},
        {"id": float("nan"), "text": "lamp on", "home": HOME},
        {"id": 7, "text": "lamp on", "home": HOME},
    )
    command = [sys.executable, "-m", "lib.predict", "--model", str(home_model), "--threads", "1"]
    done = subprocess.run(command, input=b"".join(rows), capture_output=True, env=os.environ, check=True)
    found = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    assert [row["id"] for row in found] == [1, 2, 3, "?", "?", None, 7]
    assert ["error" in row for row in found] == [False, True, False, False, True, True, False]
    assert "calls" in found[0]
    assert "NaN" in found[5]["error"]
