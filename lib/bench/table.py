"""A bench's rows as one row a system, as a table on the terminal, and as ``bench.csv`` and ``bench.json``.

Times are wall times from text to calls. *Cold*: nothing of the prompt was read before; *warm*: the context was. The
ratios say how many times longer a system takes than the reference, the smallest released model. Percentiles are
interpolated, so that of two values p95 is nearly the larger one: ``n`` stands beside them.

>>> percentile([10.0, 20.0, 30.0], 50), percentile([10.0, 20.0], 95)
(20.0, 19.5)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lib.bench.limits import Rates, Weights, limits
from lib.bench.systems import Entrant
from lib.core import files, paths
from lib.core.files import Row

RATIO = "ratio"
"""Format of a ratio: two digits below ten, whole above."""
COLUMNS: dict[str, tuple[str, str]] = {
    "warm_p50_ms": ("warm p50 ms", ",.1f"),
    "warm_p95_ms": ("p95 ms", ",.1f"),
    "warm_ratio": ("x", RATIO),
    "warm_n": ("n", "d"),
    "cold_p50_ms": ("cold p50 ms", ",.1f"),
    "cold_p95_ms": ("p95 ms", ",.1f"),
    "cold_ratio": ("x", RATIO),
    "cold_n": ("n", "d"),
    "right": ("right", ""),
    "load_s": ("load s", ",.1f"),
    "peak_mb": ("peak MB", ",.0f"),
    "file_mb": ("file MB", ",.1f"),
}
SPEEDS: dict[str, tuple[str, str]] = {
    "prompt_tokens": ("prompt tokens", ",.0f"),
    "cold_fresh_tokens": ("read cold", ",.0f"),
    "warm_fresh_tokens": ("warm", ",.0f"),
    "new_tokens": ("written", ",.1f"),
    "prompt_tokens_s": ("prompt tok/s", ",.0f"),
    "limit_prompt": ("limit", ",.0f"),
    "share_prompt": ("share", ".0%"),
    "decode_tokens_s": ("decode tok/s", ",.0f"),
    "limit_decode": ("limit", ",.0f"),
    "share_decode": ("share", ".0%"),
    "limit_decode_own": ("limit, own size", ",.0f"),
    "arithmetic": ("arithmetic", ""),
}
REST = ("kind", "file", "sha256", "released", "weights_kind", "decode_bytes", "errors", "error")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of the values are below, interpolated between the two nearest. Needs one value."""
    return float(np.percentile(values, percent))


def summary(
    entrants: Sequence[Entrant], rows: Sequence[Row], held: Mapping[str, Weights], failed: Mapping[str, str]
) -> list[Row]:
    """One row a system. ``held``: what each file holds; ``failed``: errors by name."""
    rates = rates_of(rows)
    found = [_one(e, [r for r in rows if r.get("system") == e.name], held.get(e.name), rates) for e in entrants]
    for row in found:
        row["error"] = failed.get(row["system"], "")
    _compare(found)
    return found


def rates_of(rows: Sequence[Row]) -> Rates:
    """The machine's rates out of its row."""
    row = next(row for row in rows if row["kind"] == "machine")
    own = {int(size): rate for size, rate in row["own"].items()}
    return Rates(row["threads"], row["bandwidth"], own, row["fp32"], row["int8"])


def _one(entrant: Entrant, rows: Sequence[Row], held: Weights | None, rates: Rates) -> Row:
    asked = list({row["id"]: row for row in rows if "id" in row}.values())
    row: Row = {"system": entrant.name, "kind": entrant.kind, "released": entrant.released}
    if entrant.file:
        row |= {"file": entrant.file.name, "sha256": entrant.sha256, "file_mb": entrant.file.stat().st_size / 1e6}
    for kind in ("warm", "cold"):
        row |= _times(kind, [r for r in asked if r["kind"] == kind])
    row |= {"right": f"{sum(r['exact'] for r in asked)}/{len(asked)}", "errors": sum(bool(r["error"]) for r in asked)}
    row |= _mean(asked, "new_tokens") if held else {}
    for kind in ("process", "speed"):
        for other in (r for r in rows if r["kind"] == kind):
            row |= {key: value for key, value in other.items() if key not in ("system", "kind")}
    return row | (_limits(row, held, rates) if held else {})


