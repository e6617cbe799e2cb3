"""reports/related.html: the systems of other papers, what each gave here, and the optimisation classes without a row.

``params/related.yaml`` names them. Its texts hold placeholders for figures, which are read from the tables of a report
or computed from its records; none is written down. What has no record says so, what was not tried has an empty cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lib.core import files, params, paths
from lib.core.files import Row
from lib.core.params import Settings
from lib.data.study_data import DEV, TEST
from lib.decision import asking, candidates, costs, guarantee, layouts, limits, looks, ownership, routing
from lib.decision.routing import CHECKED, HELD_OUT, Route, Router
from lib.evaluation.prices import load_prices
from lib.model.flops import Shape
from lib.report import choice

FILE = "related.html"
SOURCE = paths.ROOT / "params" / "related.yaml"
RECORDING = "lib/tasks/home/recordings"
UNKNOWN = "no record"  # how a text begins of which a figure cannot be made
PROMISE, TARGETS = 0.05, (0.9, 0.95, 0.98)


class Figure(Settings):
    """``value``: a column of the one row of ``file``, a table of the report, that has the values of ``where``."""

    file: str
    where: dict[str, str]
    value: str


class Entry(Settings):
    """``here``: what is measured; ``ours``: with placeholders, "" for nothing; ``rows``: files.

    ``negative``: one sentence on what it did not give, with placeholders, too.
    """

    name: str
    here: str
    ours: str = ""
    negative: str = ""
    rows: list[str] = []


class System(Entry):
    paper: str
    published: str
    seen: Literal["code and text", "code", "text", "abstract", "a summary by others"]


class Related(Settings):
    """``profile``: whose report has the figures."""

    profile: str
    figures: dict[str, Figure]
    systems: list[System]
    classes: list[Entry]


class Found:
    """The figures that texts may name: of tables, and by topic those of COMPUTED, each made when first asked."""

    def __init__(self, folder: Path, figures: Mapping[str, Figure]) -> None:
        self.folder, self.figures, self.prices = folder, figures, load_prices()
        self.topic = cache(lambda name: COMPUTED[name](self))

    def __getitem__(self, name: str) -> Any:
        return self.topic(name) if name in COMPUTED else self._figure(name)

    def _figure(self, name: str) -> float:
        figure = self.figures[name]
        path = self.folder / figure.file
        if not path.is_file():
            raise ValueError(f"{figure.file} is not there")
        lists = [v for v in files.read_json(path).values() if isinstance(v, list)] if path.suffix == ".json" else []
        table = pd.DataFrame(lists[0]) if lists else pd.read_csv(path)
        for column, value in figure.where.items():
            table = table[table[column].fillna("").astype(str) == value]
        if len(table) != 1:
            raise ValueError(f"{figure.file} has {len(table)} rows with {figure.where}")
        return float(table[figure.value].iloc[0])

    @cached_property
    def known(self) -> Row:
        """The report's candidates, its smallest released model and the parent."""
        found = candidates.read(self.folder, self.prices)
        rows = candidates.rows(self.folder)
        small = str(rows[rows["released"].astype(bool)].sort_values("size_mb")["system"].iloc[0])
        own = found.records[~found.records["system"].str.contains(candidates.ROUTED)]
        return {"found": found, "records": own, "small": small, "parent": found.reference}

    def fill(self, text: str) -> str:
        """``text`` with its figures; where one cannot be made, which file is to blame."""
        try:
            return text.format_map(self)
        except (ValueError, OSError, LookupError) as error:
            return f"{UNKNOWN}: {files.told(error)}"


def _routes(found: Found) -> Row:
    own = (known := found.known)["records"]
    priced = routing.priced(own, found.prices, next(iter(found.prices.hosted)))
    rules = routing.ladder(priced, [])[0]
    router = Router(priced, [rules, known["small"], known["parent"]])
    route = router.fit(Route((known["small"], known["parent"]), CHECKED))
    first = router.fit(Route((rules, known["small"]), CHECKED))
    alone, made, ruled = ({r["test"]: r for r in router.points(x)} for x in (Route((known["small"],)), route, first))
    best = limits.oracle(router).set_index("test")["accuracy"]
    shown = {"small": known["small"], "parent": known["parent"], "rules": rules}
    for name, test in (("held", HELD_OUT), ("test", TEST)):
        base = alone[test]["accuracy"]
        points = {"gain": made[test]["accuracy"], "oracle": best[test], "ruled": ruled[test]["accuracy"]}
        shown |= {f"{key}_{name}": 100 * (value - base) for key, value in points.items()}
    return shown


