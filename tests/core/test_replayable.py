"""The prompts for a request are the same in every process, or a recording could not be replayed elsewhere."""

import os
import subprocess
import sys

from toy_chat import Rule

from lib.core.paths import ROOT
from lib.tasks.home import TASK
from lib.teacher.pipeline import OneStageSystem, Pipeline

ELSEWHERE = "import sys; sys.path[:0] = ['tests', 'tests/core']; import test_replayable as t; print(*t.keys())"


def keys() -> list[str]:
    """Of the prompts of all systems for a few requests, in order."""
    drawn = TASK.teacher_set(1, 4, 300, 5)
    pool, tests = (TASK.resolve(rows, drawn.contexts) for rows in (drawn.pool, drawn.tests))
    backend = Rule(lambda prompt: "{}")
    systems = [Pipeline(TASK.prototype(pool), backend)]
    systems += [OneStageSystem(prompts, backend, name) for name, prompts in TASK.one_stage(pool).items()]
    for system in systems:
        system.answer_many([(e.text, e.context) for e in tests])
    return [p.key("m") for p in backend.asked]


def test_prompts_do_not_depend_on_the_order_of_sets() -> None:
    here, seed = keys(), "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert len(here) > 60 and done.stdout.split() == here
