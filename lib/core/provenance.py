"""What a stage's result depends on, and what it was made with.

``inputs`` finds them: the run's files of lower numbers that the notebook names, its parameters and the files and
folders these point to, its own code, the library's modules that it uses and the installed versions. ``meta`` is what
``NN_meta.json`` records of a finished stage (showyourwork, Luger et al. 2021: the environment is an input too).

>>> named_outputs('rows = read(run / "01_homes.jsonl"); save(run / "02_accepted.jsonl")', "02")
['01_homes.jsonl']
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import platform
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from lib.core import files, notebook_files, paths

_OUTPUT = re.compile(r"[\"'](\d\d_[A-Za-z][\w.-]*)")
_RESULT = re.compile(r"\d\d_[A-Za-z][\w.-]*")


class InputError(ValueError):
    """A stage's input that is not there; the message names it and the stage that writes it."""


def named_outputs(code: str, number: str) -> list[str]:
    """Files and folders of lower stages that a notebook's code names in quotes."""
    return sorted({name for name in _OUTPUT.findall(code) if name[:2] < number})


def needed(book: Any, values: dict[str, Any], number: str) -> list[str]:
    """Results of lower stages that a notebook names, in its code or by ``values``, which replace its parameters.

    What lists and mappings among these name is for their reader to ask for, who knows what makes it.
    """
    body = notebook_files.code(book, parameters=False)
    single = {text for text in values.values() if isinstance(text, str)}
    given = {text for text in single if _RESULT.fullmatch(text) and text[:2] < number}
    return sorted({*named_outputs(body, number), *given})


def inputs(notebook: Path, values: dict[str, Any], run: Path) -> dict[str, str]:
    """Everything the stage depends on, as name and SHA-256. Raises InputError for a missing result of a lower stage."""
    book = notebook_files.read(notebook)
    code = notebook_files.code(book)
    found = {"notebook": files.digest(code), "parameters": files.digest(values), "library": library(code)}
    found["versions"] = files.digest(versions())
    for name in needed(book, values, paths.stage_number(notebook)):
        if not (run / name).exists():
            raise InputError(f"{notebook.name} reads {name}, which is not there: run stage {name[:2]} first")
        found[name] = files.sha256(run / name)
    for key, path in _pointed_to(values, run):
        found[f"{key}: {paths.relative(path)}"] = files.sha256(path)
    return found


def _pointed_to(values: dict[str, Any], run: Path) -> list[tuple[str, Path]]:
    """Parameters that name a result of the run, such as "05_student", or are paths of something that exists.

    Paths are from the project's root; one of the run itself, or of what it is in, is none.
    """
    pairs = list(_texts(values))
    found = [(key, run / text) for key, text in pairs if _RESULT.fullmatch(text) and (run / text).exists()]
    found += [(k, paths.ROOT / t) for k, t in pairs if ("/" in t or "." in t) and (paths.ROOT / t).exists()]
    return [(key, path) for key, path in found if path.resolve() not in (run.resolve(), *run.resolve().parents)]


def texts(values: dict[str, Any]) -> list[str]:
    """All texts in parameters, however deep."""
    return [text for _, text in _texts(values)]


def _texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in parameters, however deep, with the name of the parameter."""
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, dict):
        for name, value in values.items():
            yield from _texts(value, key or str(name))
    elif isinstance(values, list):
        for value in values:
            yield from _texts(value, key)


def library(code: str, root: Path = paths.ROOT) -> str:
    """One SHA-256 over the modules of ``lib`` that ``code`` imports, directly or not, and over all of ``lib/tasks``."""
    modules = {p for p in (root / "lib" / "tasks").rglob("*") if p.suffix in (".py", ".yaml", ".json")}
    waiting = _imported(code, root)
    while waiting:
        modules |= waiting
        waiting = {q for p in waiting for q in _imported(p.read_text(encoding="utf-8"), root)} - modules
    return files.digest([[p.relative_to(root).as_posix(), files.sha256(p)] for p in sorted(modules)])


def _imported(code: str, root: Path) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    places = [root / name.replace(".", "/") for name in names if name.startswith("lib.")]
    files = {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")}
    return {file for file in files if file.exists()}


@cache
def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages in requirements.txt."""
    lines = (paths.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [re.split(r"[=<>\[; ]", line)[0] for line in lines if line.strip() and not line.startswith("#")]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def commit(root: Path = paths.ROOT) -> str:
    """The commit, with ``-dirty`` if files differ from it or are new (reports aside).

    Outside git, as on a machine that got a copy of the files: ``$STUDY_COMMIT``, or "unknown".
    """
    run = ["git", "-C", str(root)]
    head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return os.environ.get("STUDY_COMMIT", "unknown")
    changed = subprocess.run(
        [*run, "status", "--porcelain", "--", ".", ":!reports"], capture_output=True, text=True
    ).stdout.strip()
    return head.stdout.strip() + ("-dirty" if changed else "")


def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GB, and the GPUs' names."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": _gpus(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.split("\n")[:-1]
    except (OSError, subprocess.TimeoutExpired):
        return []


def written(run: Path, number: str, found: Mapping[str, str]) -> list[str]:
    """Names of the files and folders in the run folder that a stage's results are in; its inputs are none."""
    own = (f"{number}_meta.json", f"{number}_started.json")
    names = (p.name for p in run.glob(f"{number}_*") if p.suffix != ".part")
    read = {name.split(": ")[-1].split("/")[-1] for name in found}
    return sorted(name for name in names if name not in own and name not in read)


def meta(
    values: dict[str, Any], found: dict[str, str], outputs: list[str], wall_s: float, peak_bytes: int
) -> dict[str, Any]:
    """The content of NN_meta.json: times in seconds, memory in MB."""
    return {
        "parameters": values,
        "seed": values.get("seed"),
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "inputs": found,
        "outputs": outputs,
        "wall_s": round(wall_s, 1),
        "peak_memory_mb": round(peak_bytes / 1e6),
    }


class PeakMemory(threading.Thread):
    """Samples the resident memory of this process's children (a kernel and what it starts), summed, while running.

    ``peak`` is in bytes. The children's shared pages are counted once each, so it is an upper bound.
    """

    def __init__(self, interval_s: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.interval_s, self.peak, self._stop_asked = interval_s, 0, threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(self.interval_s):
            self.peak = max(self.peak, sum(map(_resident, psutil.Process().children(recursive=True))))

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_asked.set()
        self.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
