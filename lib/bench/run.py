"""Runs a bench's jobs, one process after the other, and keeps every row: what was killed goes on where it stopped.

A block of requests that was cut off is asked again from its beginning, since its first request must find the context
unread; a system that fails is named with its error and does not stop the others.

>>> rows, failed = measure(entrants, blocks, setting, sizes, Path("requests.jsonl"), key)         # doctest: +SKIP
>>> rows[-1], failed                                                                              # doctest: +SKIP
({'system': 'hassil', 'kind': 'process', 'load_s': 1.7, 'peak_mb': 117.0}, {})
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.bench.requests import plan
from lib.bench.systems import BenchError, Entrant
from lib.core.files import Resumable, Row
from lib.core.paths import ROOT

Run = Callable[[Mapping[str, Any]], Iterable[Row]]


@dataclass(frozen=True)
class Setting:
    """What all processes are told: the task, threads, the folder of the sample, and a request that is not measured."""

    task: str
    threads: int
    folder: Path
    spare: str

    def job(self, do: str, **more: Any) -> dict[str, Any]:
        told = {"task": self.task, "threads": self.threads, "folder": str(self.folder), "spare": self.spare}
        return {"do": do, **told, **more}


def worker(job: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a job done by ``lib.bench.worker`` in a process of its own. Raises BenchError with its last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(job["threads"])}
    command = [sys.executable, "-m", "lib.bench.worker"]
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, env=environment, stderr=errors, **pipe) as process,
    ):
        try:
            yield from _talk(process, job)
            if process.wait():
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["no output"])[-1]
                raise BenchError(f"{last} (exit code {process.returncode})")
        finally:
            process.kill()


def _talk(process: subprocess.Popen[str], job: Mapping[str, Any]) -> Iterator[Row]:
    assert process.stdin and process.stdout
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps(job))
    for line in process.stdout:
        yield json.loads(line)


def measure(
    entrants: Sequence[Entrant],
    groups: Sequence[Sequence[str]],
    setting: Setting,
    sizes: Sequence[int],
    path: Path,
    key: Any,
    run: Run = worker,
) -> tuple[list[Row], dict[str, str]]:
    """All rows, and the errors of the systems that failed, by name.

    ``groups``: ids of requests by context; ``sizes``: bytes of the models; ``path``: where the rows are kept, of use
    to a later run with the same ``key``. Raises BenchError if the machine itself cannot be measured, TaskError if the
    groups are too few.
    """
    plans = {e.name: plan(groups, e.cold, e.warm) for e in entrants}
    failed: dict[str, str] = {}
    with Resumable(path, key) as out, tqdm(total=_total(plans, out.rows), unit=" requests", disable=None) as bar:
        if not any(row["kind"] == "machine" for row in out.rows):
            bar.set_description("the machine")
            _keep(run(setting.job("machine", sizes=list(sizes))), out, bar)
        for entrant in entrants:
            bar.set_description(entrant.name)
            try:
                for job in _jobs(entrant, plans[entrant.name], setting, out.rows):
                    _keep(run(job), out, bar)
            except ValueError as error:
                failed[entrant.name] = str(error)
    return list(out.rows), failed


def _total(plans: Mapping[str, list[list[str]]], rows: Sequence[Row]) -> int:
    """Requests that are still to be asked."""
    return sum(len(block) for name, blocks in plans.items() for block in _left(name, blocks, rows))


def _keep(rows: Iterable[Row], out: Resumable, bar: Any) -> None:
    for row in rows:
        out.append(row)
        bar.update("id" in row)


def _jobs(entrant: Entrant, blocks: list[list[str]], setting: Setting, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What is still to be done for a system."""
    jobs = []
    if left := _left(entrant.name, blocks, rows):
        jobs.append(setting.job("requests", system=entrant.job(), blocks=left))
    if entrant.file and not _has(rows, entrant.name, "speed"):
        jobs.append(setting.job("speed", system=entrant.job()))
    return jobs


def _left(name: str, blocks: list[list[str]], rows: Sequence[Row]) -> list[list[str]]:
    """Blocks that are not whole; the last one again if its process did not live to tell its memory."""
    known = {row["id"] for row in rows if "id" in row and row["system"] == name}
    left = [block for block in blocks if not known.issuperset(block)]
    return left or ([] if _has(rows, name, "process") else blocks[-1:])


def _has(rows: Sequence[Row], name: str, kind: str) -> bool:
    return any(row["kind"] == kind and row["system"] == name for row in rows)
