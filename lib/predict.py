"""Answers requests from JSON lines with a trained student: ``python -m lib.predict --model FILE_OR_DIR < in > out``.

In, a line each: ``id``, ``text`` and what the task's context needs; out, in the same order, ``id``, ``calls``,
``confidence``, ``raw`` and ``latency_ms``. A bad line gets ``id`` and ``error``, and the run goes on; a model that
cannot be used ends it at once with exit code 2. Lines of one context in a row are fast: its prefix stays in the cache.

    $ head -1 in.jsonl
    {"id": 1, "text": "two teas please", "items": ["Gum", "Tea"]}
    $ python -m lib.predict --model reports/gpu/model/tiny.gguf < in.jsonl
    {"id": 1, "calls": [{"name": "Give", "arguments": {"item": "Tea", "amount": 2}}], "confidence": 0.98, ...}
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.core.paths import REPORTS, runs
from lib.core.task import Answer, System, Task, TaskError
from lib.model.gguf_write import GgufFile
from lib.tasks import load

RELEASED = REPORTS / "gpu" / "model"
"""The models that come with the project (lib/report/release.py)."""
FIRST = "tiny.gguf"
"""The released model that is used unless another is named: the most accurate one, not the smallest."""


class PredictError(ValueError):
    """A model that cannot be found or used; the message says which and gives the remedy."""


def predict(lines: Iterable[bytes], system: System, task: Task) -> Iterator[dict[str, Any]]:
    """One output row for each line that is not blank. Raises nothing for bad lines: their rows have ``error``."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _answer_line(line, f"line {number}", system, task)


def _answer_line(line: bytes, where: str, system: System, task: Task) -> dict[str, Any]:
    key: Any = None
    try:
        row = _read_line(line, where)
        key = row.get("id")
        answer = system.answer(_text(row, where), task.context(row, where))
    except ValueError as error:
        return {"id": key, "error": str(error)}
    return {"id": key, **_output(answer)}


def _read_line(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON in UTF-8 ({error}); write one object on a line") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: expected an object with 'id' and 'text', got {type(row).__name__}")
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


def _output(answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {"calls": answer.calls, "confidence": round(answer.confidence, 4), "raw": answer.raw}
    row["latency_ms"] = round(answer.latency_ms, 2)
    return {**row, "error": answer.error} if answer.error else row


def find_model(path: Path | None, runs: Path) -> Path:
    """The GGUF or student folder that ``path`` names, or else the released one, or else the newest under ``runs``.

    Of a folder with several GGUF files: FIRST, or else a student's, the finer one. Raises PredictError.
    """
    if path is None:
        folders = [file.parent for file in runs.glob("*/06_models/*.gguf")]
        if not RELEASED.is_dir() and not folders:
            raise PredictError("no released model and none under runs/: train one (make reproduce) or give --model")
        path = RELEASED if RELEASED.is_dir() else max(folders, key=lambda folder: folder.stat().st_mtime)
    if not path.exists():
        raise PredictError(f"{path}: no such model; give a GGUF file, or a folder with one or with a student")
    if path.is_file() or (path / "student.json").is_file():
        return path
    files = sorted(path.glob("*.gguf"), key=_order)
    if not files:
        raise PredictError(f"{path}: holds neither a .gguf file nor a student.json; give another folder")
    return files[0]


def _order(file: Path) -> tuple[bool, bool, bool, str]:
    return file.name != FIRST, not file.name.startswith("student"), "q8_0" not in file.name, file.name


def open_system(path: Path, task_name: str | None, grammar: bool, threads: int) -> tuple[System, Task]:
    """The model at ``path`` ready to answer, and its task. Raises ValueError with one message if it cannot be used."""
    if path.is_dir():
        from lib.model.student import load as load_student
        from lib.model.torch_student import TorchStudent

        student = load_student(path)
        task = load(task_name or student.info["task"])
        return TorchStudent(student, task), task
    from lib.runtime.gguf_student import GgufStudent

    task = load(task_name or GgufFile(path).student["task"])
    return GgufStudent(path, task, grammar=grammar, threads=threads), task


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF, or a folder (default: the released tiny.gguf)")
    parser.add_argument("--task", help="the task (default: what the model was trained for)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--no-grammar", action="store_true", help="decode freely; answers that do not parse are empty")
    options = parser.parse_args(arguments)
    try:
        path = find_model(options.model, runs())
        system, task = open_system(path, options.task, not options.no_grammar, options.threads)
    except ValueError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    for row in predict(sys.stdin.buffer, system, task):
        _write(row)
    return 0


def _write(row: dict[str, Any]) -> None:
    """One line of UTF-8 whatever the terminal's encoding; halves of characters become question marks."""
    sys.stdout.buffer.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
