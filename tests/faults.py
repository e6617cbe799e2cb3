"""A study that is killed again and again, and what its records say in the end (``tests/robust.py``, ``make robust``).

The profile is ``smoke``, made smaller, with a checkpoint after every step. A killer starts the run, ends it at a random
time and starts it again, until each stage has been ended as often as wanted. Results are compared without what a clock
says: on one thread of one machine all else is equal to the last bit.
"""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

from lib.core import files, paths

STAGES = tuple(map(paths.stage_number, paths.notebooks()))
SMALL: dict[str, dict[str, Any]] = {
    "01": {"seeds": 60, "dev": 1, "test": 1, "home_size": [3, 6], "teacher_rows": 2, "third_party": ""},
    "02": {"teacher_seeds": 20},
    "03": {"dev_rows": 2, "untrained_rows": 1},
    "04": {"dev_rows": 2},
    "05": {"dev_rows": 2, "guard_rows": 2},
    "06": {"dev_rows": 2, "test_rows": 2, "more_rows": 1, "pruned_rows": 1, "held_out": 2, "third_party": ""},
}
MODELS = ("assistant q8_0", "student q8_0", "small")  # of the comparison; the others are made the same ways
TRAINING: dict[str, dict[str, Any]] = {
    "03": {"layers": 1, "max_steps": 6, "checkpoint_minutes": 0.0},
    "04": {"max_steps": 3, "checkpoint_minutes": 0.0},
    "05": {"max_steps": 2, "checkpoint_minutes": 0.0},
}
RUN = """
import signal, sys
from pathlib import Path
from lib.core import files, stages
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts in the background
try:
    stages.run_all("smoke", *sys.argv[2:])
    from lib.report import __main__ as report
    report.build("smoke", Path(sys.argv[1]))
except (ValueError, OSError) as error:
    sys.exit(f"error: {files.told(error)}")
except KeyboardInterrupt:
    sys.exit(130)
"""
CLOCK = re.compile(
    r".*_ms|.*seconds.*|tokens_per_s|faster|wall_s|predicted_s|.*usd.*|peak_memory_mb|hardware|inputs|outputs|sha256|student"
)
"""Names of values that a clock decides, of prices that follow from it, and of digests of files with such values."""
SURE = {"id", "system", "test", "level", "n", "stage", "step", "seed", "parameters", "versions", "commit"}
"""Names of values of a training, or of a model's answers, that its weights do not decide."""
SHOWN = {".html", ".png", ".ipynb", ".md"}


def profile(folder: Path, **change: dict[str, Any]) -> Path:
    """Writes the profile to ``folder``/smoke; ``change``: parameters by stage, as s03. Returns ``folder``."""
    for old in (paths.ROOT / "params" / "smoke").glob("*.yaml"):
        number, values = old.name[:2], yaml.safe_load(old.read_text("utf-8"))
        values |= SMALL[number] | change.get(f"s{number}", {})
        if number in TRAINING:
            values["training"] |= TRAINING[number]
        if number == "06":
            values["models"] = {name: values["models"][name] for name in MODELS}
            values["recovery"] |= {"checkpoint_minutes": 0.0}
        files.write_text(folder / "smoke" / old.name, yaml.safe_dump(values, sort_keys=False))
    return folder


@dataclass
class Study:
    """A run of the profile in a folder of its own; ``environment`` is added to that of this process."""

    folder: Path
    params: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "smoke"

    @property
    def report(self) -> Path:
        return self.folder / "reports"

    def start(self, *only: str) -> "Process":
        """Starts the stages, or one of them, and the report."""
        own = {"RUNS_DIR": str(self.folder / "runs"), "PARAMS_DIR": str(self.params), "TQDM_DISABLE": "1"}
        path = os.pathsep.join(filter(None, [self.environment.get("PYTHONPATH"), str(paths.ROOT)]))
        own |= {"OMP_NUM_THREADS": "1", **self.environment, "PYTHONPATH": path}
        return Process([sys.executable, "-c", RUN, str(self.report), *only], {**os.environ, **own})

    def finish(self, *only: str) -> "Process":
        process = self.start(*only)
        process.wait()
        return process


