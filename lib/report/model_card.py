"""The model card of released models: what each file is, how it was made and how good it is, from the study's records.

What a domain has to say, about its data, licences and limits, is in ``lib/tasks/<task>/model_card.md``; ``{data}`` and
``{weakest}`` in it are replaced by what the records say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from lib.core.files import Row
from lib.evaluation.comparison import ALL, TOGETHER
from lib.model.gguf_read import GgufFile
from lib.report.overview import TEMPLATES


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

    ``counts``: training requests by source; ``domain``: the domain's part. Raises GgufError for a damaged file.
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
