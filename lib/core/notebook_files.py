"""What is read from a notebook file: its parameters, its code, where it failed, and its outputs made comparable.

The cell tagged ``parameters`` holds plain assignments of literals (``learning_rate = 5.0e-4``); their values are the
defaults and their types the types that every profile's YAML must have.
"""

import ast
import itertools
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat

from lib.core.paths import StageError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_KIND = re.compile(r"^(\w+) = .*# type: (.+?)\s*$", re.MULTILINE)
_ARROW = re.compile(r"^-+>\s*(\d+)\s?(.*)$", re.MULTILINE)


def read(path: Path) -> Any:
    """The notebook in nbformat 4. Raises StageError."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise StageError(f"{path.name}: not a readable notebook ({error}); restore it from git") from error


def defaults(book: Any, name: str) -> dict[str, Any]:
    """Parameter names and default values in the order of the cell. Raises StageError."""
    cells = _parameters(book)
    if len(cells) != 1:
        raise StageError(f"{name}: expected one code cell tagged 'parameters', found {len(cells)}")
    found: dict[str, Any] = {}
    for statement in ast.parse(cells[0]).body:
        with suppress(ValueError):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                found[statement.targets[0].id] = ast.literal_eval(statement.value)
                continue
        where = f"{name}: parameters cell, line {statement.lineno}"
        raise StageError(f"{where}: write 'name = literal value', got '{ast.unparse(statement)}'")
    return found


def kinds(book: Any) -> dict[str, str]:
    """What comments of the parameters cell say of a default, ``name = {  # type: lib.training.params.Finetuning``."""
    return dict(_KIND.findall("\n".join(_parameters(book))))


def _parameters(book: Any) -> list[str]:
    return [c.source for c in book.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]


def code(book: Any, parameters: bool = True) -> str:
    """The source of all code cells, with that of the defaults, which a run replaces, or without."""
    cells = [c for c in book.cells if c.cell_type == "code"]
    return "\n\n".join(c.source for c in cells if parameters or "parameters" not in c.metadata.get("tags", []))


def failing_line(source: str, traceback: list[str]) -> tuple[int, str]:
    """Number (from 1) and text of the cell's line that failed, from IPython's coloured traceback."""
    lines = source.splitlines() or [""]
    for number, text in _ARROW.findall(_COLOUR.sub("", "\n".join(traceback))):
        if int(number) <= len(lines) and lines[int(number) - 1].strip() == text.strip():
            return int(number), text.strip()
    return 1, lines[0].strip()


def normalised(book: Any) -> Any:
    """A copy without what differs between two runs: timings, progress bars, images, the parameters of a run."""
    book = nbformat.from_dict(book)
    book.metadata = nbformat.from_dict({k: v for k, v in book.metadata.items() if k in ("kernelspec", "language_info")})
    book.metadata.get("language_info", {}).pop("version", None)
    book.cells = [c for c in book.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    runs = itertools.count(1)
    for i, cell in enumerate(book.cells):
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags" and v})
        cell.id = f"cell-{i:02d}"
        if cell.cell_type == "code":
            cell.execution_count = next(runs)
            cell.outputs = [_plain(output, cell.execution_count) for output in without_progress(cell.outputs)]
    return book


def without_progress(outputs: list[Any]) -> list[Any]:
    """The outputs that are no progress bars, which are on standard error, or widgets where ipywidgets is installed."""
    kept = [o for o in outputs if o.get("name") != "stderr"]
    return [o for o in kept if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]


def _plain(output: Any, run: int) -> Any:
    if output.output_type == "execute_result":
        output.execution_count = run
    if "image/png" in output.get("data", {}):
        output.data, output.metadata = {"text/plain": output.data.get("text/plain", "")}, {}
    return output
