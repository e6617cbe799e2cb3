"""A small recording of the home task, made with a backend that answers by rule; for tests."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from toy_chat import Rule
from toy_model import tiny_base

from lib.data import record
from lib.llm.types import Prompt, Reply
from lib.model import student as students
from lib.tasks.home import HomeTask

PARAMETERS: dict[str, Any] = {
    **{"task": "home", "seed": 1, "seeds": 12, "count": 4, "tests": 1, "systems": ["pipeline"], "pool": 80},
    **{"judge_every": 2, "refine_below": 3, "read_every": 1, "samples": 0, "chunk": 512},
    **{"third_party": "", "third_party_rows": 0, "third_party_skip": []},
}


@cache
def student() -> str:
    """A tiny random student of the home task on disk."""
    folder = Path(tempfile.mkdtemp()) / "student"
    students.save(students.build(HomeTask(), tiny_base(1), vocab_size=700, layers=1), folder)
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    return str(folder)


def task(folder: Path) -> HomeTask:
    """The home task, with its recordings elsewhere."""

    class Recorded(HomeTask):
        recordings = folder

    return Recorded()


def reply(prompt: Prompt) -> str | Reply:
    """Writes two lines for a seed, judges everything right, and answers any other question with an empty object."""
    properties = (prompt.schema or {}).get("properties", {})
    if "natural" in properties:
        return json.dumps({"same": True, "natural": 4})
    if prompt.temperature > 0.8:
        said = prompt.messages[-1][1].splitlines()[0]
        return f"{said} for me\nnow {said}"
    return "{}"


def make(
    folder: Path, work: Path, answer: Callable[[Prompt], str | Reply] = reply, **changed: Any
) -> tuple[dict[str, int], Rule]:
    """Records into ``folder``; what was counted, and the backend with the prompts it got."""
    backend = Rule(answer)
    return session(folder, work, backend, **changed).run(), backend


def session(folder: Path, work: Path, backend: Rule, **changed: Any) -> record.Session:
    """A recording into ``folder``, not yet run."""
    values = {**PARAMETERS, "students": {"student": student()}, **changed}
    return record.Session(task(folder), backend, record.RecordSettings.read(values, "toy"), work)
