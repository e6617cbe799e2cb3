"""Runs the notebooks of ``notebooks/`` in order, each with its profile's parameters, by papermill.

``python -m lib.stages --profile cpu [--only 03] [--force]``

A stage whose inputs have not changed since its ``NN_meta.json``, and whose outputs are all there, is skipped. A
failing one ends the run with exit code 1 and names notebook, cell, line and error; the stages before it stay. A
notebook is executed under a temporary name and only renamed when papermill ends well, because a killed kernel leaves
one that looks complete.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.core import files, notebook_files, params, paths, provenance

_NOISE = re.compile(
    r"(Executing|Ending) Cell|(In|Out)put Notebook|Working directory|Executing notebook"
    # Papermill reads parameters with a pattern of its own; lib.core.params has checked them.
    r"|Unable to parse line|Passed unknown parameter"
)
_BAR = re.compile(r"\d+%\||\d+it \[")
_BAR_EVERY_S = 10.0


class StageError(RuntimeError):
    """A stage that failed; the message names notebook, cell, line and error."""


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; released even if this process is killed. Raises StageError."""
    import fcntl

    with (run / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            who = file.read().strip() or "unknown"
            raise StageError(f"run '{run.name}' is in use by process {who}: wait for it, or stop it") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_stage(
    notebook: Path, profile: str, run: Path, force: bool = False, values: dict[str, Any] | None = None
) -> bool:
    """Runs one stage unless it is up to date; True if it ran. ``values`` replaces the profile's parameters.

    Raises StageError, ParamsError or InputError.
    """
    number = paths.stage_number(notebook)
    values = params.load(notebook, profile) if values is None else values
    found = provenance.inputs(notebook, values, run)
    reason = "forced" if force else _reason(run, number, found)
    if not reason:
        print(f"[{number}] {notebook.stem}: unchanged, skipped", flush=True)
        return False
    print(f"[{number}] {notebook.stem}: running ({reason})", flush=True)
    _prepare(run, number, found, set(provenance.texts(values)))
    started = time.monotonic()
    with provenance.PeakMemory() as memory:
        execute(notebook, values, run / "notebooks" / notebook.name)
    wall_s, outputs = time.monotonic() - started, provenance.written(run, number, found)
    meta = provenance.meta(values, found, outputs, wall_s, memory.peak)
    files.write_json(run / f"{number}_meta.json", meta)
    (run / f"{number}_started.json").unlink()
    print(f"[{number}] {notebook.stem}: done in {meta['wall_s']} s, peak {meta['peak_memory_mb']} MB", flush=True)
    return True


def _reason(run: Path, number: str, found: dict[str, str]) -> str:
    """Why a stage has to run: it never finished, inputs differ or outputs are gone; empty if it is up to date."""
    meta = _read(run / f"{number}_meta.json")
    if meta is None:
        return "first run"
    changed = [f"{name} changed" for name in _differing(meta["inputs"], found)]
    gone = [f"{name} missing" for name in meta.get("outputs", []) if not (run / name).exists()]
    return ", ".join(changed + gone)


def _read(path: Path) -> dict[str, Any] | None:
    """What a stage left about itself; None unless it names the inputs."""
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return meta if isinstance(meta["inputs"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differing(before: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(k for k in {*before, *found} if before.get(k) != found.get(k))


def _prepare(run: Path, number: str, found: dict[str, str], named: set[str]) -> None:
    """Marks the stage as not done; drops what an interrupted attempt with other inputs left to resume from.

    What another command is making stays: a part of something that is ``named`` in the parameters.
    """
    started = run / f"{number}_started.json"
    before = _read(started)
    if before is None or _differing(before["inputs"], found):
        for part in (p for p in run.glob(f"{number}_*.part") if p.stem not in named):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    files.write_json(started, {"inputs": found})
    (run / f"{number}_meta.json").unlink(missing_ok=True)


def execute(notebook: Path, values: dict[str, Any], out: Path) -> None:
    """Executes a notebook with this Python and writes ``out`` only if every cell ended well. Raises StageError."""
    import papermill

    _set_kernel_environment()
    failed = out.parent.parent / "failed" / out.name
    part = out.with_name(out.stem + ".part.ipynb")
    for folder in (out.parent, failed.parent):
        folder.mkdir(parents=True, exist_ok=True)
    how = {"cwd": str(paths.ROOT), "kernel_name": "python3", "progress_bar": False, "log_output": True}
    try:
        papermill.execute_notebook(str(notebook), str(part), values, **how)
    except papermill.PapermillExecutionError as error:
        part.replace(failed)
        where = f"its cells so far stand in {paths.relative(failed)}"
        raise StageError(f"{_explain(notebook, error)}\n{where}") from error
    except Exception as error:
        part.unlink(missing_ok=True)
        why = f"the kernel ended ({type(error).__name__}: {error})".splitlines()[0]
        raise StageError(f"{notebook.name}: {why}; if it was killed, memory may have run out") from error
    part.replace(out)
    failed.unlink(missing_ok=True)


def _set_kernel_environment() -> None:
    """The kernel is this Python and finds ``lib`` whatever its folder."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH", "")]))


def _explain(notebook: Path, error: Any) -> str:
    # Papermill puts one cell with the parameters in front of those that follow: count as the notebook does.
    cells = [c for c in notebook_files.read(notebook).cells if c.cell_type == "code"]
    number = next((i for i, c in enumerate(cells, 1) if c.source == error.source), error.exec_count)
    line, text = notebook_files.failing_line(error.source, error.traceback)
    return f"{notebook.name}, code cell {number}, line {line}: {text}\n{error.ename}: {error.evalue}"


def run_all(profile: str, only: str | None = None, force: bool = False) -> bool:
    """Runs the stages of a profile in order, or one; True if any ran. Raises StageError and the errors of run_stage."""
    run = paths.run_dir(profile)
    chosen = [n for n in paths.notebooks() if only in (None, paths.stage_number(n))]
    if not chosen:
        known = ", ".join(paths.stage_number(n) for n in paths.notebooks())
        raise StageError(f"no stage '{only}': choose one of {known}")
    for notebook in chosen:
        params.load(notebook, profile)
    ran = False
    with lock(run):
        for notebook in chosen:
            ran |= run_stage(notebook, profile, run, force)
    return ran


def refresh(profile: str) -> None:
    """Writes the outputs of a finished run back into ``notebooks/``, without what differs between two runs."""
    import nbformat

    for notebook in paths.notebooks():
        book = notebook_files.normalised(notebook_files.read(paths.run_dir(profile) / "notebooks" / notebook.name))
        files.write_text(notebook, nbformat.writes(book) + "\n")
        print(f"{notebook.name}: outputs of profile '{profile}' kept", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.stages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="cpu", help="folder of params/ (default: cpu)")
    parser.add_argument("--only", metavar="NN", help="one stage, by its number")
    parser.add_argument("--force", action="store_true", help="run even if nothing changed")
    parser.add_argument("--refresh", action="store_true", help="keep the run's outputs in notebooks/ (profile smoke)")
    options = parser.parse_args(arguments)
    _show_progress()
    try:
        run_all(options.profile, options.only, options.force)
        if options.refresh:
            refresh(options.profile)
        _report(options.profile)
    except (StageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last finished stage", file=sys.stderr, flush=True)
        return 130
    return 0


class _Progress(logging.Filter):
    """Lets through what cells print, and of progress bars the last line and one every few seconds."""

    last = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage().strip()
        if not text or _NOISE.match(text):
            return False
        if not _BAR.search(text) or "100%" in text:
            return True
        due = record.created - self.last >= _BAR_EVERY_S
        self.last = record.created if due else self.last
        return due


def _show_progress() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("     %(message)s"))
    handler.addFilter(_Progress())
    log = logging.getLogger("papermill")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _report(profile: str) -> None:
    from lib.report import __main__ as report

    for path in report.build(profile):
        print(f"wrote {paths.relative(path)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
