"""A bench's rows as one row per system, as a table on the terminal, and as ``bench.csv`` and ``bench.json``.

Times are wall times from text to calls. *Cold*: nothing of the prompt is in the cache; *warm*: the context is. The
ratios say how many times as long a system takes as the reference, the smallest released model. Percentiles are
interpolated, so that of two values p95 is nearly the larger one: ``n`` is beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lib.bench.limits import limits
from lib.bench.systems import Entrant
from lib.core import files
from lib.core.files import Row

COLUMNS = {
    "warm_p50_ms": ("warm p50 ms", "{:,.1f}"),
    "warm_p95_ms": ("p95 ms", "{:,.1f}"),
    "warm_ratio": ("x", "{:.2g}"),
    "warm_n": ("n", "{}"),
    "cold_p50_ms": ("cold p50 ms", "{:,.1f}"),
    "cold_p95_ms": ("p95 ms", "{:,.1f}"),
    "cold_ratio": ("x", "{:.2g}"),
    "cold_n": ("n", "{}"),
    "right": ("right", "{}"),
    "load_s": ("load s", "{:,.1f}"),
    "peak_mb": ("peak MB", "{:,.0f}"),
    "file_mb": ("file MB", "{:,.1f}"),
}
SPEEDS = {
    "prompt_tokens": ("prompt tokens", "{:,.0f}"),
    "cold_fresh_tokens": ("read cold", "{:,.0f}"),
    "warm_fresh_tokens": ("warm", "{:,.0f}"),
    "new_tokens": ("written", "{:,.1f}"),
    "prompt_tokens_s": ("prompt tok/s", "{:,.0f}"),
    "limit_prompt": ("limit", "{:,.0f}"),
    "share_prompt": ("share", "{:.0%}"),
    "decode_tokens_s": ("decode tok/s", "{:,.0f}"),
    "limit_decode": ("limit", "{:,.0f}"),
    "share_decode": ("share", "{:.0%}"),
    "arithmetic": ("arithmetic", "{}"),
}
REST = ("kind", "file", "sha256", "released", "weights_kind", "decode_bytes", "errors", "error")


def summary(
    entrants: Sequence[Entrant], rows: Sequence[Row], held: Mapping[str, Row], failed: Mapping[str, str], machine: Row
) -> list[Row]:
    """One row per system. ``held``: lib.bench.limits.weights of each file; ``failed``: errors by name."""
    found = [_one(e, [r for r in rows if r.get("system") == e.name], held.get(e.name), machine) for e in entrants]
    first = reference(found)
    for row in found:
        row["error"] = failed.get(row["system"], "")
        for key in ("warm", "cold"):
            if first and f"{key}_p50_ms" in row:
                row[f"{key}_ratio"] = row[f"{key}_p50_ms"] / first[f"{key}_p50_ms"]
    return found


def _one(entrant: Entrant, rows: Sequence[Row], held: Row | None, machine: Row) -> Row:
    row: Row = {"system": entrant.name, "kind": entrant.kind, "released": entrant.released}
    if entrant.file:
        row |= {"file": entrant.file.name, "sha256": entrant.sha256, "file_mb": entrant.file.stat().st_size / 1e6}
    asked = list({r["id"]: r for r in rows if "id" in r}.values())
    for kind in ("warm", "cold"):
        row |= _times(kind, pd.DataFrame([r for r in asked if r["kind"] == kind]))
    row |= {"right": f"{sum(r['exact'] for r in asked)}/{len(asked)}", "errors": sum(bool(r["error"]) for r in asked)}
    row |= {"new_tokens": sum(r["new_tokens"] for r in asked) / len(asked)} if held and asked else {}
    for other in (r for kind in ("process", "speed") for r in rows if r["kind"] == kind):
        row |= {key: value for key, value in other.items() if key not in ("system", "kind")}
    if held:
        row |= {key: held[key] for key in ("weights_kind", "decode_bytes")} | limits(held, machine)
        speeds = [what for what in ("prompt", "decode") if f"{what}_tokens_s" in row]
        row |= {f"share_{what}": row[f"{what}_tokens_s"] / row[f"limit_{what}"] for what in speeds}
    return row


def _times(kind: str, asked: pd.DataFrame) -> Row:
    if asked.empty:
        return {f"{kind}_n": 0}
    p50, p95 = asked["ms"].quantile([0.5, 0.95])
    fresh = (asked["prompt_tokens"] - asked["cached_tokens"]).mean()
    times = {f"{kind}_n": len(asked), f"{kind}_p50_ms": p50, f"{kind}_p95_ms": p95, f"{kind}_fresh_tokens": fresh}
    return {**times, "prompt_tokens": asked["prompt_tokens"].mean()}


def reference(found: Sequence[Row]) -> Row | None:
    """The smallest released model that answered, if any did."""
    released = [row for row in found if row["released"] and "warm_p50_ms" in row and "cold_p50_ms" in row]
    return min(released, key=lambda row: row["file_mb"], default=None)


def shown(found: Sequence[Row], columns: Mapping[str, tuple[str, str]]) -> str:
    """The rows as aligned text, a line each, empty where a figure does not apply."""
    cells = [[r["system"], *(form.format(r[k]) if k in r else "" for k, (_, form) in columns.items())] for r in found]
    return pd.DataFrame(cells, columns=["system", *(title for title, _ in columns.values())]).to_string(index=False)


def text(found: Sequence[Row], machine: Row, absent: Mapping[str, str]) -> str:
    """All that goes to the terminal."""
    models, one = [row for row in found if "limit_decode" in row], reference(found)
    notes = [f"{row['system']} failed: {row['error']}" for row in found if row["error"]]
    notes += [f"{name} left out: {why}" for name, why in absent.items()]
    ratio = f"x: times as long as {one['system']}. " if one else ""
    integer = f"{machine['int8'] / 1e9:,.0f} int8" if machine["int8"] else "no int8"
    built = {row["instructions"] for row in found if row.get("instructions")}
    legend = (
        f"{ratio}Cold: nothing of the prompt is in the cache; warm: the context is. Limits are those of this machine "
        f"with {machine['threads']} threads:\n{machine['bandwidth'] / 1e9:,.1f} GB/s read, "
        f"{machine['fp32'] / 1e9:,.0f} fp32 and {integer} billion operations per second, measured in this run."
        + "".join(f" llama.cpp was built to use {text}." for text in sorted(built))
    )
    parts = [shown(found, COLUMNS), shown(models, SPEEDS) if models else "", legend, "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def write(out: Path, found: Sequence[Row], document: Row) -> None:
    """``bench.csv`` (one row per system) and ``bench.json`` (``document`` and the same rows) in ``out``."""
    names = ["system", *COLUMNS, *SPEEDS, *REST]
    names += sorted({key for row in found for key in row} - set(names))
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found]
    table = pd.DataFrame(rounded, dtype=object).reindex(columns=names)
    files.write_text(out / "bench.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_json(out / "bench.json", {**document, "systems": list(found)})
