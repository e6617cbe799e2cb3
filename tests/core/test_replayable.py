"""The prompts for a request are the same in every process, or a recording could not be replayed elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

from lib.core.paths import ROOT

SCRIPT = """
import sys
sys.path[:0] = ["tests"]
from toy_chat import Rule
from lib.teacher.pipeline import Pipeline
from lib.teacher.pipeline import OneStageSystem
from lib.tasks.home import TASK

drawn = TASK.teacher_set(1, 4, 300, 5)
pool, tests = (TASK.resolve(rows, drawn.contexts) for rows in (drawn.pool, drawn.tests))
backend = Rule(lambda prompt: "{}")
systems = [Pipeline(TASK.prototype(pool), backend)]
systems += [OneStageSystem(prompts, backend, name) for name, prompts in TASK.one_stage(pool).items()]
for system in systems:
    system.answer_many([(e.text, e.context) for e in tests])
print(*(p.key("m") for p in backend.asked), sep="\\n")
"""


def keys(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_prompts_do_not_depend_on_the_order_of_sets() -> None:
    first = keys("1")
    assert len(first) > 60
    assert first == keys("2") == keys("3")
