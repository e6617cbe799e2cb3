"""Publishes models of a finished run: ``python -m lib.release --profile gpu`` (or ``make release PROFILE=gpu``).

The parameter ``release`` of the comparison (notebook 06) names them, and how many MB (10^6 bytes) each may have. They
are copied from ``runs/<profile>/06_models`` to ``reports/<profile>/model`` together with a model card
(lib/report/model_card.py), in place of all that was there. One that is too large, was not compared, or changed since, ends it
before anything is written.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core import files, params, paths
from lib.core.files import Row
from lib.report.model_card import Released, card, sources
from lib.runtime.requests import find_model

STAGE = "06"


class ReleaseError(ValueError):
    """A model that cannot be published; the message names it and the remedy."""


def release(
    run: Path, wanted: Mapping[str, float], reports: Path = paths.REPORTS, domain: Path | None = None
) -> list[Path]:
    """Publishes ``wanted`` (name to most MB) of a run as its profile's models; the files written.

    ``domain``: the domain's part of the card (default: that of the run's task). Raises ReleaseError, RecordError or
    GgufError.
    """
    if not wanted:
        raise ReleaseError(f"release: names no model: set it in params/{run.name}/{STAGE}_*.yaml")
    meta = _read(run / f"{STAGE}_meta.json", run)
    models = [_checked(run, name, most) for name, most in wanted.items()]
    domain = domain or paths.ROOT / "lib" / "tasks" / meta["parameters"]["task"] / "model_card.md"
    if not domain.is_file():
        raise ReleaseError(f"{paths.relative(domain)}: not there: write what the card says of data, licence and limits")
    folder = paths.report_dir(run.name, reports) / "model"
    part = folder.with_name("model.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for model in models:
        shutil.copyfile(model.source, part / model.file)
    text = card(models, find_model(part, run).name, meta, sources(run / "02_accepted.jsonl"), domain.read_text("utf-8"))
    files.write_text(part / "README.md", text)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return [folder / "README.md", *(folder / model.file for model in models)]


def _checked(run: Path, name: str, most: float) -> Released:
    """A model and its records, if it may be published."""
    rows = [row for row in _rows(run / f"{STAGE}_metrics.jsonl", run) if row["system"] == name]
    edge = [row for row in _rows(run / f"{STAGE}_frontier.jsonl", run) if row["system"] == name]
    if not rows or not edge:
        raise ReleaseError(f"release: {name}: no predictions of it: add it to models, and {_again(run)}")
    file = run / f"{STAGE}_models" / (name.replace(" ", "-") + ".gguf")
    made = _read(file.with_suffix(".json"), run)
    if not file.is_file() or files.sha256(file) != made["sha256"]:
        raise ReleaseError(f"release: {name}: {file.name} is not the file that was compared: {_again(run)}")
    size = file.stat().st_size / 1e6
    if size > most:
        raise ReleaseError(
            f"release: {name}: {size:.1f} MB, more than {most:g}: choose a smaller one, or raise the limit"
        )
    return Released(file.name, made, edge[0], pd.DataFrame(rows), file)


def _read(path: Path, run: Path) -> Row:
    if not path.is_file():
        raise ReleaseError(f"{path.name}: not there: {_again(run)}")
    return files.read_json(path)


def _rows(path: Path, run: Path) -> list[Row]:
    if not path.is_file():
        raise ReleaseError(f"{path.name}: not there: {_again(run)}")
    return files.read_jsonl(path)


def _again(run: Path) -> str:
    return f"run stage {STAGE} (make reproduce PROFILE={run.name})"


def wanted(profile: str) -> dict[str, float]:
    """The profile's parameter ``release``. Raises ParamsError or PathError."""
    notebook = next(path for path in paths.notebooks() if paths.stage_number(path) == STAGE)
    values: dict[str, Any] = params.load(notebook, profile)
    return dict(values["release"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lib.release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="gpu", help="folder of params/ (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        for path in release(paths.run_dir(given.profile), wanted(given.profile)):
            print(f"wrote {paths.relative(path)} ({path.stat().st_size / 1e6:.1f} MB)")
    except (ValueError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
