"""A finished run with one stage, for tests of reports."""

import base64
import json
from pathlib import Path

import nbformat.v4 as v4
import pandas as pd
from IPython.core.formatters import DisplayFormatter

from lib.core import files
from lib.evaluation import comparison, metrics
from lib.report import charts, show

META = {
    "parameters": {"task": "toy", "seed": 1, "third_party": "", "base": "/somewhere/else/model"},
    "commit": "0123456789abcdef-dirty",
    "hardware": {"cpu": "A CPU", "cores": 2, "memory_gb": 8.0, "gpu": []},
    "wall_s": 12.3,
    "inputs": {},
}


def predictions() -> pd.DataFrame:
    rows = []
    for system, share, ms in (("rules", 3, 1.0), ("small", 9, 20.0), ("big", 9, 60.0)):
        for i in range(40):
            right = i % 10 < share
            row = {"id": f"r{i}", "system": system, "test": "dev" if i < 30 else "others", "level": f"L{i % 2}"}
            row |= {"calls": [], "exact": right, "reward": float(right), "reason": "" if right else "error"}
            rows.append({**row, "latency_ms": ms, "prompt_tokens": 9 * (system != "rules"), "new_tokens": 3})
    return metrics.frame(rows)


def compared() -> pd.DataFrame:
    sizes = {"small": 60.0, "big": 500.0}
    chosen = comparison.deploy(predictions(), sizes, "dev")
    return comparison.table(predictions(), comparison.load_prices(), sizes, chosen)


def finished_run(folder: Path) -> Path:
    """A finished stage in ``folder``, a run's; its page has a chart, a long and wide table, and prose."""
    image, metadata = DisplayFormatter().format(show.Image(charts.png(charts.latency(compared())), alt="A & B"))
    data = image["image/png"]
    outputs = [
        v4.new_output(
            "display_data",
            data={"image/png": data if isinstance(data, str) else base64.b64encode(data).decode()},
            metadata=metadata,
        ),
        v4.new_output("stream", name="stderr", text="a progress bar"),
        v4.new_output("stream", name="stdout", text="heard\n"),
    ]
    wide = pd.DataFrame([{"system": f"s{i}", **{f"column {j}": i / 7 for j in range(14)}} for i in range(20)])
    table = wide.to_html(index=False, border=0)
    cells = [
        v4.new_markdown_cell("# What it costs\n\nProse.\n\n## Figures\n\nIn full. What each costs:"),
        v4.new_code_cell(
            "secret_code = 1", outputs=[v4.new_output("display_data", data={"text/html": table}), *outputs]
        ),
    ]
    (folder / "notebooks").mkdir()
    files.write_text(folder / "notebooks" / "06_x.ipynb", json.dumps(v4.new_notebook(cells=cells)))
    files.write_json(folder / "06_meta.json", META)
    files.write_jsonl(folder / "06_metrics.jsonl", compared().to_dict("records"))
    return folder
