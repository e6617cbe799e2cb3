"""Runs everything that a report holds side by side on the GPUs that are there: lanes of commands.

    python -m lib.experiments.campaign                       (or make campaign)
    python -m lib.experiments.campaign --only study          one lane of them

``params/campaign.yaml`` names lanes. A lane runs its steps one after the other, each a command of the project
(``python -m ...``) in a process of its own on the lane's GPU, counted around those that are there; a step can wait for
files (``needs``), a lane for other lanes (``after``). A step that fails does not stop those behind it; one whose files
nobody is left to make fails. Output goes to ``runs/campaign/LANE-NUMBER.log``. Every command goes on from what it has
finished, so a campaign that was stopped is started again with the same line.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from lib.core import paths
from lib.core.params import ParamsError, check, read_yaml, suggest

PARAMS = paths.PARAMS / "campaign.yaml"
POLL_S = 1.0
WAITING, RUNNING, ENDED = "waiting", "running", "ended"


@dataclass(frozen=True)
class Step:
    """``run``: a module of the project with its arguments, as a shell splits them; ``needs``: files, from the root."""

    run: str
    needs: Sequence[str] = ()

    def missing(self) -> list[str]:
        return [name for name in self.needs if not (paths.ROOT / name).exists()]


@dataclass(frozen=True)
class Lane:
    """Steps on one GPU; ``after``: lanes that must have ended before the first of them."""

    name: str
    steps: Sequence[Step]
    gpu: int = 0
    after: Sequence[str] = ()


def read(path: Path) -> list[Lane]:
    """The lanes of a parameter file. Raises ParamsError that names the key."""
    given = read_yaml(path)
    check({"lanes": {"": None}}, given, path.name)
    lanes = given.get("lanes") or {}
    if not lanes:
        raise ParamsError(f"{path.name}: lanes: missing; see params/campaign.yaml")
    found = [_lane(str(name), values, f"{path.name}: lanes: {name}") for name, values in lanes.items()]
    for lane in found:
        for other in lane.after:
            if other not in lanes or other == lane.name:
                raise ParamsError(f"{path.name}: lanes: {lane.name}: after: no other lane '{other}'")
    return found


def _lane(name: str, values: Any, where: str) -> Lane:
    values = _mapping(values, Lane, where)
    steps = [_step(step, f"{where}: steps: {i}") for i, step in enumerate(values.get("steps") or [], 1)]
    if not steps:
        raise ParamsError(f"{where}: steps: none")
    if type(values.get("gpu", 0)) is not int or values.get("gpu", 0) < 0:
        raise ParamsError(f"{where}: gpu: {values['gpu']!r}: expected 0, 1, ...")
    return Lane(**{**values, "name": name, "steps": steps})


def _step(values: Any, where: str) -> Step:
    step = Step(values) if isinstance(values, str) else Step(**_mapping(values, Step, where))
    module = shlex.split(step.run)[:1]
    if not module or not (paths.ROOT / (module[0].replace(".", "/") + ".py")).is_file():
        raise ParamsError(f"{where}: run: '{step.run}': expected a module of the project, such as lib.stages")
    return step


def _mapping(values: Any, kind: type, where: str) -> dict[str, Any]:
    known = [f.name for f in fields(kind) if f.name != "name"]
    if not isinstance(values, Mapping):
        raise ParamsError(f"{where}: expected {', '.join(known)}, got {values!r}")
    for key in values:
        if key not in known:
            raise ParamsError(f"{where}: unknown key '{key}'; {suggest(str(key), known)}")
    return dict(values)


@dataclass
class Campaign:
    """The lanes, side by side; ``gpus``: what CUDA_VISIBLE_DEVICES may name; none: that is left as it is."""

    lanes: Sequence[Lane]
    folder: Path
    gpus: Sequence[str] = ()
    screen: TextIO = field(default_factory=lambda: sys.stdout)
    state: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _open: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self) -> int:
        """Runs all lanes to their end; how many steps failed. An interrupt ends every command."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state |= {lane.name: WAITING for lane in self.lanes}
        threads = [threading.Thread(target=self._lane, args=(lane,), daemon=True) for lane in self.lanes]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            for process in list(self._open.values()):
                process.terminate()
            raise
        return len(self.failed)

    def _lane(self, lane: Lane) -> None:
        try:
            while any(self.state.get(name, ENDED) != ENDED for name in lane.after):
                time.sleep(POLL_S)
            for number, step in enumerate(lane.steps, 1):
                self._step(lane, number, step)
        finally:
            self.state[lane.name] = ENDED

    def _step(self, lane: Lane, number: int, step: Step) -> None:
        label, began = f"[{lane.name} {number}] {step.run}", time.monotonic()
        if missing := self._wait(lane, step):
            self._fail(f"{label}: {missing[0]} is not there, and no lane is left that could make it")
            return
        self._say(f"{label}: started")
        log = self.folder / f"{lane.name}-{number}.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", *shlex.split(step.run)]
            process = subprocess.Popen(
                command, cwd=paths.ROOT, env=self._environment(lane), stdout=out, stderr=subprocess.STDOUT
            )
            self._open[lane.name] = process
            code = process.wait()
        seconds = time.monotonic() - began
        if code:
            self._fail(f"{label}: failed with exit code {code} after {seconds:.0f} s; see {paths.relative(log)}")
        else:
            self._say(f"{label}: done in {seconds:.0f} s")

    def _wait(self, lane: Lane, step: Step) -> list[str]:
        """Waits until what a step needs is there; what is not, once no lane runs that could still make it."""
        idle = 0
        self.state[lane.name] = WAITING
        while (missing := step.missing()) and idle < 3:
            idle = 0 if RUNNING in self.state.values() else idle + 1
            time.sleep(POLL_S)
        if not missing:
            self.state[lane.name] = RUNNING
        return missing

    def _environment(self, lane: Lane) -> dict[str, str]:
        chosen = {"CUDA_VISIBLE_DEVICES": self.gpus[lane.gpu % len(self.gpus)]} if self.gpus else {}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **chosen}

    def _fail(self, text: str) -> None:
        self.failed.append(text)
        self._say(text)

    def _say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S ") + text, file=self.screen, flush=True)


def visible() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, or those that it allows already."""
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return given.split(",")
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if every step ended well, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.experiments.campaign", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--params", type=Path, default=PARAMS, metavar="FILE", help="lanes (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="LANE", help="these lanes alone")
    given = parser.parse_args(arguments)
    try:
        lanes = read(given.params)
        if unknown := sorted(set(given.only or []) - {lane.name for lane in lanes}):
            raise ParamsError(f"--only: no lane '{unknown[0]}'; known: {', '.join(lane.name for lane in lanes)}")
        chosen = [lane for lane in lanes if not given.only or lane.name in given.only]
        failed = Campaign(chosen, paths.runs() / "campaign", visible()).run()
    except ValueError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("campaign: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if failed:
        print(f"campaign: {failed} steps failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
