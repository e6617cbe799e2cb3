"""``make robust``: kills, faults, fuzzing and long use, at the length that fits twenty minutes on two cores.

    python -m tests.robust [--kills 50] [--seed 1] [--requests 400] [--out reports/robust.json]

The table goes to ``--out``, also if something failed; then the exit code is 1.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lib.core import files, paths, provenance
from tests import faults, soak

Rows = list[dict[str, Any]]
FAULTS = ["tests/core/test_faults.py", "tests/core/test_stages.py", "tests/core/test_files.py"]
FAULTS += ["tests/training/test_training_faults.py"]


def study(kills: int, seed: int, folder: Path) -> Rows:
    """Kills over two runs of the small profile, which then are compared with an unbroken one.

    The unbroken run and the tests of single faults run at the same time. Missing kills count as wrong.
    """
    params = faults.profile(folder / "params")
    whole = faults.Study(folder / "whole", params)
    process = whole.start()
    try:
        rows = tests("faults", folder, "-n", "1", *FAULTS)
        failed = process.wait()
    finally:
        process.popen.kill()
    if failed:
        return [*rows, _row("kills", "a run without faults", 1, [process.text[-500:]])]
    known, walls = faults.records(whole.folder), faults.walls(whole)

    def broken(number: int) -> tuple[Rows, list[str]]:
        own = faults.Study(folder / f"killed-{number}", params)
        made = faults.killed(own, kills // 2, seed + number, walls)
        missing = [f"{len(made)} kills of {kills // 2}"] if len(made) < kills // 2 else []
        return made, missing + faults.differences(known, faults.records(own.folder))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(broken, range(2)))
    ended = [row for made, _ in found for row in made]
    counts = {name: dict(sorted(Counter(r[name] for r in ended).items())) for name in ("stage", "how")}
    wrong = [text for _, texts in found for text in texts]
    return [*rows, _row("kills", "kills of smoke runs", len(ended), wrong) | {"seed": seed, **counts}]


def _row(kind: str, what: str, cases: int, wrong: Sequence[str]) -> dict[str, Any]:
    row = {"kind": kind, "what": what, "cases": cases, "wrong": len(wrong)}
    return row | ({"such as": wrong[0]} if wrong else {})


def tests(what: str, folder: Path, *arguments: str) -> Rows:
    """Runs pytest; a row for each line that tests add to ROBUST_LOG (tests/fuzzing.py), and one of the tests."""
    out, log = folder / f"{what}.xml", folder / f"{what}.jsonl"
    environment = {"FUZZ_CASES": "100000", **os.environ, "ROBUST_LOG": str(log)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--dist", "worksteal"]
    command += [f"--junitxml={out}", *arguments]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, env=environment)
    found = next(xml.parse(out).iter("testsuite")).attrib if out.exists() else {"errors": "1"}
    count = {name: int(found.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")}
    failed = [(done.stdout + done.stderr)[-500:]] * (count["failures"] + count["errors"])
    rows = [{"kind": "fuzz", **line, "wrong": 0} for line in (files.read_jsonl(log) if log.exists() else [])]
    return [_row("faults", what, count["tests"] - count["skipped"], failed), *rows]


def long_use(requests: int) -> Rows:
    """The table of tests/soak.py; growth of memory counts as something wrong."""
    with ThreadPoolExecutor(2) as pool:
        server, predict = pool.submit(soak.soak_server, requests), pool.submit(soak.soak_predict, requests)
        rows = [*server.result(), predict.result()]
    for row in rows:
        row |= {"kind": "requests", "what": f"long use: {row['what']}", "cases": row.pop("requests")}
        row["wrong"] += row["growth"] > soak.GROWTH
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.robust", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of smoke runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=400, help="of the server and predict (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=paths.REPORTS / "robust.json")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    folder, rows, began = Path(tempfile.mkdtemp(prefix="robust-")), list[dict[str, Any]](), time.monotonic()
    steps: list[Callable[[], Rows]] = [
        lambda: study(options.kills, options.seed, folder),
        lambda: tests("fuzzing", folder, "-n", "2", "-m", "robust", "tests"),
        lambda: long_use(options.requests),
    ]
    for step in steps:
        try:
            found = step()
        except (AssertionError, OSError, ValueError) as error:
            found = [_row("faults", "a step that failed", 0, [f"{error}"[-500:]])]
        for row in found:
            print(json.dumps(row), flush=True)
        rows += found
    told = {"commit": provenance.commit(), "hardware": provenance.hardware(), "seed": options.seed}
    files.write_json(options.out, {**told, "minutes": round((time.monotonic() - began) / 60, 1), "rows": rows})
    wrong = [row["what"] for row in rows if row["wrong"]]
    if wrong:
        print(f"failed: {', '.join(wrong)}; the runs are kept in {folder}")
    else:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    sys.exit(main())
