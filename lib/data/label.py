"""Labels candidates by hand: is this a way to ask for just those calls, in that context?

    python -m lib.label --kind filter --count 300 --profile cpu

``filter``: a sample of all candidates, to measure the filter with; ``accepted``: a sample of those that the profile's
notebook 02 accepts, to measure what a student would learn from. Every answer is appended to ``labels.jsonl`` of the
recording at once, so the work can be interrupted. A sample is the same for everybody: it is drawn by candidates' ids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lib.core import params, paths
from lib.core.files import digest, dumps
from lib.core.task import Call, Example
from lib.data.filter import accept
from lib.data.recording import LABELS, Recording, text_digest
from lib.tasks import load
from lib.teacher.contract import teacher_task
from lib.teacher.write import Verdict

NOTEBOOK = paths.NOTEBOOKS / "02_teacher_data.ipynb"
_SHORT = 40  # characters of a context's value that is shown


def sample(candidates: Iterable[Example], count: int, labelled: Mapping[str, object]) -> list[Example]:
    """Those of ``count`` candidates, spread by their ids, that have no label yet."""
    chosen = sorted((c for c in candidates if c.text), key=lambda c: digest(c.id))[:count]
    return [c for c in chosen if c.id not in labelled]


def ask(candidates: Sequence[Example], kind: str, out: Path, answers: TextIO, screen: TextIO) -> int:
    """Shows each candidate and appends what ``answers`` say, a line each, until these end; returns how many."""
    done = 0
    with out.open("a", encoding="utf-8") as labels:
        for i, candidate in enumerate(candidates, 1):
            values = candidate.context.values()
            where = "".join(f" [{v}]" for v in values if isinstance(v, str) and 0 < len(v) <= _SHORT)
            said = f"{candidate.extra['said']}  ->  {_calls(candidate.gold[0])}"
            print(f"\n{i}/{len(candidates)} {candidate.level}{where}  {said}\n    {candidate.text}", file=screen)
            right = _answer(answers, screen)
            if right is None:
                break
            row = {"id": candidate.id, "digest": text_digest(candidate), "kind": kind, "right": right}
            labels.write(dumps(row) + "\n")
            labels.flush()
            done += 1
    return done


def _calls(calls: Sequence[Call]) -> str:
    return "; ".join(f"{c['name']} {c['arguments']}" for c in calls) or "nothing"


def _answer(answers: TextIO, screen: TextIO) -> bool | None:
    while True:
        print("    right? [y/n, q to stop] ", end="", file=screen, flush=True)
        line = answers.readline()
        if not line or line.strip() == "q":
            return None
        if line.strip() in ("y", "n"):
            return line.strip() == "y"


def accepted(
    recording: Recording, candidates: Sequence[Example], verdicts: Mapping[str, Verdict], values: Mapping[str, Any]
) -> list[Example]:
    """Those candidates that notebook 02 accepts with these parameters, but for the tests that a run draws itself."""
    path = values["third_party"]
    others = recording.task.third_party(paths.ROOT / path) if path else {}
    tested = [e for rows in others.values() for e in rows]
    chosen = {name: values[name] for name in ("rule", "natural", "judged")}
    return accept(recording, candidates, verdicts, **chosen, tested=tested).kept


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Label candidates by hand")
    parser.add_argument("--kind", choices=("filter", "accepted"), required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--profile", default="cpu", help="whose parameters of notebook 02 (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        values = params.load(NOTEBOOK, options.profile)
        folder = paths.ROOT / values["recorded"]
        recording = Recording.read(teacher_task(load(values["task"])), folder)
        candidates, verdicts = recording.candidates(values["teacher_seeds"])
        if options.kind == "accepted":
            candidates = accepted(recording, candidates, verdicts, values)
        rows = sample(candidates, options.count, recording.labelled(candidates, options.kind))
        done = ask(rows, options.kind, folder / LABELS, sys.stdin, sys.stdout)
    except ValueError as error:
        print(f"label: {error}", file=sys.stderr)
        return 1
    print(f"\n{done} labelled, {len(rows) - done} left")
    return 0