def _times(kind: str, asked: Sequence[Row]) -> Row:
    found: Row = {f"{kind}_n": len(asked)}
    if asked:
        found |= {f"{kind}_p{p}_ms": percentile([r["ms"] for r in asked], p) for p in (50, 95)}
        fresh = sum(r["prompt_tokens"] - r["cached_tokens"] for r in asked) / len(asked)
        found |= _mean(asked, "prompt_tokens") | {f"{kind}_fresh_tokens": fresh}
    return found


def _mean(asked: Sequence[Row], key: str) -> Row:
    return {key: sum(r[key] for r in asked) / len(asked)} if asked else {}


def _limits(row: Row, held: Weights, rates: Rates) -> Row:
    found: Row = {"weights_kind": held.kind, "decode_bytes": held.decode_bytes, **limits(held, rates)}
    for what in ("prompt", "decode"):
        if f"{what}_tokens_s" in row:
            found[f"share_{what}"] = row[f"{what}_tokens_s"] / found[f"limit_{what}"]
    return found


def reference(found: Sequence[Row]) -> Row | None:
    """The smallest released model that answered, if any did."""
    released = [row for row in found if row["released"] and "warm_p50_ms" in row and "cold_p50_ms" in row]
    return min(released, key=lambda row: row["file_mb"], default=None)


def _compare(found: Sequence[Row]) -> None:
    """Adds how many times longer each takes than the reference."""
    if one := reference(found):
        for row in found:
            for kind in ("warm", "cold"):
                if f"{kind}_p50_ms" in row:
                    row[f"{kind}_ratio"] = row[f"{kind}_p50_ms"] / one[f"{kind}_p50_ms"]


def shown(found: Sequence[Row], columns: Mapping[str, tuple[str, str]]) -> str:
    """The rows as aligned text, a line each, empty where a figure does not apply."""
    head = ["system", *(title for title, _ in columns.values())]
    body = [
        [r["system"], *(_cell(r[key], form) if key in r else "" for key, (_, form) in columns.items())] for r in found
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in [head, *body]
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _cell(value: Any, form: str) -> str:
    if form == RATIO:
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    return format(value, form)


def text(found: Sequence[Row], rates: Rates, absent: Mapping[str, str]) -> str:
    """All that goes to the terminal."""
    models = [row for row in found if "limit_decode" in row]
    wrong = [f"{row['system']} failed: {row['error']}" for row in found if row["error"]]
    left = [f"{name} left out: {why}" for name, why in absent.items()]
    parts = [shown(found, COLUMNS), shown(models, SPEEDS), _legend(found, rates), "\n".join(wrong + left)]
    return "\n\n".join(part for part in parts if part)


def _legend(found: Sequence[Row], rates: Rates) -> str:
    one = reference(found)
    ratio = f"x: times as long as {one['system']}. " if one else ""
    integer = f"{rates.int8 / 1e9:,.0f} int8" if rates.int8 else "no int8"
    built = {row["instructions"] for row in found if row.get("instructions")}
    use = "".join(f" llama.cpp was built to use {text}." for text in sorted(built))
    return (
        f"{ratio}Cold: nothing of the prompt was read before; warm: the context was. Limits are those of this machine "
        f"with {rates.threads} threads:\n{rates.bandwidth / 1e9:,.1f} GB/s read, {rates.fp32 / 1e9:,.0f} fp32 and "
        f"{integer} thousand million operations a second, measured in this run.{use}"
    )


def write(out: Path, found: Sequence[Row], document: Row) -> None:
    """``bench.csv`` (one row a system) and ``bench.json`` (``document`` and the same rows) in ``out``."""
    names = ["system", *COLUMNS, *SPEEDS, *REST]
    names += sorted({key for row in found for key in row} - set(names))
    table = io.StringIO()
    writer = csv.DictWriter(table, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found)
    files.write_text(out / "bench.csv", table.getvalue())
    files.write_json(out / "bench.json", {**document, "systems": list(found)})


def models(entrants: Sequence[Entrant]) -> Row:
    """File, SHA-256 and how each system was asked, by name."""
    return {e.name: {**asdict(e), "file": paths.relative(e.file) if e.file else ""} for e in entrants}
