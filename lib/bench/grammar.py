"""Asks a model many random requests with the grammar, and some of them again without: ``python -m lib.bench.grammar``.

Three parts: requests of all levels in contexts of the training split, the same in contexts of held-out names, and odd
ones (``lib.bench.odd_text``) in contexts whose names are as odd. Every answer with the grammar has to parse, to end, and to
speak of nothing that its context lacks, which the task reads from the context and not from the answer's numbers.
Every tenth request is also answered freely: how often each is right, and McNemar's exact test, say what the grammar
costs. An interrupted run goes on where it stopped; ``grammar.json`` in ``--out`` appears when all is answered.

    python -m lib.bench.grammar --model runs/gpu/06_models/student-q4_0.gguf --requests 10000 --out reports/gpu
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol

from tqdm import tqdm

from lib.bench.odd_text import OddText
from lib.bench.requests import SEEDS, TESTS, draw, read
from lib.core import files, paths, provenance
from lib.core.files import Resumable, Row
from lib.core.task import Answer, Call, Example, StudyTask, TaskError
from lib.evaluation.evaluate import ask
from lib.evaluation.metrics import mcnemar_p, wilson
from lib.runtime.gguf_student import GgufStudent
from lib.tasks import load

LEVELS = 7
"""The sampler draws held-out requests by level; more than it has levels do no harm."""
ODD_SHARE = 0.2
ODD_EACH = 20
"""Odd requests for each odd context."""
TROUBLES = ("refused", "failed", "cut off", "unreadable")
"""Input that the model never saw; decoding that could not go on; no end; an answer that does not parse."""
EVERY = 10
"""One request in so many is answered freely, too."""


class GrammarTask(StudyTask, Protocol):
    """What a task offers beside, for this command."""

    def odd_context(self, rng: Random, name: Callable[[], str]) -> dict[str, Any]:
        """A context in which most names are what ``name`` gives, a new one at every call."""
        ...

    def absent(self, calls_: Sequence[Call], context: dict[str, Any]) -> list[str]:
        """What calls choose their targets by and the context does not have."""
        ...


@dataclass(frozen=True)
class Asked:
    """A request of a ``part`` ("seen", "held-out", "odd"); odd ones have no right answer."""

    part: str
    example: Example


def requests(task: GrammarTask, count: int, seed: int, folder: Path, sizes: Sequence[int] = (3, 40)) -> list[Asked]:
    """``count`` requests, those of one context together; the sample is written to ``folder``. Raises TaskError."""
    odd = round(ODD_SHARE * count)
    held = (count - odd) // 2
    values = {"seed": seed, "seeds": count - odd - held, "dev": -(-held // LEVELS), "test": 0, "home_size": list(sizes)}
    draw(task, values, folder)
    found = [Asked("seen", e) for e in read(task, folder, SEEDS)[: count - odd - held]]
    found += [Asked("held-out", e) for e in read(task, folder)[:held]]
    return found + [Asked("odd", e) for e in _odd(task, count - len(found), seed)]


def _odd(task: GrammarTask, count: int, seed: int) -> list[Example]:
    rng = Random(f"odd {seed}")
    drawn = OddText(rng, task.controls())
    found: list[Example] = []
    while len(found) < count:
        context = task.odd_context(rng, drawn.name)
        for _ in range(min(ODD_EACH, count - len(found))):
            found.append(Example(f"odd-{len(found)}", drawn.text(), context, [], "odd", "program", "odd"))
    return found


def measure(student: GgufStudent, task: GrammarTask, asked: Sequence[Asked], out: Resumable, every: int) -> list[Row]:
    """A row for each request; those of ``out`` are not asked again."""
    known = {row["number"] for row in out.rows}
    with tqdm(total=len(asked), initial=len(known), unit=" requests", mininterval=2, disable=None) as bar:
        for number, one in enumerate(asked):
            if number not in known:
                out.append({"number": number, **_row(student, task, one, number % every == 0)})
                bar.update()
    return out.rows


def _row(student: GgufStudent, task: GrammarTask, one: Asked, free: bool) -> Row:
    example, student.grammar = one.example, True
    answer = ask(student, example.text, example.context)
    row: Row = {"part": one.part, "level": example.level, **_checked(answer), "ms": round(answer.latency_ms, 2)}
    row["absent"] = task.absent(answer.calls, example.context)
    if example.gold:
        row["exact"] = task.score(example, answer.calls).exact and not answer.error
    if row["trouble"] or row["absent"]:
        row |= {"id": example.id, "text": example.text, "raw": answer.raw, "error": answer.error}
    if free:
        student.grammar = False
        other = ask(student, example.text, example.context)
        row |= {"free": _checked(other)["trouble"], "free_ms": round(other.latency_ms, 2)}
        if example.gold:
            row["free_exact"] = task.score(example, other.calls).exact and not other.error
    return row


def _checked(answer: Answer) -> Row:
    """``trouble``: "" for an answer that ended and parsed, else one of TROUBLES."""
    refused, failed, cut_off, unreadable = TROUBLES
    if not answer.error:
        return {"trouble": ""}
    if not answer.new_tokens:
        return {"trouble": failed if "cannot be answered" in answer.error else refused}
    return {"trouble": cut_off if "no end within" in answer.error else unreadable}


def summary(rows: Sequence[Row]) -> Row:
    """Counts by part and in all, and the comparison with free decoding over the requests that have a right answer."""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    both = [row for row in rows if "free_exact" in row]
    lost = sum(row["free_exact"] and not row["exact"] for row in both)
    won = sum(row["exact"] and not row["free_exact"] for row in both)
    return {
        "all": _counts(rows),
        **{part: _counts([row for row in rows if row["part"] == part]) for part in parts},
        "free": {
            "n": len(both),
            "exact_with_grammar": _share(sum(row["exact"] for row in both), len(both)),
            "exact_free": _share(sum(row["free_exact"] for row in both), len(both)),
            "only_with_grammar": won,
            "only_free": lost,
            "p": mcnemar_p(lost, won),
            "free_unreadable": sum(row.get("free") == "unreadable" for row in rows),
            "free_cut_off": sum(row.get("free") == "cut off" for row in rows),
            "free_asked": sum("free" in row for row in rows),
        },
    }


def _counts(rows: Sequence[Row]) -> Row:
    trouble = {kind: sum(row["trouble"] == kind for row in rows) for kind in TROUBLES}
    answered = [row for row in rows if row["trouble"] != "refused"]
    scored = [row for row in rows if "exact" in row]
    good = sum(not row["trouble"] and not row["absent"] for row in answered)
    found = {"n": len(rows), **trouble, "absent_target": sum(bool(row["absent"]) for row in rows)}
    found |= {"valid": _share(good, len(answered))}
    return found | ({"exact": _share(sum(row["exact"] for row in scored), len(scored))} if scored else {})


def _share(right: int, n: int) -> Row:
    low, high = wilson(right, n)
    return {"count": right, "of": n, "share": round(right / n, 5) if n else None, "low": low, "high": high}


def run(
    task: GrammarTask, model: Path, count: int, every: int, seed: int, threads: int, out: Path, work: Path
) -> tuple[Row, bool]:
    """Writes ``grammar.json`` to ``out``; returns it, and whether every answer was valid. Raises ValueError."""
    if count < 10 or every < 1 or threads < 1:
        raise TaskError("--requests must be at least 10, --free-every and --threads at least 1")
    student, began = GgufStudent(model, task, threads=threads), time.perf_counter()
    asked = requests(task, count, seed, work / "sample")
    code = provenance.library("import lib.bench.grammar")
    sample = [files.sha256(work / "sample" / name) for name in (SEEDS, TESTS)]
    key = [files.sha256(model), code, sample, count, every, seed, threads]
    with files.alone(work), Resumable(work / "answers.jsonl", key) as kept:
        earlier = len(kept.rows)
        rows = measure(student, task, asked, kept, every)
    document = _document(model, rows, {"requests": count, "free_every": every, "seed": seed, "threads": threads})
    document |= {"wall_s": round(time.perf_counter() - began, 1), "answered_before": earlier}
    files.write_json(out / "grammar.json", document)
    return document, document["all"]["valid"]["count"] == document["all"]["valid"]["of"] > 0


def _document(model: Path, rows: Sequence[Row], parameters: Row) -> Row:
    wrong = [row for row in rows if row["trouble"] not in ("", "refused") or row["absent"]]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "model": {"file": model.name, "sha256": files.sha256(model)},
        "parameters": parameters,
        **summary(rows),
        "not_valid": wrong[:50],
        "refusals": sorted({row["error"] for row in rows if row["trouble"] == "refused"})[:20],
    }


def text(document: Row) -> str:
    """What goes to the terminal."""
    lines = [_line(part, document[part]) for part in ("all", "seen", "held-out", "odd") if part in document]
    free = document["free"]
    with_it, without = free["exact_with_grammar"]["count"], free["exact_free"]["count"]
    lines.append(
        f"free      of {free['n']} requests {with_it} are right with the grammar, {without} without it; p = "
        f"{free['p']:.3g} (McNemar)\n          without it {free['free_unreadable']} of {free['free_asked']} answers do "
        f"not parse, {free['free_cut_off']} are cut off"
    )
    return "\n".join(lines)


def _line(part: str, one: Row) -> str:
    valid, exact = one["valid"], one.get("exact")
    right = f", {exact['count']} of {exact['of']} right" if exact else ""
    wrong = f"{one['failed']} failed, {one['unreadable']} do not parse, {one['cut off']} are cut off"
    return (
        f"{part:9} {valid['count']} of {valid['of']} answers valid ({wrong}, {one['absent_target']} name an absent "
        f"target), {one['refused']} requests refused{right}"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lib.bench.grammar", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a student's GGUF")
    parser.add_argument("--task", default="home", help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--free-every", type=int, default=EVERY, help="answer one in so many freely, too (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where grammar.json goes (default: runs/grammar)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options, work = _options(arguments), paths.runs() / "grammar"
    try:
        task: Any = load(options.task)
        values = (options.requests, options.free_every, options.seed, options.threads)
        document, well = run(task, options.model, *values, options.out or work, work)
    except ValueError as error:
        print(f"bench_grammar: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench_grammar: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(text(document))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
