"""Models to publish, with their card: ``publish`` checks and collects them in the run, ``release`` copies them out.

The last cell of the comparison (notebook 06) calls ``publish`` with the models that its parameter ``release`` names and
how many MB (10^6 bytes) each may have; ``python -m lib.release`` copies the folder to ``reports/<profile>/model``.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lib.core import files, paths, provenance
from lib.report.model_card import Released, card
from lib.report.overview import latency

STAGE = "06"
FOLDER = f"{STAGE}_release"


class ReleaseError(ValueError):
    """A model that cannot be published; the message names it and the remedy."""


def publish(
    run: Path, profile: str, limits: Mapping[str, float], reports: Path = paths.REPORTS, domain: Path | None = None
) -> list[Path]:
    """Collects the models of ``limits`` (name to most MB) and their card in ``run``/06_release; the files written.

    They must be those of the run's 06_metrics.jsonl and 06_frontier.jsonl. Replaces what was there, or leaves it if a
    model is too large, was not compared or changed since. ``reports``: where a measured latency may be; ``domain``: the
    domain's part of the card (default: that of the task). Raises ReleaseError, RecordError or GgufError.
    """
    models = [_checked(run, name, most, paths.report_dir(profile, reports)) for name, most in limits.items()]
    if not models:
        raise ReleaseError(f"release: names no model: set it in params/{profile}/{STAGE}_*.yaml")
    domain = domain or paths.ROOT / "lib" / "tasks" / models[0].task / "model_card.md"
    if not domain.is_file():
        raise ReleaseError(f"{paths.relative(domain)}: not there: write what the card says of data, licence and limits")
    deployed = next((m for m in models if m.deployed), models[0]).file
    sources = Counter(str(row["source"]) for row in files.iter_jsonl(run / "02_accepted.jsonl"))
    counts, made = dict(sources.most_common()), f"at commit `{provenance.commit()[:12]}`, profile {profile}"
    texts = {"README.md": card(models, deployed, made, counts, domain.read_text("utf-8"))}
    texts["release.json"] = files.dumps({"deployed": deployed, "models": {m.file: m.made["sha256"] for m in models}})
    part = run / f"{FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for model in models:
        shutil.copyfile(model.source, part / model.file)
    for name, text in texts.items():
        files.write_text(part / name, text.rstrip() + "\n")
    return _replace(part, run / FOLDER)


def _replace(part: Path, folder: Path) -> list[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return sorted(folder.iterdir())


def _checked(run: Path, name: str, most: float, reported: Path) -> Released:
    """A model and its records, if it may be published."""
    again = f"run stage {STAGE} (make reproduce PROFILE={run.name})"
    kinds = ("metrics", "frontier")
    found = {kind: files.read_jsonl(p) for kind in kinds if (p := run / f"{STAGE}_{kind}.jsonl").is_file()}
    rows, edge = ([row for row in found.get(kind, []) if row["system"] == name] for kind in kinds)
    file = run / f"{STAGE}_models" / (name.replace(" ", "-") + ".gguf")
    if not (rows and edge and file.with_suffix(".json").is_file()):
        raise ReleaseError(f"release: {name}: no predictions of it: add it to models, and {again}")
    made = files.read_json(file.with_suffix(".json"))
    if not file.is_file() or files.sha256(file) != made["sha256"]:
        raise ReleaseError(f"release: {name}: {file.name} is not the file that was compared: {again}")
    if (size := file.stat().st_size / 1e6) > most:
        raise ReleaseError(
            f"release: {name}: {size:.1f} MB, more than {most:g}: choose a smaller one, or raise the limit"
        )
    parent = next(row["system"] for row in found["frontier"] if pd.isna(row["p"]))
    return Released(file, made, edge[0], parent, pd.DataFrame(rows), latency(reported, edge[0], made["sha256"]))


def release(run: Path, reports: Path = paths.REPORTS, allow_dirty: bool = False) -> list[Path]:
    """Copies what ``publish`` collected to the profile's report, in place of what was there; the files written.

    Raises ReleaseError for an unfinished run, and without ``allow_dirty`` for one made from a commit with local changes
    or from several commits.
    """
    metas = {path.name[:2]: files.read_json(path) for path in sorted(run.glob("[0-9][0-9]_meta.json"))}
    if STAGE not in metas or not (run / FOLDER).is_dir():
        raise ReleaseError(f"{run.name}: nothing to release: run stage {STAGE} (make reproduce PROFILE={run.name})")
    commits = {meta["commit"] for meta in metas.values()}
    dirty = [number for number, meta in metas.items() if meta["commit"].endswith("-dirty")]
    if (dirty or len(commits) > 1) and not allow_dirty:
        what = f"stages {', '.join(dirty)} have local changes" if dirty else f"stages are from {len(commits)} commits"
        raise ReleaseError(f"{run.name}: {what}: commit and run them again, or give --allow-dirty")
    folder = paths.report_dir(run.name, reports) / "model"
    part = folder.with_name("model.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run / FOLDER, part)
    return _replace(part, folder)
