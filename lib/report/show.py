"""How notebooks show tables, charts and sentences with figures in them, so that the report reads well without code.

Sentences of third-party tests are never shown: ``text`` masks an example's, ``table`` those of rows that are of such a
test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from lib.evaluation import metrics
from lib.report import charts
from lib.runtime.requests import calls as calls

Format = Callable[[Any], str] | str
Labels = Mapping[str, str] | Sequence[str]
OTHERS = ("third_party", "dev_human")  # the ``split`` of examples in words that others own
TEXTS = ("text", "said", "request")  # columns that hold what somebody said
WITHHELD = "[a sentence that is not ours, withheld]"
HEADINGS = {
    "n": "requests",
    "others": "third-party",
    "n_others": "n third-party",
    "lost": "points lost",
    "holm": "p corrected",
    "rival": "best",
}
HEADINGS |= {
    "change": "points more (95 % interval)",
    "usd_per_million": "a million requests",
    "usd_per_year": "a year",
    "size_mb": "file",
    "step": "what it is",
    "of": "made from",
}
"""Of columns whose name does not say it, in tables that give no headings of their own."""
SHAPE = ["layers", "ffn_width", "kv_heads"]
PARTS = [*SHAPE, "heads", "shared"]
ALPHA = 0.05
FORMATS: dict[str, Format] = {
    "shape": lambda shape: ", ".join(f"{part} {shape[part]}" for part in PARTS if shape.get(part)) or "–",
    **dict.fromkeys(("accuracy", "rival_accuracy", "mean"), "{:.1%}"),
    **dict.fromkeys(("weights", "parameters"), lambda n: f"{n / 1e6:.1f} M"),
    **dict.fromkeys(("p50_ms", "p95_ms"), "{:.1f}"),
    **dict.fromkeys(("points", "at_least"), "{:+.1f}"),
    **dict.fromkeys(("n", "most_lost", "mean_ms"), "{:.0f}"),
    **dict.fromkeys(("good", "fitted"), lambda holds: "yes" if holds else "no"),
    **{"lost": lambda n: f"{n:.0f}" if float(n).is_integer() else f"{n:+.1f}"},
    **dict.fromkeys(("p", "holm"), lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}"),
    **{"size_mb": "{:.1f} MB", "faster": "{:.2f} x"},
    **dict.fromkeys(("low", "target", "best", "sent_up", "load", "wrong_action"), "{:.1%}"),
    "elsewhere": lambda tests: "; ".join(f"{test}: {_verdict(row)}" for test, row in tests.items()),
    **{"predicted_s": "{:.0f} s", "requests_per_day": "{:,.0f}", "usd": "${:,.2f}"},
    **dict.fromkeys(("usd_per_million", "usd_per_year"), lambda x: f"${x:,.2f}" if x >= 0.1 or not x else f"${x:.2g}"),
    **{"prompt_tokens": "{:.0f}", "new_tokens": "{:.1f}", "seconds": "{:.0f} s"},
}
"""Of columns with these names, in all tables that give no others."""
COSTS = ["system", "p50_ms", "p95_ms", "size_mb", "prompt_tokens", "new_tokens", "usd_per_million"]
GUARANTEES = {"target": "target", "system": "cheapest system", "low": "guaranteed", "n": "requests", "lost": "lost"}
GUARANTEES |= {"most_lost": "may lose", "best": "most that can be guaranteed", "least": "requests needed"}
GUARANTEES |= {"elsewhere": "on requests not used for the choice"}
MARGINS = {"system": "file", "size_mb": "size", "n": "requests", "right": "right", "points": "points"}
MARGINS |= {"at_least": "at least (points)", "good": "may be deployed"}
ROUTES = {"route": "route", "n": "requests", "right": "right", "points": "points over the last system alone"}
ROUTES |= {"sent_up": "not answered by the first", "mean_ms": "mean ms", "usd_per_million": "a million requests"}
TRAININGS = {"training": "training", "steps": "steps", "pflops": "PFLOPs", "seconds": "seconds a run took"}
TRAININGS |= {"predicted_s": "predicted", "error": "off by", "fitted": "fitted on it", "peak_gb": "GB"}
TRAININGS |= {"predicted_gb": "GB predicted", "beside": "beside it", "usd": "cost"}
CUTS = ["model", "step", *SHAPE, "parameters", "kl_before", "kl_after", "train_steps", "seconds"]
MODELS = ["name", "step", "of", "shape", "kind", "embedding", "weights", "size_mb"]
FRONTIER = ["system", "step", "weights", "size_mb", "n_dev", "dev", "n_others", "others", "lost", "p"]
FRONTIER += ["holm", "p50_ms", "p95_ms", "faster"]
"""Columns of lib.evaluation.comparison's overall and frontier, and of lib.compression.models' rows and cuts."""


def say(*paragraphs: str) -> None:
    """Shows Markdown whose figures come from variables."""
    text = "\n\n".join(paragraphs)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def figure(chart: Figure, alt: str) -> None:
    """Shows a chart with its alternative text."""
    data, metadata = Image(charts.png(chart), format="png", alt=alt, width=760)._repr_mimebundle_()
    display({**data, "text/plain": alt}, metadata=metadata, raw=True)


def table(rows: Any, labels: Labels = (), formats: Mapping[str, Format] | None = None) -> None:
    """Shows a table: the columns of ``labels``, all by default, under its headings, values through their ``formats``.

    ``rows``: a DataFrame or a list of dicts; none give the headings alone. A format is a function, or a format such as
    ``"{:,.0f}"``. TEXTS of rows whose ``split`` is one of OTHERS are masked.
    """
    frame, how = pd.DataFrame(rows), {**FORMATS, **(formats or {})}
    if "split" in frame:
        hidden = frame["split"].isin(OTHERS)
        frame = frame.assign(**{c: frame[c].mask(hidden, WITHHELD) for c in TEXTS if c in frame})
    frame = frame.reindex(columns=list(labels)) if labels else frame
    shown = pd.DataFrame({c: [_text(v, how.get(c)) for v in frame[c]] for c in frame.columns})
    if not isinstance(labels, Mapping):
        labels = {c: HEADINGS.get(c, c.replace("_", " ")) for c in labels}
    shown = shown.rename(columns=labels)
    html = shown.to_html(index=False, border=0, escape=True)
    display({"text/html": html, "text/plain": shown.to_string(index=False)}, raw=True)


def _verdict(row: Mapping[str, Any]) -> str:
    return f"{row['verdict']}, {row['low']:.1%} to {row['high']:.1%} (n = {row['n']})"


def _text(value: Any, how: Format | None) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if how is None or isinstance(value, str):
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    return how.format(value) if isinstance(how, str) else how(value)


def text(example: Any) -> str:
    """What an example says, masked if others own its words."""
    return WITHHELD if example.split in OTHERS or example.source == "human" else str(example.text)


def flipped(examples: Sequence[Any], answers: pd.DataFrame, before: str, after: str) -> None:
    """Shows the requests (of one test, in our own words) that one of two systems alone got right, those won first."""
    sides = [answers[answers["system"] == name].drop_duplicates("id").set_index("id") for name in (before, after)]
    known = [e for e in examples if e.source != "human" and all(e.id in side.index for side in sides)]
    rows = []
    for e in known:
        (was, said), (now, says) = ((bool(side.loc[e.id, "exact"]), side.loc[e.id, "calls"]) for side in sides)
        if was != now:
            rows.append({"right": after if now else before, "request": text(e), "gold": calls(e.gold[0])})
            rows[-1] |= {before: calls(said), after: calls(says)}
    rows.sort(key=lambda row: row["right"] != after)
    table(rows, {"right": "right is", "request": "request", "gold": "right answer", before: before, after: after})


def share(accuracy: float, low: float, high: float) -> str:
    """A share with its interval, in percent.

    >>> share(0.912, 0.89, 0.931)
    '91.2 % (89.0–93.1)'
    """
    return f"{accuracy * 100:.1f} % ({low * 100:.1f}–{high * 100:.1f})"


def shares(rows: pd.DataFrame, columns: Sequence[str] = ("accuracy", "low", "high")) -> list[str]:
    """The accuracies of all rows, each with its interval."""
    return [share(*row) for row in rows[list(columns)].itertuples(index=False)]


def frontier(edge: pd.DataFrame) -> None:
    """What each model is worth for its size and time (lib.evaluation.comparison.frontier)."""
    for name in ("dev", "others"):
        found = pd.Series(shares(edge, [name, f"{name}_low", f"{name}_high"]), edge.index)
        edge = edge.assign(**{name: found.where(edge[f"n_{name}"] > 0, None)})
    table(edge.assign(holm=metrics.holm(edge["p"])), FRONTIER)


def variants(compared: pd.DataFrame) -> None:
    """Shows what lib.evaluation.bootstrap.compare found, with the seconds that training took."""
    ends = compared["points"].map("{:+.1f}".format) + compared["low"].map(" ({:+.1f} to ".format)
    rows = compared.assign(change=ends + compared["high"].map("{:+.1f})".format))
    rows[["against", "change"]] = rows[["against", "change"]].where(rows["against"] != "", "–")
    columns = ["test", "variant", "n", "mean", "by_seed", "against", "change", "p", "holm", "seconds"]
    table(
        rows.assign(holm=metrics.holm(rows["p"])),
        columns,
        {"by_seed": lambda means: ", ".join(f"{mean:.1%}" for mean in means)},
    )


def significant(compared: pd.DataFrame, test: str) -> None:
    """Says which differences of a test that lib.evaluation.bootstrap.compare found are significant among all."""
    rows = compared[(compared["test"] == test) & (compared["against"] != "")]
    named: dict[bool, list[str]] = {True: [], False: []}
    for r, p in zip(rows.to_dict("records"), metrics.holm(rows["p"]), strict=True):
        named[p < ALPHA].append(f"{r['variant']} against {r['against']} ({r['points']:+.1f} points)")
    real, rest = (", ".join(named[kind]) or "none" for kind in (True, False))
    how = f"p < {ALPHA}, corrected by Holm's method for {len(rows)} comparisons"
    say(f"On **{test}**, significant differences ({how}): {real}. Not significant: {rest}.")


def accuracies(summary: pd.DataFrame, columns: str) -> None:
    """Shows a row for each system and a column for each test or level (``columns``), n in the heading or the cell.

    ``summary``: system, the column named ``columns``, n, accuracy, low, high. Cells: percent with 95% interval.
    """
    most = summary.groupby(columns, sort=False)["n"].transform("max")
    few = [f", n = {n}" if n < whole else "" for n, whole in zip(summary["n"], most, strict=True)]
    cells = [text + more for text, more in zip(shares(summary), few, strict=True)]
    heading = summary[columns] + " (n = " + most.astype(str) + ")"
    wide(summary.assign(cell=cells, heading=heading), "system", "heading", "cell")


def wide(rows: pd.DataFrame, index: str, columns: str, values: str) -> None:
    """Shows texts or shares: a row for each of ``index``, a column for each of ``columns``, in order of appearance."""
    found = rows.pivot(index=index, columns=columns, values=values).loc[rows[index].unique(), rows[columns].unique()]
    table(found.reset_index(), formats=dict.fromkeys(found.columns, "{:.1%}"))
