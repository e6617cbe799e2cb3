"""Asks back before what a task calls sensitive is done, where the model is not sure or the request does not name it."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.core.task import Answer, System, Task, said, sensitive

RELEASE = "release.json"  # beside a released model; "ask_below" has a threshold for each file (python -m lib.safety)


class Careful:
    """A System: the answers of another, but for sensitive ones of a confidence below ``least``, or that are not said.

    ``least``: 0 asks about nothing. Such an answer asks back: its ``ask`` has the calls, which are to be made only if
    they are confirmed.
    """

    def __init__(self, system: System, task: Task, least: float) -> None:
        self.name, self._system, self._task, self._least = system.name, system, task, least

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        answer = self._system.answer(text, context)
        if not self._least or not sensitive(self._task, answer.calls, context):
            return answer
        if answer.confidence >= self._least and said(self._task, text, answer.calls, context):
            return answer
        ask = {"tool": answer.calls[0]["name"], "argument": "", "calls": answer.calls}
        return replace(answer, calls=[], ask=ask)


def share(text: str) -> float:
    """A number from 0 to 1, for a command's options. Raises ValueError for any other text."""
    if not 0 <= (value := float(text)) <= 1:
        raise ValueError(text)
    return value


def ask_below(model: Path) -> float | None:
    """The threshold that was measured for a released model; None for any other."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        return float(json.loads((model.parent / RELEASE).read_text(encoding="utf-8"))["ask_below"][model.name])
    return None
