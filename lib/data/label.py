"""Labels candidates by hand: is this a way to ask for just those calls, in that context?

    python -m lib.label --kind filter --count 300 --profile cpu

``filter``: a sample of all candidates, to measure the filter with; ``accepted``: a sample of those that the profile's
stage 02 accepted, to measure what a student learns from. Every answer is appended to ``labels.jsonl`` of the
recording at once, so the work can be interrupted. A sample is the same for everybody: it is drawn by candidates' ids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lib.core import params, paths
from lib.core.examples import read_examples
from lib.core.files import digest, dumps
from lib.core.task import Example
from lib.data.recording import LABELS, Recording, text_digest
from lib.data.study_data import ACCEPTED
from lib.tasks import load
from lib.teacher.contract import teacher_task

NOTEBOOK = paths.NOTEBOOKS / "02_teacher_data.ipynb"
_SHORT = 40  # characters of a context's value that is shown


def sample(candidates: Iterable[Example], count: int, labelled: Mapping[str, object]) -> list[Example]:
    """Those of ``count`` candidates, spread by their ids, that have no label yet."""
    chosen = sorted((c for c in candidates if c.text), key=lambda c: digest(c.id))[:count]
    return [c for c in chosen if c.id not in labelled]


def ask(candidates: Sequence[Example], kind: str, out: Path) -> int:
    """Shows each candidate and appends what is typed, until q or the input's end; returns how many were labelled."""
    for i, candidate in enumerate(candidates):
        values = candidate.context.values()
        where = "".join(f" [{v}]" for v in values if isinstance(v, str) and 0 < len(v) <= _SHORT)
        calls = "; ".join(f"{c['name']} {c['arguments']}" for c in candidate.gold[0]) or "nothing"
        print(f"\n{i + 1}/{len(candidates)} {candidate.level}{where}  {candidate.extra['said']}  ->  {calls}")
        print(f"    {candidate.text}")
        typed = ""
        while typed not in ("y", "n", "q"):
            print("    right? [y/n, q to stop] ", end="", flush=True)
            typed = (sys.stdin.readline() or "q").strip()
        if typed == "q":
            return i
        row = {"id": candidate.id, "digest": text_digest(candidate), "kind": kind, "right": typed == "y"}
        with out.open("a+b") as labels:
            labels.seek(0)
            torn = labels.read()[-1:] not in (b"", b"\n")  # a last line that was cut off keeps to itself
            labels.write(("\n" * torn + dumps(row) + "\n").encode())
    return len(candidates)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Label candidates by hand")
    parser.add_argument("--kind", choices=("filter", "accepted"), required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--profile", default="cpu", help="whose stage 02 (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        values = params.load(NOTEBOOK, options.profile)
        task = teacher_task(load(values["task"]))
        recording = Recording.read(task)
        if options.kind == "accepted":
            accepted = read_examples(paths.run_dir(options.profile) / ACCEPTED)
            candidates = [e for e in accepted if e.source == "teacher"]
        else:
            candidates, _ = recording.candidates(values["teacher_seeds"])
        rows = sample(candidates, options.count, recording.labelled(candidates, options.kind))
        done = ask(rows, options.kind, task.recordings / LABELS)
    except ValueError as error:
        print(f"label: {error}", file=sys.stderr)
        return 1
    print(f"\n{done} labelled, {len(rows) - done} left")
    return 0
