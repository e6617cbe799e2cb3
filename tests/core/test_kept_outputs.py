"""Every notebook runs on the smoke profile and gives the outputs that are kept in it: see tests/README.md.

It is run twice, as this machine likes it and without special instructions of its processor on one thread, so that
nothing is compared that depends on the order in which numbers are added up.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import coalesce_streams

from lib.core import files, notebook_files, params, paths, stages
from tests import faults

PASSES = {"native": {}, "portable": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}}
MEASURED = "measured"
RUNS = paths.runs()


def ran(name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a pass; what is done of it is not done again."""
    for variable in ("ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {**PASSES[name], "RUNS_DIR": str(RUNS / name)}.items():
        monkeypatch.setenv(variable, value)
    run = paths.run_dir("smoke")
    with files.alone(run):
        for path in paths.notebooks():
            stages.run_stage(path, params.load(path, "smoke"), run)
    return run


def test_two_runs_differ_only_in_what_weights_and_clocks_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (faults.records(ran(name, monkeypatch)) for name in PASSES)
    assert len(one) > 50
    assert not faults.differences(faults.weightless(one), faults.weightless(other))


@pytest.mark.parametrize("name", PASSES)
def test_the_notebooks_give_the_outputs_that_they_keep(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, found = ran(name, monkeypatch), []
    for path in paths.notebooks():
        kept, made = (notebook_files.normalised(notebook_files.read(p)) for p in (path, run / "notebooks" / path.name))
        found += [f"{path.name}, {text}" for text in differences(kept, made)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def differences(kept: Any, made: Any) -> list[str]:
    """What differs in the outputs of cells: the cell's number, what it keeps and made, from where they differ."""
    found = []
    pairs = zip(kept.cells, made.cells, strict=True)
    for number, (old, new) in enumerate([(old, new) for old, new in pairs if old.cell_type == "code"], 1):
        shown = shape if MEASURED in old.metadata.get("tags", []) else contents
        before, after = (str(shown(coalesce_streams(cell.outputs))) for cell in (old, new))
        if before != after:
            at = max(len(os.path.commonprefix([before, after])) - 60, 0)
            found.append(f"code cell {number} keeps\n  {before[at : at + 300]}\nand made\n  {after[at : at + 300]}")
    return found


def shape(outputs: list[Any]) -> list[Any]:
    """How many outputs there are, and of which types."""
    return [(o.output_type, o.get("name", ""), sorted(o.get("data", ()))) for o in outputs]


def contents(outputs: list[Any]) -> list[Any]:
    return [(o.output_type, clean(o.get("text", "")), clean(str(o.get("data", "")))) for o in outputs]


def clean(text: str) -> str:
    """Without the digits of decimals, and the widths of columns that depend on them."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d[\d,]*\.\d+(e[-+]?\d+)?", "N", text))


def test_what_is_compared() -> None:
    def book(text: str, *tags: str, kind: str = "text/plain") -> Any:
        output = {"output_type": "display_data", "data": {kind: text}, "metadata": {}}
        cell = {"cell_type": "code", "source": "", "outputs": [output], "metadata": {"tags": tags}}
        return notebook_files.nbformat.from_dict({"cells": [cell]})

    assert not differences(book("right   12, 0.51"), book("right 12, 12.5"))
    assert differences(book("right 12"), book("right 13"))
    assert not differences(book("right 12", MEASURED), book("wrong 13", MEASURED))
    assert differences(book("right 12", MEASURED), book("right 12", MEASURED, kind="text/html"))
