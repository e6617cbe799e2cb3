"""Every notebook runs on the smoke profile and gives the outputs that are kept in it: see tests/README.md.

It is run twice, with all cores and instructions, and on one thread without special instructions of the processor, so
that nothing is compared that depends on the order in which numbers are added up. The second run is killed in each stage
and started again. That a resumed run is equal to the last bit is shown by ``make robust``.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import coalesce_streams

from lib.core import files, notebook_files, paths, provenance
from tests import faults

PASSES = {
    "native": {"OMP_NUM_THREADS": str(provenance.hardware()["cores"])},
    "portable": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
}
MEASURED = "measured"
RUNS = paths.runs()


def ran(name: str) -> faults.Study:
    """The run of a pass; what is done of it is not done again."""
    study = faults.Study(RUNS / name, paths.PARAMS, PASSES[name])
    with files.alone(study.folder):
        if name == "portable" and not study.run.exists():
            ended = faults.killed(study, len(faults.STAGES), 1, faults.walls(ran("native")))
            assert {row["stage"] for row in ended} == {*faults.STAGES}
        done = study.finish()
        assert done.popen.returncode == 0, done.text
    return study


def test_two_runs_differ_only_in_what_weights_and_clocks_decide() -> None:
    one, other = (faults.records(ran(name).folder) for name in PASSES)
    assert len(one) > 50
    assert not faults.differences(faults.weightless(one), faults.weightless(other))


@pytest.mark.parametrize("name", PASSES)
def test_the_notebooks_give_the_outputs_that_they_keep(name: str) -> None:
    run, found = ran(name).run, []
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


def test_what_differs_between_runs_is_told_and_times_are_not_compared(tmp_path: Path) -> None:
    for name, text in {"a": "right", "b": "wrong"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "03_x.jsonl").write_text(f'{{"id": 1, "said": "{text}", "latency_ms": "{text}"}}\n')
    one, other = (faults.records(tmp_path / name) for name in "ab")
    assert faults.differences(one, other) == ["03_x.jsonl: [0].said: 'right' and 'wrong'"]
    assert not faults.differences(faults.weightless(one), faults.weightless(other))
    assert faults.differences(one, {}) == [f"03_x.jsonl: : {one['03_x.jsonl']!r} and None"]
