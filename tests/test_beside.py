"""What is asked beside training: models that no later part makes, by one process at a time that is always ended."""

from __future__ import annotations

import sys
import time

import pytest

from lib import beside, paths
from lib.beside import Beside

MODELS = {
    "assistant": {"of": "03_assistant", "kind": "q8_0", "step": "parent"},
    "student": {"of": "05_student", "kind": "q8_0", "step": "student"},
    "tiny": {"of": "06_tiny", "kind": "q4_0", "step": "rounding trained"},
}
PARTS = ["03", "04", "05", "06"]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The names that a process was started for, one list each."""
    found: list[list[str]] = []

    def command(self, names):
        found.append(list(names))
        return [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]

    monkeypatch.setattr(paths, "run_dir", lambda profile: tmp_path)
    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": 2, "models": MODELS})
    monkeypatch.setattr(Beside, "command", command)
    return found


def test_only_what_no_later_part_makes_is_asked(asked) -> None:
    helper = Beside("any", PARTS)
    assert helper.lasting("03") == ["tiny"]
    assert helper.lasting("04") == helper.lasting("05") == ["assistant", "tiny"]
    assert helper.lasting("06") == ["assistant", "student", "tiny"]
    assert Beside("any", ["05", "06"]).lasting("05") == ["assistant", "tiny"]


def test_a_process_runs_until_part_6_and_is_started_again_when_it_ended(asked, tmp_path) -> None:
    with Beside("any", PARTS) as helper:
        helper.before("03")
        helper.before("04")
        assert helper.is_running() and asked == [["tiny"]], "one at a time"
        first = helper._running
        first.kill()
        first.wait()
        helper.before("05")
        assert helper.is_running() and asked == [["tiny"], ["assistant", "tiny"]]
        second, log = helper._running, tmp_path / beside.LOG
        while "here" not in log.read_text():
            time.sleep(0.01)
        helper.before("06")
        assert not helper.is_running() and second.poll() is not None


def test_it_ends_with_an_error_of_the_parts(asked) -> None:
    with pytest.raises(RuntimeError), Beside("any", PARTS) as helper:
        helper.before("04")
        process = helper._running
        raise RuntimeError
    assert process.poll() is not None


@pytest.mark.parametrize(("processes", "parts"), [(0, PARTS), (2, ["03"]), (2, ["06"])])
def test_nothing_runs_unless_it_helps(asked, monkeypatch, processes, parts) -> None:
    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": processes, "models": MODELS})
    with Beside("any", parts) as helper:
        for number in parts:
            helper.before(number)
            assert not helper.is_running()
    assert asked == []


def test_the_command_is_one_that_the_examination_takes(monkeypatch, capsys) -> None:
    from lib import exam

    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": 3, "models": MODELS})
    command = Beside("smoke", PARTS).command(["no such model"])
    assert command[:3] == [sys.executable, "-m", "lib.exam"]
    monkeypatch.setattr(exam, "read", lambda values, run: type("Exam", (), {"entries": MODELS, "at": values})())
    assert exam.main(command[3:]) == 1
    assert "--only: no model 'no such model'; known: assistant, student, tiny" in capsys.readouterr().err
