"""A bench's rows as one row per system, on the terminal and as ``bench.csv`` and ``bench.json``.

Times are wall times from text to calls. *Cold*: nothing of the prompt is in the cache; *warm*: the context is.
Percentiles are interpolated, so that of two values p95 is nearly the larger one: ``n`` is beside them.

The limit of decoding is that of a roofline model (Williams, Waterman and Patterson, 2009): to write a token, every
weight is read and multiplied once. Attention and the unpacking of weights are left out, so that it is rather too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import pandas as pd

from lib.bench.systems import BenchError, Entrant
from lib.core import files
from lib.core.files import Row

TIMES = ["warm_p50_ms", "warm_p95_ms", "warm_ratio", "warm_n", "cold_p50_ms", "cold_p95_ms", "cold_ratio", "cold_n"]
TIMES += ["right", "load_s", "peak_mb", "file_mb"]
SPEEDS = ["prompt_tokens", "cold_fresh_tokens", "warm_fresh_tokens", "new_tokens", "prompt_tokens_s"]
SPEEDS += ["decode_tokens_s", "limit_decode", "share_decode"]
REST = ["kind", "file", "sha256", "released", "decode_bytes", "errors", "error"]


def held(path: Path) -> Row:
    """What any GGUF reads and multiplies for a token: ``decode_bytes``, ``decode_weights``. Raises BenchError."""
    try:
        tensors = gguf.GGUFReader(path).tensors
    except Exception as error:  # the reader raises whatever numpy and struct raise on broken bytes
        raise BenchError(f"{path}: not a whole GGUF file ({error}); copy or download it again") from error
    own_head = any(t.name == "output.weight" for t in tensors)  # else the embedding is multiplied, too
    used = [t for t in tensors if not own_head or t.name != "token_embd.weight"]
    return {"decode_bytes": sum(int(t.n_bytes) for t in used), "decode_weights": sum(int(t.n_elements) for t in used)}


def limit(model: Row, machine: Row) -> float:
    """Tokens per second at most, by what ``held`` says of a model and lib.bench.worker of the machine."""
    return 1 / max(model["decode_bytes"] / machine["bandwidth"], 2 * model["decode_weights"] / machine["arithmetic"])


def summary(
    entrants: Sequence[Entrant],
    rows: Sequence[Row],
    weights: Mapping[str, Row],
    failed: Mapping[str, str],
    machine: Row,
) -> list[Row]:
    """One row per system. ``weights``: ``held`` of each file; ``failed``: errors by name."""
    found = [_one(e, [r for r in rows if r.get("system") == e.name], weights.get(e.name), machine) for e in entrants]
    first = reference(found)
    for row in found:
        row["error"] = failed.get(row["system"], "")
        for kind in ("warm", "cold"):
            if first and f"{kind}_p50_ms" in row:
                row[f"{kind}_ratio"] = row[f"{kind}_p50_ms"] / first[f"{kind}_p50_ms"]
    return found


def _one(entrant: Entrant, rows: Sequence[Row], weights: Row | None, machine: Row) -> Row:
    row: Row = {"system": entrant.name, "kind": entrant.kind, "released": entrant.released}
    if entrant.file:
        row |= {"file": entrant.file.name, "sha256": entrant.sha256, "file_mb": entrant.file.stat().st_size / 1e6}
    asked = list({r["id"]: r for r in rows if "id" in r}.values())
    for kind in ("warm", "cold"):
        own = pd.DataFrame([r for r in asked if r["kind"] == kind])
        row[f"{kind}_n"] = len(own)
        if len(own):
            row[f"{kind}_p50_ms"], row[f"{kind}_p95_ms"] = own["ms"].quantile([0.5, 0.95])
            row[f"{kind}_fresh_tokens"] = (own["prompt_tokens"] - own["cached_tokens"]).mean()
            row["prompt_tokens"] = own["prompt_tokens"].mean()
    row |= {"right": f"{sum(r['exact'] for r in asked)}/{len(asked)}", "errors": sum(bool(r["error"]) for r in asked)}
    for other in (r for r in rows if r["kind"] in ("process", "speed")):
        row |= {key: value for key, value in other.items() if key not in ("system", "kind")}
    if weights:
        row |= {"decode_bytes": weights["decode_bytes"], "limit_decode": limit(weights, machine)}
        row |= {"new_tokens": sum(r["new_tokens"] for r in asked) / len(asked)} if asked else {}
        row |= {"share_decode": row["decode_tokens_s"] / row["limit_decode"]} if "decode_tokens_s" in row else {}
    return row


def reference(found: Sequence[Row]) -> Row | None:
    """The smallest released model that answered, if any did."""
    released = [row for row in found if row["released"] and "warm_p50_ms" in row and "cold_p50_ms" in row]
    return min(released, key=lambda row: row["file_mb"], default=None)


def _shown(found: Sequence[Row], columns: Sequence[str]) -> str:
    """The rows as aligned text, a line each, empty where a figure does not apply."""
    cells = [[_cell(column, row.get(column, "")) for column in ("system", *columns)] for row in found]
    return pd.DataFrame(cells, columns=[c.replace("_", " ") for c in ("system", *columns)]).to_string(index=False)


def _cell(column: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0%}" if column.startswith("share") else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def text(found: Sequence[Row], machine: Row, absent: Mapping[str, str]) -> str:
    """All that goes to the terminal."""
    models, one = [row for row in found if "limit_decode" in row], reference(found)
    notes = [f"{row['system']} failed: {row['error']}" for row in found if row["error"]]
    notes += [f"{name} left out: {why}" for name, why in absent.items()]
    legend = (
        (f"Ratio: times as long as {one['system']}. " if one else "")
        + "Cold: nothing of the prompt is in the cache; warm: the context is. The limit is that of this machine with "
        f"{machine['threads']} threads:\n{machine['bandwidth'] / 1e9:,.1f} GB/s read, "
        f"{machine['arithmetic'] / 1e9:,.0f} billion operations per second, measured in this run."
    )
    built = sorted({row["instructions"] for row in found if row.get("instructions")})
    legend += "".join(f" llama.cpp was built to use {instructions}." for instructions in built)
    parts = [_shown(found, TIMES), _shown(models, SPEEDS) if models else "", legend, "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def write(out: Path, found: Sequence[Row], document: Row) -> None:
    """``bench.csv`` (one row per system) and ``bench.json`` (``document`` and the same rows) in ``out``."""
    names = ["system", *TIMES, *SPEEDS, *REST]
    names += sorted({key for row in found for key in row} - set(names))
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found]
    table = pd.DataFrame(rounded, dtype=object).reindex(columns=names)
    files.write_text(out / "bench.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_json(out / "bench.json", {**document, "systems": list(found)})
