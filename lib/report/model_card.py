"""The model card of released models: what each file is, how it was made and how good it is, from the study's records.

What a domain has to say, about its data, licences and limits, stands in ``lib/tasks/<task>/model_card.md``; ``{data}``
and ``{weakest}`` in it are replaced by what the records say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.files import Row, iter_jsonl
from lib.evaluation import comparison
from lib.evaluation.frontier import TOGETHER
from lib.model.gguf_read import GgufFile


@dataclass(frozen=True)
class Released:
    """A file and its records: ``made`` (lib.compression.models), ``edge`` (its row of lib.evaluation.frontier), its rows of metrics."""

    file: str
    made: Row
    edge: Row
    metrics: pd.DataFrame
    source: Path


def card(models: Sequence[Released], first: str, meta: Row, counts: Mapping[str, int], domain: str) -> str:
    """The whole card. ``first``: the file that is used unless another is named; ``meta``: of the evaluation;

    ``counts``: training requests by source; ``domain``: the domain's part. Raises GgufError for a damaged file.
    """
    each = ", ".join(f"{n:,} from the {source}" for source, n in counts.items())
    text = domain.replace("{data}", f"{sum(counts.values()):,} training requests: {each}.")
    about, _, rest = text.replace("{weakest}", " ".join(map(_weakest, models))).partition("\n\n")
    use = f"`python -m lib.predict` and `make demo` use `{first}` unless `--model` names another."
    return "\n\n".join(["# Model card", about, use, *(_one(model, meta) for model in models), rest.strip()]) + "\n"


def sources(accepted: Path) -> dict[str, int]:
    """How many training requests there are of each source. Raises RecordError."""
    return dict(Counter(str(row["source"]) for row in iter_jsonl(accepted)).most_common())


def _one(model: Released, meta: Row) -> str:
    rows = {**_file(model), **_training(GgufFile(model.source).student), **_against(model, meta)}
    lines = [f"## {model.file}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join([*lines, "", *_accuracies(model.metrics, model.edge)])


def _file(model: Released) -> dict[str, str]:
    made, config = model.made, GgufFile(model.source).config()
    shape = f"{config['num_hidden_layers']} layers of {config['intermediate_size']:,} channels"
    heads = f"{config['num_attention_heads']} heads"
    kind = f"{made['kind']}, word table in {made['embedding'] or made['kind']}"
    return {
        "file": f"`{model.file}`, {made['size_mb']:.1f} MB, {kind}",
        "SHA-256": f"`{made['sha256']}`",
        "weights": f"{made['weights'] / 1e6:.1f} million: {shape}, {heads}",
        "what it is": f"{made['step']}, made from `{made['of']}` of the run",
    }


def _training(info: Mapping[str, Any]) -> dict[str, str]:
    """What the file itself says about its making."""
    words, base, training = info.get("vocabulary", {}), info["source"], info.get("training", {})
    rows = {"base": f"{base['name']} (SHA-256 `{base['sha256']}`)"}
    if words:
        rows["base"] += f", vocabulary cut from {words['tokens_base']:,} to {words['tokens']:,}"
    if "pruned" in info:
        names = ("layers", "channels", "groups")
        was = dict(zip(names, info["pruned"]["of"], strict=True))
        cuts = [
            f"{was[name]:,} to {info['pruned'][name]:,} {name}" for name in names if was[name] != info["pruned"][name]
        ]
        rows["last cut"] = f"{', '.join(cuts)} (`{info['pruned'].get('chosen', 'importance')}`)"
    taught = f", taught by the model of SHA-256 `{training['assistant']}`" if "assistant" in training else ""
    rounded = f", rounded to {training['rounded']} while training" if training.get("rounded") else ""
    steps = f"{training['steps']:,} steps" if "steps" in training else "none"
    return {**rows, "last training": f"{steps}, seed {training.get('seed', '–')}{taught}{rounded}"}


def _against(model: Released, meta: Row) -> dict[str, str]:
    """Its loss and its time, against the parent."""
    edge, parent, hardware = model.edge, meta["parameters"]["parent"], meta["hardware"]
    threads = meta["parameters"]["threads"]
    p = "p < 0.001" if edge["p"] < 0.001 else f"p = {edge['p']:.3f}"
    change = "lost" if edge["lost"] >= 0 else "won"
    lost = f"{abs(edge['lost']):.1f} points {change}, over {edge['pairs']:,} requests, {p} (McNemar's exact test)"
    times = f"median {edge['p50_ms']:.0f} ms, 95 % within {edge['p95_ms']:.0f} ms, the context read before"
    return {
        f"against {parent}": lost if edge["system"] != parent else "it is the parent",
        "time": f"{times}; {threads} threads of {hardware['cpu']}; {edge['faster']:.1f} times as fast as {parent}",
        "measured": f"at commit `{meta['commit'][:12]}`, profile {meta['parameters']['profile']}; all figures in "
        "`../metrics.csv` and `../frontier.csv`, how they were made in `../provenance.json`",
    }


def _accuracies(rows: pd.DataFrame, edge: Row) -> list[str]:
    lines = ["| test | level | n | right | 95 % interval |", "|---|---|---|---|---|"]
    rows = rows[(rows["test"] == "dev") | (rows["level"] == comparison.ALL)]
    whole: Row = {**edge, "test": f"dev and tests of others {TOGETHER}", "level": comparison.ALL}
    for row in [*rows.to_dict("records"), whole]:
        interval = f"{row['low'] * 100:.1f}–{row['high'] * 100:.1f} %"
        lines.append(f"| {row['test']} | {row['level']} | {row['n']} | {row['accuracy'] * 100:.1f} % | {interval} |")
    return lines


def _weakest(model: Released) -> str:
    """The level of the development set with the fewest right answers."""
    levels = model.metrics[(model.metrics["test"] == "dev") & (model.metrics["level"] != comparison.ALL)]
    row = levels.sort_values("accuracy", kind="stable").iloc[0]
    share = f"{row['accuracy'] * 100:.0f} % of {row['n']} requests right"
    return f"The weakest level of `{model.file}` is {row['level']}: {share}."
