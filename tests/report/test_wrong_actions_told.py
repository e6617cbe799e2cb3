"""Figures of wrong actions in the card, in release.json and in the check of reports."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lib import verify
from lib.core import files
from lib.decision import safety
from lib.experiments.wrong_actions import CHECKED, CHOSEN, COLUMNS
from lib.report.release import ReportError
from lib.report.safety import MARKS, block, read, tell
from lib.runtime.careful import ask_below

CARD = f"# Card\n\n## a.gguf\n\n{''.join(MARKS)}\n\n## Limits\n\n- None.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report with two released models, of which a was measured, and b too, but another file."""
    (tmp_path / "model").mkdir()
    for name in ("a", "b"):
        (tmp_path / "model" / f"{name}.gguf").write_text(name)
    digests = {f"{n}.gguf": files.sha256(tmp_path / "model" / f"{n}.gguf") for n in ("a", "b")}
    files.write_json(tmp_path / "model" / "release.json", {"deployed": "a.gguf", "models": digests})
    (tmp_path / "model" / "README.md").write_text(CARD)
    found = [("random", "1", "L0", CHOSEN, 0.6, True, False, "lock unlocked", "lock unlocked")]
    found.append(("people", "2", "L1", CHECKED, 0.5, True, True, "gate open", ""))
    rows = pd.DataFrame(found, columns=COLUMNS)
    asked = pd.DataFrame({"test": ["random", "people"], "half": [CHOSEN, CHECKED], "n": 20_000, "right": 10_000})
    for name, digest in (("a", digests["a.gguf"]), ("b", "of another file")):
        files.write_text(tmp_path / "safety" / f"{name}.csv", rows.to_csv(index=False))
        about = {"sha256": digest, "asked": asked.to_dict("records")}
        files.write_json(tmp_path / "safety" / f"{name}.json", {**about, **safety.figures(rows, asked, 5e-5)})
    return tmp_path


def test_card_and_thresholds_are_those_of_the_released_files(folder: Path) -> None:
    for _ in range(2):
        assert [p.name for p in tell(folder)] == ["README.md", "release.json"]
        text = (folder / "model" / "README.md").read_text()
        assert text.count("## Wrong actions") == 1 and text.endswith("\n\n## Limits\n\n- None.\n")
        assert "| a.gguf | all | 40,000 | 1 (0.2) | 1.2 | 0.6001 | 0 (0.0) | 0.7 | 1 of 1 | 0.01 % |" in text
        assert "| 0.6 to 0.7 | 0, 1 of 1 |" in text and "b.gguf |" not in text
        assert files.read_json(folder / "model" / "release.json")["ask_below"] == {"a.gguf": 0.6001}
    assert ask_below(folder / "model" / "a.gguf") == 0.6001
    assert ask_below(folder / "model" / "b.gguf") is None and ask_below(folder / "none" / "a.gguf") is None
    assert verify.wrong_actions(folder / "safety") == []


def test_a_new_release_forgets_the_figures_of_the_old_one(folder: Path) -> None:
    tell(folder)
    known = files.read_json(folder / "model" / "release.json")
    files.write_json(folder / "model" / "release.json", {**known, "models": {"a.gguf": "new"}})
    tell(folder)
    assert (folder / "model" / "README.md").read_text() == CARD and block(read(folder, {"a.gguf": "new"})) == "".join(
        MARKS
    )
    assert "ask_below" not in files.read_json(folder / "model" / "release.json")


def test_a_card_without_the_marks_is_not_changed(folder: Path) -> None:
    (folder / "model" / "README.md").write_text("# Card\n")
    before = (folder / "model" / "release.json").read_bytes()
    with pytest.raises(ReportError, match="README.md: expected one section between <!-- wrong actions -->"):
        tell(folder)
    assert (folder / "model" / "release.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("safety/a.csv", "0.6,", "0.65,", "a.json has another threshold"),
        ("safety/a.json", '"left": 0', '"left": 7', "a.json has another parts"),
        ("model/README.md", "0.6001", "0.5", "model/README.md says another thing"),
        ("model/release.json", "0.6001", "0.5", "model/release.json says another thing"),
    ],
)
def test_what_was_changed_since_is_named(folder: Path, name: str, old: str, new: str, said: str) -> None:
    tell(folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    assert any(re.search(said, line) for line in verify.wrong_actions(folder / "safety"))
