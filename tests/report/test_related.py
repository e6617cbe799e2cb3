"""The page of related systems: every figure has a record, none is written down, and what is missing is said."""

import re
from pathlib import Path

import pytest
import yaml

from lib.core import files, paths
from lib.core.params import ParamsError
from lib.report import related
from lib.report.index import rendered

SOURCE = yaml.safe_load(related.SOURCE.read_text("utf-8"))
SYSTEM = {"name": "A", "paper": "1", "published": "–", "seen": "code", "here": "x"}


def source(folder: Path, *entries: dict[str, str], **figures: dict[str, object]) -> Path:
    systems = [{**SYSTEM, **entry} for entry in entries]
    values = {"profile": "p", "figures": figures, "systems": systems, "classes": []}
    files.write_text(path := folder / "related.yaml", files.dumps(values))
    return path


def test_figures_are_read_from_the_tables_of_the_report(tmp_path: Path) -> None:
    files.write_text(tmp_path / "p" / "t.csv", "system,of,share\na,,0.25\nb,x,0.5\nb,y,0.75\n")
    files.write_json(tmp_path / "p" / "t.json", {"what": "x", "rows": [{"n": "1", "ms": 4}]})
    one = {"file": "t.csv", "where": {"system": "a", "of": ""}, "value": "share"}
    two = {"file": "t.json", "where": {"n": "1"}, "value": "ms"}
    several = {"file": "t.csv", "where": {"system": "b"}, "value": "share"}
    absent = {**one, "file": "none.csv"}
    assert related.page(tmp_path, source(tmp_path)) == {}, "no report, no page"
    files.write_json(tmp_path / "p" / "provenance.json", {})
    texts = ["{one:.0%} in {two:.1f} ms", "{several}", "{absent}", "{routes[small]}", ""]
    made = source(tmp_path, *({"ours": t} for t in texts), one=one, two=two, several=several, absent=absent)
    good, many, none, computed, empty = related.page(tmp_path, made)["systems"]
    assert related.page(tmp_path, made)["measured"] == 1
    assert good["ours"] == "25% in 4.0 ms" and empty["ours"] == ""
    assert many["ours"] == "no record: t.csv has 2 rows with {'system': 'b'}"
    assert none["ours"].startswith("no record: ") and "none.csv" in none["ours"]
    assert computed["ours"].startswith("no record: p/records.jsonl.xz")
    html = rendered("related.html.j2", page=related.page(tmp_path, made))
    assert html.count('<td class="share">not measured</td>') == 1 and "25% in 4.0 ms" in html


def test_a_mistake_in_the_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="related.yaml: .*oours"):
        related.page(tmp_path, source(tmp_path, {"oours": ""}))  # whether there is a report or not


def test_the_sixteen_systems_are_there_and_hold_no_figure_of_their_own() -> None:
    systems = SOURCE["systems"]
    assert len({s["paper"] for s in systems}) == len(systems) == 16
    for entry in (*systems, *SOURCE["classes"]):
        for text in (entry.get("ours", ""), entry.get("negative", "")):
            plain = re.sub(r"\{[^}]*\}", "", text)
            assert not re.search(r"\d\.\d", plain), f"{entry['name']}: a figure that no record gives"
        assert all((paths.ROOT / path).exists() for path in entry.get("rows", [])), entry["name"]
        assert bool(entry.get("rows")) == bool(entry.get("ours")) or entry["paper"] == "2409.04833", entry["name"]


UNTRAINED = "ladder_related", "augmentation", "federated", "frontier"  # folders of reports/gpu that no run has made


def test_the_committed_page_has_all_its_records() -> None:
    text = (paths.REPORTS / related.FILE).read_text("utf-8")
    for missing in re.findall(r"no record: ([^<]*)", text):
        (folder,) = [name for name in UNTRAINED if f"{name}/" in missing]
        assert not (paths.REPORTS / "gpu" / folder).exists(), missing
    assert text.count("not measured</td>") > 0
