"""What is asked beside training: models that no later part makes, by one process at a time that is always ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from lib.core import paths, provenance
from lib.core.params import ParamsError
from lib.experiments import beside
from lib.experiments.beside import Beside

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
        for _ in range(1000):
            if "here" in log.read_text():
                break
            time.sleep(0.01)
        assert "here" in log.read_text()
        helper.before("06")
        assert not helper.is_running() and second.poll() is not None


def test_it_ends_with_an_error_of_the_parts(asked) -> None:
    with pytest.raises(RuntimeError), Beside("any", PARTS) as helper:
        helper.before("04")
        process = helper._running
        raise RuntimeError
    assert process.poll() is not None


def test_nothing_runs_while_requests_are_made(asked) -> None:
    with Beside("any", ["01", "02", *PARTS]) as helper:
        for number, runs in {"01": False, "02": False, "03": True}.items():
            helper.before(number)
            assert helper.is_running() is runs and (helper.running() is not None) is runs


def test_a_negative_number_of_processes_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": -1, "models": MODELS})
    with pytest.raises(ParamsError, match="beside: -1"):
        Beside("any", PARTS)


def test_an_examination_ends_with_the_process_that_started_it() -> None:
    """The middle process starts one that ends with it, tells its number, and is killed."""
    inner = "import sys, time; from lib import side_by_side; side_by_side.end_with(int(sys.argv[1])); time.sleep(600)"
    started = f"subprocess.Popen([sys.executable, '-c', {inner!r}, str(os.getpid())])"
    outer = f"import os, subprocess, sys, time; print({started}.pid, flush=True); time.sleep(600)"
    middle = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True, cwd=paths.ROOT)
    watched = psutil.Process(int(middle.stdout.readline()))
    time.sleep(1)
    middle.kill()
    middle.wait()
    assert not psutil.wait_procs([watched], timeout=60)[1]


def test_the_helper_is_not_counted_as_a_part_s_memory() -> None:
    script = "b = bytearray(300_000_000); print('here', flush=True); import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        peaks = []
        for beside_it in (process.pid, None):
            with provenance.PeakMemory(interval_s=0.01, beside=beside_it) as memory:
                time.sleep(0.2)
            peaks.append(memory.peak)
        assert peaks[1] > peaks[0] + 250_000_000
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("processes", "parts"), [(0, PARTS), (2, ["03"]), (2, ["06"])])
def test_nothing_runs_unless_it_helps(asked, monkeypatch, processes, parts) -> None:
    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": processes, "models": MODELS})
    with Beside("any", parts) as helper:
        for number in parts:
            helper.before(number)
            assert not helper.is_running()
    assert asked == []


def test_the_command_is_one_that_the_examination_takes(monkeypatch, capsys) -> None:
    from lib.experiments import compare_models

    monkeypatch.setattr(beside, "_values", lambda profile: {"beside": 3, "models": MODELS})
    command = Beside("smoke", PARTS).command(["no such model"])
    assert command[:3] == [sys.executable, "-m", "lib.experiments.compare_models"]
    ends: list[int] = []
    monkeypatch.setattr(compare_models.side_by_side, "end_with", ends.append)
    monkeypatch.setattr(
        compare_models, "read", lambda values, run: type("Exam", (), {"entries": MODELS, "at": values})()
    )
    assert compare_models.main(command[3:]) == 1
    assert "--only: no model 'no such model'; known: assistant, student, tiny" in capsys.readouterr().err
    assert ends == [os.getpid()], "it ends with the process that wrote the command"
