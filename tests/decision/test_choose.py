"""The command that answers which model to deploy, on a small report."""

from pathlib import Path

import pandas as pd
import pytest
from toy_choice import write_answers

from lib import choose
from lib.core import paths
from lib.core.files import write_json
from lib.data.recording import PREDICTIONS, write_rows
from lib.decision import candidates, guarantee, records
from lib.evaluation.prices import load_prices

SYSTEMS = {"rules": (0.5, 1.0), "small": (0.99, 10.0), "odd": (1.0, 0.5), "parent": (1.0, 50.0)}
"""The share of requests that each gets right, and its milliseconds; odd is not to be deployed."""


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    write_answers(tmp_path / "gpu", SYSTEMS)
    row = {"test": "dev", "level": "all", "stage": 6, "usd_per_million": 1.0}
    shown = pd.DataFrame([{**row, "system": name, "shown": name != "odd"} for name in SYSTEMS])
    shown.to_csv(tmp_path / "gpu" / "metrics.csv", index=False)
    write_json(tmp_path / "gpu" / "provenance.json", {"06": {"parameters": {"parent": "parent"}}})
    return tmp_path / "gpu"


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert choose.main(arguments) == code
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == code
    return err if code else out


def test_the_answer(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--target", "0.95", "--volume", "200/day")
    assert text.startswith("small is the cheapest system that is at least 95.0% as good as parent, with 95% confidence")
    for part in (
        "99.0% of 300 requests that parent gets right (dev)",
        "On test, not used for the choice: 99.0%",
        "On dev_human, not used for the choice: 50.0% of 100 (41.4% to 58.6%): the target does not hold there.",
        "Cost at 200/day: small takes under $0.01",
        "With 2 candidates, 72 requests are the fewest",
    ):
        assert part in text
    assert "odd" not in text
    assert "is the cheapest system that is right on at least 90.0%" in said(capsys, "--target=0.9", "--reference=gold")


def test_a_target_that_nothing_can_guarantee(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--target", "0.99")
    assert text.startswith("No cheaper system is guaranteed to be at least 99.0% as good as parent")
    assert "The best that can be: small, at least 9" in text and "parent itself is left." in text
    assert "No candidate" in said(capsys, "--reference", "rules"), "none is cheaper"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "95"], "target: 95: use a share between 0 and 1"),
        (["--volume", "200"], "--volume: '200': write a number above 0 and hour, day"),
        (["--volume", "0/day"], "--volume: '0/day'"),
        (["--reference", "smal"], "reference: no records of 'smal'; did you mean 'small'?"),
        (["--profile", "none"], "unknown profile 'none'"),
        (["--profile", "cpu"], "cpu/records.jsonl.xz: is not there"),
    ],
)
def test_bad_input_is_one_error(
    report: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert f"choose: {message}" in said(capsys, *arguments, code=1)


def test_a_report_without_its_parts(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (report / "metrics.csv").unlink()
    assert "gpu/metrics.csv: cannot be used" in said(capsys, code=1)
    write_json(report / "provenance.json", {})
    assert "gpu/provenance.json: no '06' of part 6: give a reference" in said(capsys, code=1)
    (report / records.FILE).unlink()
    assert "gpu/records.jsonl.xz: is not there" in said(capsys, "--reference", "parent", code=1)


def test_a_cascade_is_a_candidate_like_others(report: Path) -> None:
    write_answers(report, SYSTEMS | {"small": (0.8, 10.0)}, unsure=0.5)
    found = candidates.read(report, load_prices())
    (name,) = [name for name in found.needs if name.startswith("small → parent")]
    own, alone = found.on("dev"), found.usd
    kept = guarantee.kept(own, "parent")[[name, "small"]]
    assert alone["small"] < alone[name] < alone["parent"] and kept[name].isna().any(), "half is fitted on"
    assert kept[name].mean() == 1 > kept["small"].mean(), "what it is not sure of goes up"


def test_the_teacher_answers_what_its_student_is_not_sure_of(report: Path, tmp_path: Path) -> None:
    write_answers(report, {"small": (0.8, 10.0)}, unsure=0.5)
    found = records.read(report)
    assert candidates.before_teacher(found, ["small"], candidates.said_by_teacher(tmp_path)).empty, "no recording"
    said = {"system": "pipeline", "test": "test", "calls": [], "exact": True, "prompt_tokens": 500, "new_tokens": 9}
    said |= dict.fromkeys(("digest", "level", "reason", "error"), "")
    said |= dict.fromkeys(("latency_ms", "cached_tokens", "llm_calls", "reward"), 1)
    write_rows(tmp_path / PREDICTIONS, [{"id": str(i), **said} for i in range(60, 110)])
    teacher = candidates.said_by_teacher(tmp_path, "pipeline")
    both = candidates.before_teacher(found, ["small"], teacher)
    alone = found[(found["test"] == "test") & found["id"].astype(int).between(60, 109)]["exact"].astype(bool)
    assert len(both) == 50 and both["exact"].all() and both["up"].sum() == (~alone).sum() == 20
    assert both["read"].eq(500 * both["up"]).all() and set(both["by"]) == {"small", "pipeline"}
    assert candidates.before_teacher(found.head(0), ["small"], teacher).empty


def test_volumes() -> None:
    assert choose.per_day("24/hour") == 576 and choose.per_day("7/week") == pytest.approx(1)
    assert choose.per_day("1,500/month") * 365.25 == pytest.approx(18_000)
