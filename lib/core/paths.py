"""Where things are. Every other module asks here, so that nothing depends on the working directory.

A profile (``smoke``, ``cpu``, ``gpu``, …; of another than the main task ``<task>/cpu``) is a folder of ``params/``; its
stages write ``runs/<profile>/NN_*``, its report is ``reports/<profile>``. A user's own task is a folder of ``tasks/``.
``PARAMS_DIR``, ``TASKS_DIR`` and ``RUNS_DIR`` in the environment move these folders (the test suite uses them).
"""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path

# jsonschema, which reads notebooks, spends three seconds on what it imports for a format that no notebook has
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / (os.environ.get("PARAMS_DIR") or "params")
TASKS = ROOT / (os.environ.get("TASKS_DIR") or "tasks")
REPORTS = ROOT / "reports"
PRICES = ROOT / "params" / "prices.yaml"


class StageError(ValueError):
    """A profile, notebook or stage that cannot be used or has failed; the message names it and the remedy."""


def runs() -> Path:
    """``runs/`` of the project, or ``RUNS_DIR`` (from the project's root)."""
    return (ROOT / (os.environ.get("RUNS_DIR") or "runs")).resolve()


def profiles(params: Path | None = None) -> list[str]:
    """Names of the profiles: those of the main task, then ``<task>/<profile>``; both in alphabetical order."""
    root = params or PARAMS
    found = [{p.parent for p in root.glob(f"{folder}/[0-9][0-9]_*.yaml")} for folder in ("*", "*/*")]
    return [name for some in found for name in sorted(p.relative_to(root).as_posix() for p in some)]


def check_profile(name: str, params: Path | None = None) -> str:
    """``name`` if it is a profile. Raises StageError that names the choices."""
    if name not in profiles(params):
        raise StageError(f"unknown profile '{name}': choose one of {', '.join(profiles(params))}")
    return name


def run_dir(profile: str) -> Path:
    """``runs/<profile>``, created if need be. Raises StageError for an unknown profile."""
    folder = runs() / check_profile(profile)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stage_number(path: Path) -> str:
    """The two digits that a stage's notebook, parameters or outputs start with. Raises StageError without them."""
    if not re.match(r"\d\d_.", path.name):
        raise StageError(f"{path.name}: a stage's file starts with two digits and '_', such as 03_finetune.ipynb")
    return path.name[:2]


def notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The stages' notebooks in order. Raises StageError if two share a number."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for left, right in pairwise(found):
        if stage_number(left) == stage_number(right):
            raise StageError(f"{left.name} and {right.name} have the same stage number: rename one")
    return found


def relative(path: Path, root: Path = ROOT) -> str:
    """``path`` as it is told to others: from the project's root, or its last part; never a machine's path."""
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