class Process:
    """A run in progress: what it printed, and the stage that it is in."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.popen = subprocess.Popen(
            command, cwd=paths.ROOT, env=dict(environment), text=True, start_new_session=True, **pipe
        )
        self.lines, self.stage, self.began = list[str](), "", threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.lines.append(line.rstrip())
            if told := re.match(r"\[(\d\d)\] \w+: running", line):
                self.stage = told[1]
                self.began.set()
        self.began.set()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait(self) -> int:
        code = self.popen.wait()
        self._reader.join(5)
        return code

    def end(self, how: str) -> None:
        """Ends the runner or its kernel and waits for the runner."""
        if how == "kernel":
            while self.popen.poll() is None and not self._kill_kernel():
                time.sleep(0.05)  # the notebook's process is not there yet
        else:
            self.popen.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGKILL)
        self.wait()

    def _kill_kernel(self) -> bool:
        """Kills the notebook's process; False if there is none."""
        found = list[psutil.Process]()
        with suppress(psutil.Error):
            children = psutil.Process(self.popen.pid).children(recursive=True)
            found = [child for child in children if any("ipykernel" in part for part in child.cmdline())]
        for child in found:
            child.kill()
        return bool(found)


WAYS = ("SIGKILL", "SIGINT", "kernel")


def killed(study: Study, kills: int, seed: int, walls: Mapping[str, float]) -> list[dict[str, Any]]:
    """Runs a study to its end and ends it ``kills`` times on the way, as often in each stage; a row for each.

    ``walls``: seconds that each stage takes; it is left alone for half of them at most, so that most kills find it.
    """
    rng, done, rows = random.Random(seed), Counter[str](), list[dict[str, Any]]()
    while True:
        process = study.start()
        while len(rows) < kills and process.popen.poll() is None:
            process.began.wait(1)
            stage = process.stage
            if not stage or done[stage] >= -(-kills // len(STAGES)):
                time.sleep(0.1)
                continue
            time.sleep(rng.uniform(0, walls[stage] / 2))
            if process.popen.poll() is not None or process.stage != stage:
                continue
            how = WAYS[len(rows) % len(WAYS)]
            process.end(how)
            done[stage] += 1
            rows.append({"stage": stage, "how": how, "code": process.popen.returncode, "said": process.lines[-1:]})
            break
        else:
            if (code := process.wait()) == 0:
                return rows
            raise AssertionError(f"seed {seed}, after {rows[-1:]}: exit code {code}\n{process.text[-2000:]}")


def records(folder: Path) -> dict[str, Any]:
    """All that finished stages and reports keep below ``folder``, by path: tables without clocks, else digests.

    Pages, charts, cards and executed notebooks are left out: they show these tables, and times.
    """
    inside = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in SHOWN and p.name != ".lock")
    return {p.relative_to(folder).as_posix(): _record(p) for p in inside}


def _record(path: Path) -> Any:
    if path.name.endswith((".jsonl", ".jsonl.xz")):
        return _timeless(files.read_jsonl(path))
    if path.suffix == ".json":
        return _timeless(files.read_json(path))
    if path.suffix == ".csv":
        return _timeless(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"))
    return files.sha256(path)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        predicted = {"error"} & {*value} if "predicted_s" in value else set()  # off by how much
        return {k: _timeless(v) for k, v in value.items() if not CLOCK.fullmatch(str(k)) and k not in predicted}
    if isinstance(value, list):  # which systems are the cheapest, and so asked whether they agree, depends on prices
        return [_timeless(v) for v in value if not (isinstance(v, dict) and str(v.get("rule")).endswith(" agree"))]
    return value


def weightless(found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``records`` that no trained weight decides: parts 01 and 02; of the others what SURE names."""
    return {path: value if re.search(r"(^|/)0[12]_", path) else _sure(value) for path, value in found.items()}


def _sure(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(map(_sure, value), key=files.dumps)  # some tables are in the order of what was reached
    return {k: v for k, v in value.items() if k in SURE} if isinstance(value, dict) else ""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Paths whose records differ, each with the first difference."""
    return [
        f"{path}: {_first(one.get(path), other.get(path))}"
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    ]


def _first(a: Any, b: Any, at: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        key = next(k for k in [*a, *b] if a.get(k) != b.get(k))
        return _first(a.get(key), b.get(key), f"{at}.{key}")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        i = next(i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
        return _first(a[i], b[i], f"{at}[{i}]")
    return f"{at}: {a!r:.100} and {b!r:.100}"


def walls(study: Study) -> dict[str, float]:
    """Seconds that each stage of a finished study took."""
    return {n: files.read_json(study.run / f"{n}_meta.json")["wall_s"] for n in STAGES}
