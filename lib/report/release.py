"""Models to publish, with their card: ``publish`` checks and collects them in the run, ``release`` copies them out.

The last cell of the comparison (notebook 06) calls ``publish`` with the models that its parameter ``release`` names and
how many MB (10^6 bytes) each may have; ``python -m lib.release`` copies the folder to ``reports/<profile>/model``. The
card says what each file is, how it was made and how good it is, from the study's records. What a domain has to say,
about its data, licences and limits, is in ``lib/tasks/<task>/model_card.md``.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from lib.core import files, paths, provenance
from lib.core.files import Row
from lib.evaluation.comparison import ALL, TOGETHER
from lib.model.gguf_read import GgufFile
from lib.report.overview import TEMPLATES, latency

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
    domain = domain or paths.ROOT / "lib" / "tasks" / models[0].student["task"] / "model_card.md"
    if not domain.is_file():
        raise ReleaseError(f"{paths.relative(domain)}: not there: write what the card says of data, licence and limits")
    deployed = next((m for m in models if m.deployed), models[0]).source.name
    counts = dict(Counter(str(row["source"]) for row in files.iter_jsonl(run / "02_accepted.jsonl")).most_common())
    made = f"at commit `{provenance.commit()[:12]}`, profile {profile}"
    text = card(models, deployed, made, counts, domain.read_text("utf-8"))
    with files.replacing(run / FOLDER) as part:
        part.mkdir()
        for model in models:
            shutil.copyfile(model.source, part / model.source.name)
        digests = {m.source.name: m.made["sha256"] for m in models}
        (part / "README.md").write_text(text, encoding="utf-8")
        (part / "release.json").write_text(files.dumps({"deployed": deployed, "models": digests}) + "\n")
    return sorted((run / FOLDER).iterdir())


def _checked(run: Path, name: str, most: float, reported: Path) -> Released:
    """A model and its records, if it may be published."""
    again = f"run stage {STAGE} (make reproduce PROFILE={run.name})"
    tables = [run / f"{STAGE}_{kind}.jsonl" for kind in ("metrics", "frontier")]
    rows, edges = (files.read_jsonl(path) if path.is_file() else [] for path in tables)
    own, edge = ([row for row in found if row["system"] == name] for found in (rows, edges))
    file = run / f"{STAGE}_models" / (name.replace(" ", "-") + ".gguf")
    if not (own and edge and file.with_suffix(".json").is_file()):
        raise ReleaseError(f"release: {name}: no predictions of it: add it to models, and {again}")
    made = files.read_json(file.with_suffix(".json"))
    if not file.is_file() or files.sha256(file) != made["sha256"]:
        raise ReleaseError(f"release: {name}: {file.name} is not the file that was compared: {again}")
    if (size := file.stat().st_size / 1e6) > most:
        problem = f"{size:.1f} MB, more than {most:g}"
        raise ReleaseError(f"release: {name}: {problem}: choose a smaller one, or raise the limit")
    parent = next(row["system"] for row in edges if pd.isna(row["p"]))
    return Released(file, made, edge[0], parent, pd.DataFrame(own), latency(reported, edge[0], made["sha256"]))


def release(run: Path, reports: Path = paths.REPORTS, allow_dirty: bool = False) -> list[Path]:
    """Copies what ``publish`` collected to the profile's report, in place of what was there; the files written.

    Raises ReleaseError for an unfinished run, and without ``allow_dirty`` for one made from a commit with local changes
    or from several commits.
    """
    commits = {p.name[:2]: files.read_json(p)["commit"] for p in sorted(run.glob("[0-9][0-9]_meta.json"))}
    if STAGE not in commits or not (run / FOLDER).is_dir():
        raise ReleaseError(f"{run.name}: nothing to release: run stage {STAGE} (make reproduce PROFILE={run.name})")
    count, dirty = len(set(commits.values())), [stage for stage, c in commits.items() if c.endswith("-dirty")]
    if (dirty or count > 1) and not allow_dirty:
        what = f"stages {', '.join(dirty)} have local changes" if dirty else f"stages are from {count} commits"
        raise ReleaseError(f"{run.name}: {what}: commit and run them again, or give --allow-dirty")
    folder = paths.report_dir(run.name, reports) / "model"
    with files.replacing(folder) as part:
        shutil.copytree(run / FOLDER, part)
    return sorted(folder.iterdir())


@dataclass(frozen=True)
class Released:
    """A file and its records: ``made`` (of lib.compression), ``edge`` (its row of the frontier), ``parent`` (the model

    that it is compared with there), its rows of metrics, its ``latency`` (lib.report.overview).
    """

    source: Path
    made: Row
    edge: Row
    parent: str
    metrics: pd.DataFrame
    latency: Row

    @cached_property
    def student(self) -> dict[str, Any]:
        return GgufFile(self.source).student

    @property
    def deployed(self) -> bool:
        return bool(self.metrics["deployed"].any())


def card(models: Sequence[Released], deployed: str, made: str, counts: Mapping[str, int], domain: str) -> str:
    """The whole card. ``deployed``: the file that is used unless another is named; ``made``: the commit and profile;

    ``counts``: training requests by source; ``domain``: the domain's part, in which ``{data}`` and ``{weakest}`` are
    replaced. Raises GgufError for a damaged file.
    """
    each = ", ".join(f"{n:,} from the {source}" for source, n in counts.items())
    text = domain.replace("{data}", f"{sum(counts.values()):,} training requests: {each}.")
    about, _, rest = text.replace("{weakest}", " ".join(map(_weakest, models))).partition("\n\n")
    known: dict[str, Any] = {"about": about, "deployed": deployed, "rest": rest.strip()}
    known["models"] = [{"file": m.source.name, "facts": _facts(m, made), "accuracies": _accuracies(m)} for m in models]
    data = ModelCardData(library_name="gguf", tags=["function-calling", models[0].student["task"]])
    return str(ModelCard.from_template(data, str(TEMPLATES / "card.md.j2"), **known)).rstrip() + "\n"


def _facts(model: Released, run: str) -> dict[str, str]:
    made, config = model.made, GgufFile(model.source).config()
    shape = f"{config['num_hidden_layers']} layers, ffn_width {config['intermediate_size']:,}"
    kind = f"{made['kind']}, embedding in {made.get('embedding') or made['kind']}"
    return {
        "file": f"`{model.source.name}`, {made['size_mb']:.1f} MB, {kind}",
        "SHA-256": f"`{made['sha256']}`",
        "weights": f"{made['weights'] / 1e6:.1f} million: {shape}, {config['num_attention_heads']} heads",
        "what it is": f"{made['step']}, made from `{made['of']}` of the run",
        **_training(model.student),
        **_measured(model),
        "measured": f"{run}; all figures in `../metrics.csv` and `../frontier.csv`, how they were made in "
        "`../provenance.json`",
    }


def _training(info: Mapping[str, Any]) -> dict[str, str]:
    """What the file itself says about its training."""
    tokens, base, training = info.get("vocabulary", {}), info["source"], info.get("training", {})
    rows = {"base": f"{base['name']} (SHA-256 `{base['sha256']}`)"}
    if tokens:
        rows["base"] += f", vocabulary cut from {tokens['tokens_base']:,} to {tokens['tokens']:,}"
    if "pruned" in info:
        cut, names = info["pruned"], {"layers": "layers", "channels": "ffn_width", "groups": "kv_heads"}
        sizes = {name: (was, cut[key]) for (key, name), was in zip(names.items(), cut["of"], strict=True)}
        parts = [f"{name} {was:,} to {now:,}" for name, (was, now) in sizes.items() if was != now]
        rows["last cut"] = f"{', '.join(parts)} (`{cut.get('chosen', 'importance')}`)"
    taught = f", taught by the model of SHA-256 `{training['assistant']}`" if "assistant" in training else ""
    quantised = f", quantised to {training['rounded']} while training" if training.get("rounded") else ""
    steps = f"{training['steps']:,} steps" if "steps" in training else "none"
    return {**rows, "last training": f"{steps}, seed {training.get('seed', '–')}{taught}{quantised}"}


def _measured(model: Released) -> dict[str, str]:
    """Its loss against the parent, and its latency."""
    edge, time, parent, lost = model.edge, model.latency, model.parent, "it is the parent"
    if edge["system"] != parent:
        p = "p < 0.001" if edge["p"] < 0.001 else f"p = {edge['p']:.3f}"
        change = f"{abs(edge['lost']):.1f} points {'lost' if edge['lost'] >= 0 else 'gained'}"
        lost = f"{change}, over {edge['pairs']:,} requests, {p} (McNemar's exact test)"
    speed = f"median {time['p50_ms']:.0f} ms, 95 % within {time['p95_ms']:.0f} ms, context in the cache ({time['by']})"
    return {
        f"against {parent}": lost,
        "time": f"{speed}; in the evaluation {edge['faster']:.1f} times as fast as {parent}",
    }


def _accuracies(model: Released) -> list[Row]:
    rows = model.metrics[(model.metrics["test"] == "dev") | (model.metrics["level"] == ALL)]
    whole: Row = {**model.edge, "test": f"dev and third-party tests {TOGETHER}", "level": ALL}
    return [*rows.to_dict("records"), whole]


def _weakest(model: Released) -> str:
    """The level of the development set with the fewest right answers."""
    levels = model.metrics[(model.metrics["test"] == "dev") & (model.metrics["level"] != ALL)]
    row = levels.sort_values("accuracy", kind="stable").iloc[0]
    share = f"{row['accuracy'] * 100:.0f} % of {row['n']} requests right"
    return f"The weakest level of `{model.source.name}` is {row['level']}: {share}."
