"""Models to publish, with their card: ``publish`` checks and collects them in the run, ``release`` copies them out.

The last cell of the comparison (notebook 06) calls ``publish`` with the models that its parameter ``release`` names and
how many MB (10^6 bytes) each may have; ``python -m lib.release`` copies the folder to ``reports/<profile>/model``. The
card says what each file is, how it was made and how good it is, from the study's records. What a domain has to say,
about its data, licences and limits, is in ``lib/tasks/<task>/model_card.md``, if there is one.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from lib.core import files, paths, provenance
from lib.core.files import Row
from lib.evaluation.comparison import ALL, TOGETHER
from lib.model.gguf_read import GgufFile

TEMPLATES = Path(__file__).parent / "template"
STAGE = "06"
FOLDER = f"{STAGE}_release"
PLAIN = "Function calls for the task {task}.\n\n## Data\n\n{data}\n\n## Limits\n\n{weakest}\n"


class ReportError(ValueError):
    """A report that cannot be made or a model that cannot be published; the message says which and the remedy."""


def publish(
    run: Path, profile: str, limits: Mapping[str, float], reports: Path = paths.REPORTS, domain: Path | None = None
) -> list[Path]:
    """Collects the models of ``limits`` (name to most MB) and their card in ``run``/06_release; the files written.

    Replaces what was there, or leaves it if a model is too large, was not compared or changed since. ``domain``: the
    domain's part of the card (default: that of the task). Raises ReportError, RecordError or GgufError.
    """
    models = [_checked(run, profile, name, most, reports) for name, most in limits.items()]
    if not models:
        raise ReportError(f"release: names no model: set it in params/{profile}/{STAGE}_*.yaml")
    task = models[0]["student"]["task"]
    domain = domain or paths.ROOT / "lib" / "tasks" / task / "model_card.md"
    about = domain.read_text("utf-8") if domain.is_file() else PLAIN.replace("{task}", task)
    deployed = next((m for m in models if m["deployed"]), models[0])["file"]
    with files.replacing(run / FOLDER) as part:
        part.mkdir()
        for model in models:
            shutil.copyfile(model["source"], part / model["file"])
        (part / "README.md").write_text(_card(run, profile, models, deployed, about), "utf-8")
        digests = {m["file"]: m["made"]["sha256"] for m in models}
        (part / "release.json").write_text(files.dumps({"deployed": deployed, "models": digests}) + "\n")
    return sorted((run / FOLDER).iterdir())


def _card(run: Path, profile: str, models: Sequence[Row], deployed: str, domain: str) -> str:
    """The whole card. ``domain``: the domain's part, in which ``{data}`` and ``{weakest}`` are replaced."""
    counts = Counter(str(row["source"]) for row in files.read_jsonl(run / "02_accepted.jsonl"))
    each = ", ".join(f"{source} {n:,}" for source, n in counts.most_common())
    weak = "The weakest level of `{}` is {level}: {accuracy:.0%} of {n} requests right."
    weakest = [weak.format(m["file"], **m["weakest"]).replace("%", " %") for m in models]
    text = domain.replace("{data}", f"{counts.total():,} training requests by source: {each}.")
    about, _, rest = text.replace("{weakest}", " ".join(weakest)).partition("\n\n")
    known: dict[str, Any] = {"about": about, "deployed": deployed, "rest": rest.strip(), "models": models}
    known |= {"measured": f"at commit `{provenance.commit()[:12]}`, profile {profile}", "profile": profile}
    data = ModelCardData(library_name="gguf", tags=["function-calling", models[0]["student"]["task"]])
    return str(ModelCard.from_template(data, str(TEMPLATES / "card.md.j2"), **known)).rstrip() + "\n"


