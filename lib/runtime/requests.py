"""Finds and opens a trained student, and answers requests in JSON lines with it (``lib.predict``, ``lib.demo``)."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from lib.core import files
from lib.core.paths import PARAMS, REPORTS
from lib.core.task import Answer, System, Task, TaskError
from lib.model.codec import StudentError
from lib.model.gguf_read import GgufFile

DRAWN = 20  # requests of a demonstration, at most
RELEASED = REPORTS / "gpu" / "model"  # the models that come with the project; release.json names the default one


def find_model(path: Path | None, runs: Path) -> Path:
    """The GGUF or student folder that ``path`` names, or else the deployed one, or else the newest under ``runs``.

    Of a folder with several GGUF files: the deployed one, or else a student's, the finer one. Raises StudentError.
    """
    if path is None:
        found = (file.parent for depth in ("*", "*/*") for file in runs.glob(f"{depth}/06_models/*.gguf"))
        folders = [RELEASED] if RELEASED.is_dir() else [*found]
        if not folders:
            raise StudentError("no released model and none under runs/: train one (make reproduce) or give --model")
        path = max(folders, key=lambda folder: folder.stat().st_mtime)
    if not path.exists():
        raise StudentError(f"{path}: no such model; give a GGUF file, or a folder with one or with a student")
    if path.is_file() or (path / "student.json").is_file():
        return path
    release = path / "release.json"
    if release.is_file():
        return _deployed(release)
    models = sorted(path.glob("*.gguf"), key=lambda f: (not f.name.startswith("student"), "q8_0" not in f.name, f.name))
    if not models:
        raise StudentError(f"{path}: holds neither a .gguf file nor a student.json; give another folder")
    return models[0]


def _deployed(release: Path) -> Path:
    try:
        return release.parent / json.loads(release.read_text(encoding="utf-8"))["deployed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudentError(f"{release}: names no 'deployed' model; restore it, or give a .gguf file") from error


def open_system(
    path: Path, load: Callable[[str], Task], task: str | None = None, grammar: bool = True, threads: int = 2
) -> tuple[System, Task]:
    """The model at ``path`` ready to answer, and its task: ``load`` of the model's own, or of the one named ``task``.

    Raises ValueError with one message if it cannot be used.
    """
    if threads < 1:
        raise ValueError(f"threads: {threads} cannot answer: give at least 1")
    if path.is_dir():
        from lib.model.student import load as load_student
        from lib.model.torch_student import TorchStudent

        student = load_student(path)
        found = load(task or student.info["task"])
        return TorchStudent(student, found), found
    from lib.runtime.gguf_student import GgufStudent

    found = load(task or GgufFile(path).student["task"])
    return GgufStudent(path, found, grammar=grammar, threads=threads), found


def demos(task: Task) -> dict[str, dict[str, Any]]:
    """What to try a task with, by name: rows of ``predict``'s input with ``requests`` (text and calls) instead of one.

    Those ``demo*.json`` of params/ and params/TASK that its context takes; if none, one that the task draws, if it can.
    """
    found = {}
    for path in (*PARAMS.glob("demo*.json"), *(PARAMS / task.name).glob("demo*.json")):
        row = files.read_json(path)
        with suppress(TaskError):
            task.context({key: row[key] for key in row if key != "requests"}, path.name)
            found[path.stem] = row
    draw = getattr(task, "examples", None)
    if not found and draw:
        with suppress(ValueError, OSError, ImportError):  # what it is drawn from may not be here
            drawn = list(islice(draw(Random(0), "dev"), DRAWN))
            said = [{"text": e.text, "calls": e.gold[0]} for e in drawn if e.context == drawn[0].context]
            found = {"drawn": {**drawn[0].context, "requests": said}} if drawn else {}
    return found


def predict(lines: Iterable[bytes], system: System, task: Task) -> Iterator[dict[str, Any]]:
    """One output row for each line that is not blank. Raises nothing for bad lines: their rows have ``error``."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _answer_line(line, f"line {number}", system, task)


def _answer_line(line: bytes, where: str, system: System, task: Task) -> dict[str, Any]:
    key: Any = None
    try:
        row = read_row(line, where)
        key = row.get("id")
        answer = system.answer(_text(row, where), task.context(row, where))
    except ValueError as error:
        said = str(error)
        return {"id": key, "error": said if said.startswith(where) else f"{where}: {said}"}
    found = {"id": key, "calls": answer.calls, "confidence": round(answer.confidence, 4), "raw": answer.raw}
    found["latency_ms"] = round(answer.latency_ms, 2)
    optional = {"ask": answer.ask, "error": answer.error}
    return found | {name: value for name, value in optional.items() if value}


def read_row(line: bytes, where: str) -> dict[str, Any]:
    """An object of JSON in UTF-8, without numbers that JSON cannot write. Raises TaskError."""
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON in UTF-8 ({error}); write one object") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: expected an object, got {type(row).__name__}")
    return row


def _number(text: str) -> float:
    """A number of the input; NaN, Infinity and what is too large for a float cannot be written back as JSON."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _text(row: dict[str, Any], where: str) -> str:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise TaskError(f"{where}: text: expected what somebody said, got {text!r:.60}")
    return text.encode("utf-8", "replace").decode()


def calls(answer: Iterable[Mapping[str, Any]]) -> str:
    """Calls in one line for people, 'nothing' if there are none.

    >>> calls([{"name": "Give", "arguments": {"item": "Tea", "amount": 2}}])
    'Give(item=Tea, amount=2)'
    """
    lines = [f"{c['name']}({', '.join(f'{k}={v}' for k, v in c['arguments'].items())})" for c in answer]
    return "; ".join(lines) or "nothing"


def shown(answer: Answer) -> str:
    """The answer's calls as ``calls`` writes them, or what it asks back.

    >>> shown(Answer([], ask={"tool": "Give", "argument": "item"}))
    'Give: which item?'
    """
    asks = answer.ask if not answer.calls else None
    if asks and "calls" in asks:
        return f"{calls(asks['calls'])}?"
    return f"{asks['tool']}: which {asks['argument']}?" if asks else calls(answer.calls)
