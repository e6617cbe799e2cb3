"""The index's cascade, what systems keep of the teacher's accuracy, and the labels of the choices."""

import re
from pathlib import Path

import pandas as pd
import pytest
from toy_choice import write_answers

from lib.core.files import write_json
from lib.data.recording import PREDICTIONS, write_rows
from lib.decision import records
from lib.evaluation.prices import load_prices
from lib.report import cascade, choice
from lib.teacher.contract import PIPELINE

ASKED = [str(i) for i in range(0, 200, 4)]
SYSTEMS = {"rules": (0.5, 1.0), "small": (0.8, 20.0), "big": (0.96, 60.0)}


@pytest.fixture
def answers(tmp_path: Path) -> pd.DataFrame:
    """Records of rules and two models that are not sure where they are wrong; the rules do not know these sentences."""
    write_answers(tmp_path, SYSTEMS, unsure=0.0)
    found = records.read(tmp_path)
    models = (found["system"] != "rules") & (found["confidence"] == 0)
    return found.assign(confidence=found["confidence"].mask(models, 0.4))


@pytest.fixture
def metas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """Provenance of a report whose teacher answered 50 requests of test, of which it got 40 right."""
    monkeypatch.setattr(choice, "recording", lambda metas: tmp_path / "teacher" if metas else None)
    said = {"system": PIPELINE, "test": "test", "calls": [], "prompt_tokens": 500, "new_tokens": 9}
    said |= dict.fromkeys(("digest", "level", "reason", "error"), "")
    said |= dict.fromkeys(("latency_ms", "cached_tokens", "llm_calls", "reward"), 1)
    write_rows(
        tmp_path / "teacher" / PREDICTIONS, [{"id": key, "exact": i % 5 > 0, **said} for i, key in enumerate(ASKED)]
    )
    write_json(tmp_path / "provenance.json", {"06": {"parameters": {"parent": "big"}}})
    return {"01": {"parameters": {"hosted_model": "gpt-4o-mini"}}}


def last() -> pd.DataFrame:
    rows = {"system": [*SYSTEMS], "test": "dev", "level": "all", "size_mb": [None, 30.0, 70.0], "prompt_tokens": 0}
    rows |= {"released": [False, True, True], "deployed": [False, False, True]}
    return pd.DataFrame(rows).assign(prompt_tokens=[0, 90, 90])


def test_a_cascade_costs_less_than_its_last_system_and_keeps_what_that_gets_right(
    answers: pd.DataFrame, metas: dict[str, dict[str, object]]
) -> None:
    found = cascade.section(last(), answers, metas, load_prices())
    assert found["names"] == ["rules", "small", "big"], "rules first, then the models by size"
    own, teacher = found["curves"]
    chosen = next(row for row in own["rows"] if row["chosen"])
    alone = {row["system"]: row for row in own["alone"]}
    assert chosen["accuracy"] >= alone["big"]["accuracy"] > alone["small"]["accuracy"]
    assert chosen["x"] < alone["big"]["x"] and own["n"] == alone["big"]["n"] < 400, "one half is fitted on"
    assert set(chosen["by"]) == {*SYSTEMS} and sum(chosen["by"].values()) == pytest.approx(1)
    assert teacher["systems"] == [*SYSTEMS, PIPELINE] and teacher["n"] == 50
    sent = next(row for row in teacher["rows"] if row["chosen"])
    assert sent["by"] == pytest.approx({"rules": 26 / 50, "small": 14 / 50, "big": 8 / 50, PIPELINE: 2 / 50})
    assert sent["x"] > teacher["alone"][2]["x"]
    for drawing in (*own["drawing"], *teacher["drawing"]):
        places = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", re.search(r'class="front" d="([^"]*)"', drawing)[1])  # type: ignore[index]
        width, height = (float(re.search(rf'{side}="(\d+)"', drawing)[1]) for side in ("width", "height"))  # type: ignore[index]
        assert places and all(0 < float(x) < width and 0 < float(y) < height for x, y in places)


def test_percent_of_the_teacher_is_on_the_same_requests_and_else_of_the_parent(
    answers: pd.DataFrame, metas: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    found = cascade.of_reference(last(), answers, metas, tmp_path, {})
    own = answers[(answers["test"] == "test") & answers["id"].isin(ASKED)]
    right = own[own["system"] == "small"]["exact"].astype(bool).sum()
    share, low, high = found["shares"]["small"]
    assert (found["name"], found["n"], found["taught"]) == (PIPELINE, 50, True)
    assert share == pytest.approx(right / 40) and low <= share <= high and found["shares"][PIPELINE] == (1, 1, 1)
    other = cascade.of_reference(last(), answers, {}, tmp_path, {})
    assert (other["name"], other["tests"], other["n"], other["taught"]) == ("big", "test", 200, False)
    assert other["shares"]["rules"][0] == pytest.approx(50 / 96, abs=0.01)
    assert cascade.of_reference(last(), answers.head(0), metas, tmp_path, {}) == {}


def test_without_records_there_is_no_cascade(answers: pd.DataFrame) -> None:
    assert cascade.section(last(), answers.head(0), {}, load_prices()) == {}
    only = cascade.section(last(), answers, {}, load_prices())
    assert [one["systems"] for one in only["curves"]] == [[*SYSTEMS]], "no recording: no teacher in it"


def test_each_choice_is_named_and_cascades_stand_before_large_models() -> None:
    kinds = {
        "tiny": "recommended, released",
        "small": "released",
        "big": "most accurate, not released",
        "r": "no model",
    }
    sizes = {"tiny": 70.0, "small": 30.0, "big": 120.0, "r": None}
    rows = [{"system": s, "what": what, "mb": sizes[s], "label": "", "hosted": False} for s, what in kinds.items()]
    rows.append({"system": "llm", "what": "large model, list price", "label": "LLM", "hosted": True})
    routed = {"system": "r → small", "what": "", "label": "cascade", "hosted": False}
    found = {row["system"]: row["label"] for row in choice.labelled(rows, [routed], ["r"])}
    assert list(found) == ["tiny", "small", "big", "r", "r → small", "llm"]
    assert list(found.values()) == ["balanced", "smallest", "most accurate", "rules", "cascade", "LLM"]