def _checked(run: Path, profile: str, name: str, most: float, reports: Path) -> Row:
    """What the card says of a model, with its ``source``, if it may be published."""
    again = f"run stage {STAGE} (make reproduce PROFILE={profile})"
    tables = [run / f"{STAGE}_{kind}.jsonl" for kind in ("metrics", "frontier")]
    rows, edges = (files.read_jsonl(path) if path.is_file() else [] for path in tables)
    own, edge = ([row for row in found if row["system"] == name] for found in (rows, edges))
    file = run / f"{STAGE}_models" / (name.replace(" ", "-") + ".gguf")
    if not (own and edge and file.with_suffix(".json").is_file()):
        raise ReportError(f"release: {name}: no predictions of it: add it to models, and {again}")
    made = files.read_json(file.with_suffix(".json"))
    if not file.is_file() or files.sha256(file) != made["sha256"]:
        raise ReportError(f"release: {name}: {file.name} is not the file that was compared: {again}")
    if (size := file.stat().st_size / 1e6) > most:
        problem = f"{size:.1f} MB, more than {most:g}"
        raise ReportError(f"release: {name}: {problem}: choose a smaller one, or raise the limit")
    parent = next(row["system"] for row in edges if pd.isna(row["p"]))
    shown = [row for row in own if row["test"] in ("dev", "dev_human") or row["level"] == ALL]
    shown.append({**edge[0], "test": f"dev and third-party tests {TOGETHER}", "level": ALL})
    levels = [row for row in own if row["test"] == "dev" and row["level"] != ALL]
    known: Row = {
        "weakest": min(levels, key=lambda row: row["accuracy"]),
        "time": latency(reports / profile, edge[0], made["sha256"]),
    }
    known |= {"config": GgufFile(file).config(), "student": GgufFile(file).student, "file": file.name, "source": file}
    return {**known, "made": made, "edge": edge[0], "parent": parent, "rows": shown, "deployed": own[0]["deployed"]}


def release(run: Path, profile: str, reports: Path = paths.REPORTS, allow_dirty: bool = False) -> list[Path]:
    """Copies what ``publish`` collected to the profile's report, in place of what was there; the files written.

    Raises ReportError for an unfinished run, and without ``allow_dirty`` for one made from a commit with local changes
    or from several commits.
    """
    commits = {p.name[:2]: files.read_json(p)["commit"] for p in sorted(run.glob("[0-9][0-9]_meta.json"))}
    if STAGE not in commits or not (run / FOLDER).is_dir():
        raise ReportError(f"{profile}: nothing to release: run stage {STAGE} (make reproduce PROFILE={profile})")
    count, dirty = len(set(commits.values())), [stage for stage, c in commits.items() if c.endswith("-dirty")]
    if (dirty or count > 1) and not allow_dirty:
        what = f"stages {', '.join(dirty)} have local changes" if dirty else f"stages are from {count} commits"
        raise ReportError(f"{profile}: {what}: commit and run them again, or give --allow-dirty")
    folder = reports / profile / "model"
    with files.replacing(folder) as part:
        shutil.copytree(run / FOLDER, part)
    return sorted(folder.iterdir())


def latency(folder: Path, own: Row, sha256: str = "") -> Row:
    """p50_ms and p95_ms of a system's requests whose context is in the cache, and ``by``, what measured them.

    Those of ``make bench`` in ``folder``/bench, with ``cold_ms``, if it measured this file (``sha256``; by default the
    one in ``folder``/model) or a system without one, else those of ``own``, its row of the evaluation.
    """
    name, bench = own["system"].replace(" ", "-"), folder / "bench" / "bench.csv"
    file = folder / "model" / f"{name}.gguf"
    digest = sha256 or (files.sha256(file) if file.is_file() else "")
    rows = pd.read_csv(bench, dtype={"sha256": str}).fillna({"sha256": ""}) if bench.is_file() else pd.DataFrame()
    known = {(row["system"].replace(" ", "-"), row["sha256"]): row for row in rows.to_dict("records")}
    if row := known.get((name, digest)):
        machine = files.read_json(bench.with_suffix(".json"))["machine"]
        by = f"make bench, {machine['threads']} threads of {machine['cpu']}"
        return {"p50_ms": row["warm_p50_ms"], "p95_ms": row["warm_p95_ms"], "cold_ms": row["cold_p50_ms"], "by": by}
    return {"p50_ms": own["p50_ms"], "p95_ms": own["p95_ms"], "by": "in the evaluation"}
