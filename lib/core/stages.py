"""Runs notebooks as stages, each with its profile's parameters, by papermill; ``python -m lib.stages`` is its command.

A stage whose inputs have not changed since its ``NN_meta.json``, and whose outputs are as it wrote them, is skipped. A
notebook is renamed only when papermill ends well, because a killed kernel leaves one that looks complete.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from lib.core import files, notebook_files, params, paths, provenance
from lib.core.paths import StageError


def run_all(profile: str, only: str | None = None, force: bool = False) -> None:
    """Runs the stages of a profile in order, or one; all parameters are checked first. Raises StageError."""
    run = paths.run_dir(profile)
    chosen = {n: params.load(n, profile) for n in paths.notebooks() if only in (None, paths.stage_number(n))}
    if not chosen:
        known = ", ".join(map(paths.stage_number, paths.notebooks()))
        raise StageError(f"no stage '{only}': choose one of {known}")
    with files.alone(run, wait=False):
        for notebook, values in chosen.items():
            run_stage(notebook, values, run, force)


def run_stage(notebook: Path, values: dict[str, Any], run: Path, force: bool = False) -> bool:
    """Runs one stage unless it is up to date; True if it ran. Raises StageError."""
    number, meta = paths.stage_number(notebook), run / f"{paths.stage_number(notebook)}_meta.json"
    found = provenance.inputs(notebook, values, run)
    reason = "forced" if force else _reason(meta, found)
    print(f"[{number}] {notebook.stem}: {f'running ({reason})' if reason else 'unchanged, skipped'}", flush=True)
    if not reason:
        return False
    _prepare(run, number, found)
    began = time.monotonic()
    with provenance.peak_memory() as peak:
        execute(notebook, values, run / "notebooks" / notebook.name)
    files.remove(run / f"{number}_started.json")
    made = {
        "parameters": values,
        "seed": values.get("seed"),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "inputs": found,
        "outputs": {p.name: files.sha256(p) for p in sorted(run.glob(f"{number}_*")) if p.suffix != ".part"},
        "wall_s": round(time.monotonic() - began, 1),
        "peak_memory_mb": round(max(peak) / 1e6),
    }
    files.write_json(meta, made)
    print(f"[{number}] {notebook.stem}: done in {made['wall_s']} s, peak {made['peak_memory_mb']} MB", flush=True)
    return True


def _reason(meta: Path, found: dict[str, str]) -> str:
    """Why a stage has to run: it never finished, inputs or outputs differ; empty if it is up to date."""
    if not (before := files.known(meta)):
        return "first run"
    was, made = before.get("inputs"), before.get("outputs")
    if not (isinstance(was, dict) and isinstance(made, dict)):
        return f"{meta.name} is of an earlier release"
    changed = [f"{name} changed" for name in sorted({*was, *found}) if was.get(name) != found.get(name)]
    for path, digest in ((meta.parent / name, digest) for name, digest in made.items()):
        state = "missing" if not path.exists() else "damaged" if files.sha256(path) != digest else ""
        changed += [f"{path.name} {state}"] * bool(state)
    return ", ".join(changed)


def _prepare(run: Path, number: str, found: dict[str, str]) -> None:
    """Marks the stage as not done; drops what an interrupted attempt with other inputs left to resume from."""
    started = run / f"{number}_started.json"
    if files.known(started).get("inputs") != found:
        resumable = f"{number}_*.part", f"{number}_*_steps/*.part", f"{number}_*/run.json"  # lib/training/work.py
        for part in [path for pattern in resumable for path in run.glob(pattern)]:
            files.remove(part)
    files.write_json(started, {"inputs": found})
    files.remove(run / f"{number}_meta.json")


def execute(notebook: Path, values: dict[str, Any], out: Path) -> None:
    """Executes a notebook with this Python and writes ``out`` only if every cell ended well. Raises StageError."""
    import papermill

    search = dict.fromkeys([str(paths.ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    os.environ |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, search))}
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # bars are text here
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")  # glibc gives larger blocks back as they are freed
    logging.getLogger("papermill").setLevel(logging.ERROR)  # lib.core.params has checked what it warns of
    failed, part = out.parent.parent / "failed" / out.name, out.with_name(out.stem + ".part.ipynb")
    for folder in (out.parent, failed.parent):
        folder.mkdir(parents=True, exist_ok=True)
    show = {"progress_bar": False, "stdout_file": sys.stdout, "stderr_file": sys.stdout}
    quiet = ["--log-level=CRITICAL"]  # else ipykernel prints the interrupt that jupyter_client ends it with
    how = {"cwd": str(paths.ROOT), "kernel_name": "python3", "extra_arguments": quiet, **show}
    try:
        papermill.execute_notebook(notebook, part, values, **how)
    except papermill.PapermillExecutionError as error:
        part.replace(failed)
        where = f"its cells so far stand in {paths.relative(failed)}"
        raise StageError(f"{_explain(notebook, error)}\n{where}") from error
    except OSError as error:
        files.remove(part)
        raise StageError(f"{notebook.name}: {files.told(error)}") from error
    except Exception as error:
        files.remove(part)
        why = f"the kernel ended ({type(error).__name__}: {error})".splitlines()[0]
        raise StageError(f"{notebook.name}: {why}; if it was killed, memory may have run out") from error
    part.replace(out)
    files.remove(failed)


def _explain(notebook: Path, error: Any) -> str:
    # Papermill puts one cell with the parameters in front of those that follow: count as the notebook does.
    cells = [c for c in notebook_files.read(notebook).cells if c.cell_type == "code"]
    number = next((i for i, c in enumerate(cells, 1) if c.source == error.source), error.exec_count)
    line, text = notebook_files.failing_line(error.source, error.traceback)
    return f"{notebook.name}, code cell {number}, line {line}: {text}\n{error.ename}: {error.evalue}"


def refresh(profile: str) -> None:
    """Writes the outputs of a finished run back into ``notebooks/``, without what differs between two runs."""
    import nbformat

    for notebook in paths.notebooks():
        book = notebook_files.normalised(notebook_files.read(paths.run_dir(profile) / "notebooks" / notebook.name))
        files.write_text(notebook, nbformat.writes(book) + "\n")
        print(f"{notebook.name}: outputs of profile '{profile}' kept", flush=True)
