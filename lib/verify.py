"""Computes what reports say again from what they keep, and compares: ``make verify`` (``python -m lib.verify``)."""

import shutil
import sys
import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from lib import sbom
from lib.core import files, paths
from lib.decision import records, safety
from lib.evaluation import bootstrap, metrics
from lib.experiments import ablation
from lib.report import __main__ as report
from lib.report import safety as report_safety
from lib.runtime.careful import RELEASE

FIGURES = "n right accuracy low high wrong_action reward prompt_tokens new_tokens".split()


def models(path: Path) -> list[str]:
    """Released models whose SHA-256 or size is not that of release.json or of their card."""
    known, wrong = files.read_json(path / "release.json", "restore it")["models"], list[str]()
    card = (path / "README.md").read_text("utf-8")
    for file in sorted({*path.glob("*.gguf"), *(path / name for name in known)}):
        digest, size = files.sha256(file), f"{file.stat().st_size / 1e6:.1f} MB"
        about = card.partition(f"\n## {file.name}\n")[2].partition("\n## ")[0]
        same = {"release.json": digest == known.get(file.name), "README.md": f"`{digest}`" in about and size in about}
        wrong += [f"{file.name} has {size} and SHA-256 {digest}, other than in {at}" for at in same if not same[at]]
    return wrong


def figures(path: Path) -> list[str]:
    """Rows of the last part in metrics.csv, without latencies, that are not those of the records beside it."""
    rows = pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(FIGURES, [""]))
    last, again = rows[rows["stage"] == rows["stage"].max()], metrics.by_level(records.read(path.parent))
    return _differences(last, again, [*metrics.COLUMNS, *FIGURES])


def variants(path: Path) -> list[str]:
    """Rows of an ablation's table that are not those of the records and the provenance beside it."""
    rows, about = files.read_jsonl(path.with_name(bootstrap.RECORDS)), files.read_json(path.parent / "provenance.json")
    again = ablation.compared(rows, about["runs"], about["parameters"])
    return _differences(bootstrap.read(path.parent), again, [*bootstrap.COLUMNS])


def _differences(kept: pd.DataFrame, again: pd.DataFrame, columns: list[str]) -> list[str]:
    old, new = (Counter(t[columns].to_csv(index=False, float_format="%.6g").splitlines()) for t in (kept, again))
    return [f"{a}: by the records {b}" for a, b in zip_longest(old - new, new - old, fillvalue="no such row")]


def wrong_actions(path: Path) -> list[str]:
    """Figures of wrong actions that are not those of the answers beside them, and cards and thresholds of others."""
    wrong, rows = list[str](), {p: files.read_json(p) for p in sorted(path.glob("*.json"))}
    for file, known in rows.items():
        table = pd.read_csv(file.with_suffix(".csv"), keep_default_na=False)
        again = safety.figures(table, pd.DataFrame(known["asked"]), known["target"])
        wrong += [f"{file.name} has another {key}" for key in again if known.get(key) != again[key]]
    model = path.parent / "model"
    release, card = files.read_json(model / RELEASE), (model / "README.md").read_text("utf-8")
    told = report_safety.read(path.parent, release["models"])
    same = {"README.md": report_safety.block(told) in card}
    same[RELEASE] = report_safety.thresholds(told).get("ask_below") == release.get("ask_below")
    return wrong + [f"{model.name}/{name} says another thing" for name in same if not same[name]]


def pages(path: Path) -> list[str]:
    """The index, the galleries and README.md, if they are not what the files of all reports make."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copy(path.parent / "README.md", name))
        report.index(path, copy.parent / path.name)
        report.readme(path=copy, reports=path)
        made = {p.relative_to(name): p.read_text("utf-8") for p in sorted(Path(name).rglob("*.*"))}
    return [f"{p} is not what its sources make" for p in made if (path.parent / p).read_text("utf-8") != made[p]]


def main() -> str:
    checks = {"/**/model": (models, "make release"), "/**/metrics.csv": (figures, "make reports")}
    checks |= {"/**/safety": (wrong_actions, "python -m lib.safety")}
    checks |= {"/**/table.csv": (variants, "make ablation"), "": (pages, "make reports; python -m lib.report --readme")}
    checks |= {"/sbom.json": (sbom.differences, "python -m lib.sbom")}
    root, lines = paths.REPORTS.parent, list[str]()
    for path, (check, remedy) in ((p, checks[k]) for k in checks for p in sorted(root.glob(f"reports{k}"))):
        try:
            wrong = check(path)
        except (ValueError, OSError, LookupError) as error:
            wrong = [f"{error}"]
        print(f"{path.relative_to(root)!s:<32}{len(wrong) or 'no'} differences")
        lines += [f"{path.relative_to(root)}: {what}: restore it or run {remedy}" for what in wrong]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main() or 0)
