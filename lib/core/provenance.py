"""What a stage's result depends on, and what it was made with.

It depends on results of lower stages, its code and parameters, the files that these point to, the modules that it and
its task import, and the installed versions (showyourwork, Luger et al. 2021: the environment is an input too).
"""

import ast
import importlib.metadata
import os
import platform
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from lib.core import files, paths

ACROSS = ("processes", "distributed_type")  # how processes share a training, which does not change its result
_OUTPUT = re.compile(r"[\"'](\d\d_[A-Za-z][\w.-]*)")
_RESULT = re.compile(r"\d\d_[A-Za-z][\w.-]*")


def needed(book: Any, values: dict[str, Any], number: str) -> list[str]:
    """Results of lower stages that a notebook's code or parameters name at top level."""
    from lib.core import notebook_files  # slow to import, and the processes that answer need no notebook

    code = notebook_files.code(book, parameters=False)
    return sorted({*_lower(values.values(), number), *_lower(_OUTPUT.findall(code), number)})


def _lower(texts: Iterable[Any], number: str) -> set[str]:
    return {text for text in texts if isinstance(text, str) and _RESULT.fullmatch(text) and text[:2] < number}


def inputs(notebook: Path, values: dict[str, Any], run: Path) -> dict[str, str]:
    """Everything the stage depends on, as name and SHA-256. Raises StageError for a missing result of a lower stage."""
    from lib.core import notebook_files

    book, number = notebook_files.read(notebook), paths.stage_number(notebook)
    code = notebook_files.code(book)
    found = {"notebook": files.digest(code), "parameters": files.digest(_without(values, *ACROSS))}
    found |= {"library": library(code, values.get("task", "*")), "versions": files.digest(versions())}
    texts = list(_texts(values))
    deep = {name for name in _lower([text for _, text in texts], number) if (run / name).exists()}
    for name in sorted({*needed(book, values, number), *deep}):
        if not (run / name).exists():
            raise paths.StageError(f"{notebook.name} reads {name}, which is not there: run stage {name[:2]} first")
        found[name] = files.sha256(run / name)
    for key, path in [(key, paths.ROOT / text) for key, text in texts if "/" in text or "." in text]:
        if path.exists() and path.resolve() not in (run.resolve(), *run.resolve().parents):
            found[f"{key}: {paths.relative(path)}"] = files.sha256(path)
    return found


def _without(values: Any, *keys: str) -> Any:
    """Parameters without those called by ``keys``, however deep."""
    if isinstance(values, dict):
        return {name: _without(value, *keys) for name, value in values.items() if name not in keys}
    return [_without(value, *keys) for value in values] if isinstance(values, list) else values


def _texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in parameters, however deep, with the name of the parameter."""
    if isinstance(values, str):
        yield key, values
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inner:
        yield from _texts(value, key or str(name))


def library(code: str, task: str = "*", root: Path = paths.ROOT) -> str:
    """One SHA-256 over the modules of ``lib`` that ``code`` and a task (``*``: all) import, and over a task's data.

    A task that is not in ``lib`` is a module, named with dots, or a folder of ``tasks/``.
    """
    own = [p for p in root.glob(f"lib/tasks/{task}/**/*") if p.suffix in (".py", ".yaml", ".json", ".jsonl")]
    own += [p for p in [root / (task.replace(".", "/") + ".py")] if p.is_file()]
    brought = [p for p in (paths.TASKS / task).glob("*") if p.is_file()]
    own += [root / "lib/tasks/folder.py"] if brought else []
    modules: set[Path] = set()
    waiting = {*own, *_imported(code, root)}
    while waiting:
        modules |= waiting
        read = [p.read_text(encoding="utf-8") for p in waiting if p.suffix == ".py"]
        waiting = {found for text in read for found in _imported(text, root)} - modules
    return files.digest([[paths.relative(p, root), files.sha256(p)] for p in sorted([*modules, *brought])])


@cache
def _imported(code: str, root: Path) -> frozenset[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    places = [root / name.replace(".", "/") for name in names if name.startswith("lib.")]
    return frozenset(file for p in places for file in (p.with_suffix(".py"), p / "__init__.py") if file.exists())


@cache
def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages in requirements.txt."""
    names = re.findall(r"^[\w.-]+", (paths.ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


@cache
def code(imports: str) -> str:
    """A digest of what a result depends on besides its inputs: the modules that ``imports`` reach, and versions."""
    return files.digest([library(imports), versions()])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def commit(root: Path = paths.ROOT) -> str:
    """The commit, with ``-dirty`` if files differ from it or are new (reports aside).

    Outside git, as on a machine that got a copy of the files: ``$STUDY_COMMIT``, or "unknown".
    """
    head = _output("git", "-C", str(root), "rev-parse", "HEAD")
    if not head:
        return os.environ.get("STUDY_COMMIT", "unknown")
    return head + ("-dirty" if _output("git", "-C", str(root), "status", "--porcelain", "--", ".", ":!reports") else "")


def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GB, and the GPUs' names."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines(),
    }


def _output(*command: str) -> str:
    """What a command prints; nothing if it fails or is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@contextmanager
def peak_memory(interval_s: float = 0.2) -> Iterator[list[int]]:
    """Samples of the resident memory of all child processes in bytes; an upper bound, as they share pages."""
    found, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(interval_s):
            found.append(0)
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    found[-1] += child.memory_info().rss

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