def _asking(found: Found) -> Row:
    known = found.known
    rows = asking.by_confidence(known["records"], known["small"], PROMISE)
    over = ", ".join(f"{r['test']} {r['wrong']:.1%}" for r in rows if r["wrong"] > PROMISE) or "none"
    return {**rows[0], "over": over}


def _calls(found: Found) -> Row:
    known = found.known
    rows = limits.by_calls(known["records"], known["small"], known["parent"])
    rows = rows[rows["test"].isin([DEV, TEST]) & rows["several"]]
    means = rows[["whole", "steps", "draft", "target"]].mul(rows["n"], axis=0).sum() / rows["n"].sum()
    return {**known, **means.to_dict(), "n": int(rows["n"].sum()), "gain": 100 * (means["steps"] - means["whole"])}


def _looks(found: Found) -> Row:
    table = looks.simulated(TARGETS, 1_000, 1_000, 0, points=(-0.1,), error=guarantee.ERROR / 2)
    worst = {rule.replace(" ", "_"): float(x) for rule, x in table.groupby("rule")["accepted"].max().items()}
    known, target = found.known, 0.95
    kept = guarantee.kept(known["found"].on(DEV), known["parent"])
    usd = guarantee.cheaper(known["found"].usd, known["parent"])
    usd = {name: x for name, x in usd.items() if candidates.ROUTED not in name}
    planned, early = (looks.profiled(kept, usd, target, rule, 50, 0) for rule in (looks.PLANNED, looks.SEQUENCE))
    worst |= {"allowed": guarantee.ERROR / 2, "early": early["asked"]}
    return {**worst, "system": planned["system"] or "no cheaper system", "n": planned["n"]}


def _layouts(found: Found) -> Row:
    shape = Shape.of(files.read_json(found.folder / "training_speed.json")["config"])
    rows = layouts.curve(layouts.layouts(shape), 4.5).set_index(["layout", "context"])
    kv = {f"kv_{c}": float(rows.loc[f"({shape.heads}, {shape.kv_heads})", "kv"].loc[c]) for c in (288, 4_096)}
    return {**kv, "crossing": layouts.crossing(shape)}


def _ownership(found: Found) -> Row:
    known, prices = found.known, found.prices
    made = ownership.Made.of(pd.read_csv(found.folder / "trainings.csv"), paths.ROOT / RECORDING, prices)
    need = known["found"].needs[known["small"]]
    spent = ownership.spent(prices, made)
    free = prices.model_copy(update={"making": prices.making.model_copy(update={"engineering_hours": 0.0})})
    even, least = (ownership.break_even(p, made, need, made.teacher) for p in (prices, free))
    rows = costs.sensitivity(lambda p: ownership.break_even(p, made, need, made.teacher), prices)
    million = ownership.volumes(prices, made, need, made.teacher, [10**6]).iloc[0]
    shown = {"even": even, "least": least, "most": ", ".join(rows["assumption"][:2]), "ratio": million["ratio"]}
    return {**shown, "model": made.teacher, "trainings": spent["trainings"], "data": spent["teacher's data"]}


def _trainings(found: Found) -> Row:
    rows = [row for row in choice.trainings(found.folder) if row["kind"] in ("near", "far")]
    errors = pd.Series([abs(row["error"]) for row in rows])
    return {"n": len(rows), "median": float(errors.median()), "most": float(errors.max())}


TOPICS = _routes, _asking, _calls, _looks, _layouts, _ownership, _trainings
COMPUTED: dict[str, Callable[[Found], Row]] = {topic.__name__[1:]: topic for topic in TOPICS}


def page(reports: Path, source: Path = SOURCE) -> Row:
    """What the page shows: ``systems`` and ``classes``, texts filled, and how many systems are ``measured``.

    {} without the report. Raises ParamsError.
    """
    known = Related.read(params.read_yaml(source), source.name)
    if not (reports / known.profile / "provenance.json").is_file():
        return {}
    found = Found(reports / known.profile, known.figures)
    filled = [
        [{**vars(entry), "ours": found.fill(entry.ours), "negative": found.fill(entry.negative)} for entry in entries]
        for entries in (known.systems, known.classes)
    ]
    measured = sum(bool(e["ours"]) and not e["ours"].startswith(UNKNOWN) for e in filled[0])
    return {"profile": known.profile, "systems": filled[0], "classes": filled[1], "measured": measured}
