"""The tables of the comparison of models (notebook 06), each with its headings and formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lib.core.files import Row
from lib.report.show import Format, share, table

MILLIONS, MEGABYTES, MS, POINTS = (lambda n: f"{n / 1e6:.1f} M"), "{:.1f} MB", "{:.1f} ms", "{:+.1f}"
P: Format = lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}"  # noqa: E731
SHAPE = {"layers": "layers", "ffn_width": "ffn_width", "kv_heads": "kv_heads"}


def models(made: Sequence[Row]) -> None:
    """What each model is (rows of lib.compression.models.make)."""
    rows = [
        {**row, "cut": _cut(row.get("shape") or {}), "embedding": row.get("embedding") or "the same"} for row in made
    ]
    labels = {"name": "model", "step": "what it is", "of": "made from", "cut": "cut to", "kind": "quantised to"}
    labels |= {"embedding": "embedding", "weights": "weights", "size_mb": "file"}
    table(rows, labels, {"weights": MILLIONS, "size_mb": MEGABYTES})


def _cut(shape: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{part} {shape[part]}" for part in SHAPE if shape.get(part)) or None


def frontier(edge: pd.DataFrame) -> None:
    """What each model is worth for its size and time (lib.evaluation.comparison.frontier)."""
    rows = edge.to_dict("records")
    for row in rows:
        for name in ("dev", "others"):
            row[f"{name} right"] = share(*(row[key] for key in (name, f"{name}_low", f"{name}_high")))
            row[f"{name} right"] = row[f"{name} right"] if row[f"n_{name}"] else None
    labels = {"system": "model", "step": "what it is", "weights": "weights", "size_mb": "file", "n_dev": "n"}
    labels |= {"dev right": "dev", "n_others": "n ", "others right": "third-party", "lost": "points lost", "p": "p"}
    labels |= {"p50_ms": "median", "p95_ms": "95% within", "faster": "times faster"}
    formats: dict[str, Format] = {"weights": MILLIONS, "size_mb": MEGABYTES, "lost": POINTS, "p": P, "faster": "{:.2f}"}
    table(rows, labels, formats | {"p50_ms": MS, "p95_ms": MS})


def cuts(rows: Sequence[Row]) -> None:
    """What each cut cost and what distillation recovered (lib.compression.models.cuts)."""
    labels = {"model": "model", "step": "step", **SHAPE, "parameters": "weights", "kl_before": "KL divergence before"}
    labels |= {"kl_after": "recovered", "train_steps": "training steps", "seconds": "training"}
    table(rows, labels, {"parameters": MILLIONS, "seconds": "{:.0f} s"})


def steps(found: pd.DataFrame) -> None:
    """What each step of the training added (lib.evaluation.steps.table)."""
    rows = [{**row, "right": share(row["accuracy"], row["low"], row["high"])} for row in found.to_dict("records")]
    labels = {"system": "step", "n": "requests", "right": "right", "points": "points gained", "p": "p"}
    table(rows, labels, {"points": POINTS, "p": P})


def gain(found: pd.DataFrame) -> None:
    """A system against the most accurate of its rivals, test by test (lib.evaluation.comparison.gain)."""
    labels = {"test": "test", "n": "requests", "accuracy": "right", "rival": "best baseline"}
    labels |= {"rival_accuracy": "its share", "points": "points more", "p": "p"}
    table(found, labels, {"accuracy": "{:.1%}", "rival_accuracy": "{:.1%}", "points": POINTS, "p": P})


def pairs(found: pd.DataFrame, reference: str) -> None:
    """Requests that one of two systems alone got right (lib.evaluation.metrics.paired)."""
    labels = {"test": "test", "system": "system", "n": "requests", "only_reference": f"only {reference} right"}
    table(found, labels | {"only_system": "only the system right", "p": "p"}, {"p": P})


def costs(own: pd.DataFrame) -> None:
    """Time and cost of each system (lib.evaluation.comparison.overall)."""
    labels = {"system": "system", "p50_ms": "median", "p95_ms": "95% within", "size_mb": "file"}
    labels |= {"prompt_tokens": "tokens read", "new_tokens": "tokens written", "usd_per_million": "a million requests"}
    formats: dict[str, Format] = {"p50_ms": MS, "p95_ms": MS, "size_mb": "{:.0f} MB", "usd_per_million": "${:,.2f}"}
    table(own, labels, formats | {"prompt_tokens": "{:.0f}", "new_tokens": "{:.1f}"})
