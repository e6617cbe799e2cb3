"""What a report says follows from what it keeps, and whatever was changed since is named with its remedy."""

import lzma
import re
import runpy
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from toy_choice import write_answers
from toy_report import finished_run

from lib import verify
from lib.core import files, paths
from lib.decision import records
from lib.evaluation import comparison
from lib.experiments import ablation
from lib.report import __main__ as report

CARD = "# Model card\n\n## small.gguf\n\n| file | `small.gguf`, {mb:.1f} MB, q4_0 |\n| SHA-256 | `{digest}` |\n"
MARKS = "<!-- headline -->\n<!-- /headline -->\n"
RIGHTS = {("a", 1): 5, ("a", 2): 6, ("b", 1): 7, ("b", 2): 9}
VARIANTS = {"variants": {"a": {}, "b": {"against": ["a"]}}, "reference": "a"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """reports/ with the report of a small run, its records, a released file and an ablation; README.md beside it."""
    top = tmp_path_factory.mktemp("top")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNS_DIR", str(top / "runs"))
        run, folder = finished_run(paths.run_dir("gpu")), top / "reports" / "gpu"
        write_answers(run, {"rules": (0.5, 1.0), "small": (0.9, 20.0), "big": (0.97, 60.0)})
        answers, sizes = records.read(run), {"small": 2.0, "big": 500.0}
        (run / records.FILE).rename(run / f"06_{records.FILE}")
        table = comparison.table(answers, comparison.load_prices(), sizes, "small")
        files.write_jsonl(run / "06_metrics.jsonl", table.to_dict("records"))
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "small.gguf").write_bytes(b"weights" * 100_000)
        digest = files.sha256(folder / "model" / "small.gguf")
        files.write_json(folder / "model" / "release.json", {"models": {"small.gguf": digest}})
        files.write_text(folder / "model" / "README.md", CARD.format(mb=0.7, digest=digest))
        pack(folder / "human")
        report.build("gpu", top / "reports")
        files.write_text(top / "README.md", MARKS)
        report.readme(path=top / "README.md", reports=top / "reports")
    yield top / "reports"


def pack(folder: Path) -> None:
    """An ablation of two variants with two seeds, packed."""
    asked = product(RIGHTS.items(), ("dev", "dev_human", "theirs"), range(10))
    rows = [{"variant": v, "seed": s, "test": t, "id": f"{i}", "exact": i < n} for ((v, s), n), t, i in asked]
    runs = [{"variant": v, "seed": s, "seconds": 3.5 * s, "ladder": [{}]} for v, s in RIGHTS]
    table = ablation.compared(rows, runs, VARIANTS)
    files.write_xz(folder / "records.jsonl.xz", "".join(files.dumps(row) + "\n" for row in rows))
    files.write_json(folder / "provenance.json", {"parameters": VARIANTS, "runs": runs})
    files.write_text(folder / "table.csv", table.assign(by_seed=table["by_seed"].map(str)).to_csv(index=False))


@pytest.fixture
def reports(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, where the command looks."""
    shutil.copytree(whole.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(paths, "REPORTS", tmp_path / "reports")
    return tmp_path / "reports"


def test_whole_reports_have_no_differences(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in reports.parent.rglob("*") if p.is_file()}
    assert verify.main() == ""
    checked = ["reports/gpu/model", "reports/gpu/metrics.csv", "reports/gpu/human/table.csv", "reports"]
    assert capsys.readouterr().out.split() == [word for name in checked for word in (name, "no", "differences")]
    assert before == {p: p.read_bytes() for p in reports.parent.rglob("*") if p.is_file()}


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """``new`` instead of the first ``old`` in a text, also in a compressed one."""

    def change(data: bytes) -> bytes:
        packed = data.startswith(b"\xfd7zXZ")
        text = (lzma.decompress(data) if packed else data).decode()
        text = text[: text.index(old)] + new + text[text.index(old) + len(old) :]
        return lzma.compress(text.encode()) if packed else text.encode()

    return change


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("model/small.gguf", lambda b: b[:-1] + b"x", "small.gguf has 0.7 MB and .* than in release.json"),
        ("model/small.gguf", None, "small.gguf: cannot be read"),
        ("model/README.md", swap("0.7 MB", "0.6 MB"), "small.gguf has 0.7 MB and .* than in README.md"),
        ("metrics.csv", swap("small,dev,all,300,270,", "small,dev,all,300,271,"), "small,dev,all,300,271,"),
        ("metrics.csv", swap("rules,test,all", "rules,best,all"), "rules,best,all,.*: by the records rules,test,all,"),
        ("metrics.csv", lambda b: b + b.splitlines(True)[-1], "big,.*: by the records no such row"),
        ("records.jsonl.xz", swap("[0, true, 1.0", "[0, false, 1.0"), "metrics.csv: rules,dev,.*: by the records"),
        ("records.jsonl.xz", lambda b: b[:-50], "metrics.csv: records.jsonl.xz: damaged or cut off"),
        ("records.jsonl.xz", None, "metrics.csv: gpu/records.jsonl.xz: is not there"),
        ("human/records.jsonl.xz", swap("true", "false"), "table.csv: dev,a,2,10,0.55,.* records dev,a,2,10,0.5,"),
        ("human/table.csv", swap(",25.0", ",26.0"), "dev,b,.*,26,.*: by the records dev,b,.*,25,"),
        ("../index.html", swap("Deploy small", "Deploy big"), "reports/index.html is not what its sources make"),
        ("gallery.html", swap("small", "big"), "reports/gpu/gallery.html is not what its sources make"),
        ("../../README.md", swap("Deploy small", "Deploy big"), "README.md is not what its sources make"),
    ],
)
def test_whatever_was_changed_is_named_with_the_remedy(
    name: str, change: Callable[[bytes], bytes] | None, says: str, reports: Path
) -> None:
    path = reports / "gpu" / name
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    found = verify.main().splitlines()
    assert any(re.search(f"^reports.*: {says}|^reports/gpu.*{says}", line) for line in found), found
    assert all(re.search(": restore it or run (make release|make reports|make ablation)", line) for line in found)


def test_the_command_ends_with_an_error_if_something_differs(reports: Path) -> None:
    for said in ("^0$", "^reports/gpu/model: none.gguf has 0.0 MB"):
        with pytest.raises(SystemExit, match=said):
            runpy.run_path(verify.__file__, run_name="__main__")
        (reports / "gpu" / "model" / "none.gguf").touch()
