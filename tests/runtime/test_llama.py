"""What lib/runtime/llama_engine.py decides for llama.cpp: how many threads, how long they wait, and that neither changes an answer."""

import os
import subprocess
import sys

import pytest
from toy_model import saved_student

from lib.model.gguf_write import export
from lib.runtime import llama_engine
from lib.runtime.llama_engine import BYTES_A_THREAD, Llama, threads_for_one

pytestmark = pytest.mark.skipif(not llama_engine.available(), reason="the installed library has no calls of its own")


def test_a_thread_for_every_so_many_bytes_and_never_more_than_there_are():
    for threads in (1, 2, 8):
        found = [threads_for_one(size * BYTES_A_THREAD, threads) for size in range(12)]
        assert found == sorted(found)
        assert (found[0], found[-1]) == (1, threads)


def test_threads_change_no_answer(tmp_path, monkeypatch):
    file = export(saved_student(tmp_path / "student"), tmp_path / "x.gguf", "q8_0")
    found = []
    for alone in (1, 2):
        monkeypatch.setattr(llama_engine, "threads_for_one", lambda size, threads, alone=alone: alone)
        model = Llama(file, 2)
        model.feed(list(range(40)))
        found.append(model.feed([7]).copy())
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_the_patience_of_waiting_threads_is_set_unless_the_user_did():
    code = "import lib.runtime.llama_engine, os; print(os.environ['GOMP_SPINCOUNT'])"
    bare = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    for given, expected in (({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=bare | given, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_the_instructions_are_words():
    assert all(word.isidentifier() for word in llama_engine.instructions().split())
