"""What lib/runtime/llama_server.py sets for llama.cpp."""

import os
import subprocess
import sys

import pytest

from lib.runtime import llama_server


@pytest.mark.parametrize(("given", "expected"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_the_patience_of_waiting_threads_is_set_unless_the_user_did(given, expected):
    code = "import lib.runtime.llama_server, os; print(os.environ['GOMP_SPINCOUNT'])"
    bare = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], env=bare | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_the_instructions_are_words_and_a_damaged_file_is_an_error(tmp_path):
    assert all(word.isidentifier() for word in llama_server.instructions().split())
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(RuntimeError, match="cannot load it"):
        llama_server.open_server(tmp_path / "x.gguf", 1, 64)
