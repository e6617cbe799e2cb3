"""Pages as people read them: what the HTML must have, and what a browser makes of it on a screen, a phone, on paper."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from zipfile import ZipFile

import browser
import nbformat.v4 as v4
import pandas as pd
import pytest
from toy_choice import write_answers
from toy_report import finished_run

from lib.core import files, paths
from lib.core.wheels import WheelError, cache_folder, fetch
from lib.decision import costs, records
from lib.report import __main__ as report
from lib.report import choice, index, pages, svg

OURS = [p for p in sorted(paths.REPORTS.rglob("*.html")) if 'class="contents"' in p.read_text(encoding="utf-8")]
"""The pages that are there, without those of an older rendering."""
SCRIPTS = ["", *((report.TEMPLATES / f"{name}.js").read_text().strip() for name in ("volume", "gallery"))]
LARGEST = 1_000_000
AXE = "axe-playwright-python==0.1.8", "fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8"


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.script = list[tuple[str, dict[str, str | None]]](), ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.script += data if self.tags and self.tags[-1][0] == "script" else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.tags if name == tag]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reports of toy runs, of profile smoke and of profile smoke of another task."""
    top = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNS_DIR", str(top / "runs"))
        patch.setattr(paths, "PARAMS", top / "params")
        for profile in ("a/smoke", "smoke"):
            (top / "params" / profile).mkdir(parents=True)
            (top / "params" / profile / "01_x.yaml").touch()
            finished_run(paths.run_dir(profile))
            report.build(profile, top / "reports")
            (top / "gallery" / profile).mkdir(parents=True)
            for name in ("metrics.csv", "provenance.json"):
                shutil.copy(top / "reports" / profile / name, top / "gallery" / profile)
            write_answers(top / "gallery" / profile, {"rules": (0.5, 1.0), "small": (0.97, 20.0)})
        report.index(top / "gallery")
    yield top / "reports"


@pytest.fixture(
    params=["index", "page", "deep", "gallery", "records", *(p.relative_to(paths.REPORTS).as_posix() for p in OURS)]
)
def path(request: pytest.FixtureRequest, toy: Path) -> Path:
    named = {"index": toy / "index.html", "page": toy / "smoke" / "06_x.html"}
    named |= {"gallery": toy.parent / "gallery" / "a" / "smoke" / "gallery.html", "deep": toy / "a/smoke/06_x.html"}
    named |= {"records": toy.parent / "gallery" / "index.html"}
    return named.get(request.param) or paths.REPORTS / request.param


def test_a_page_can_be_read_aloud_and_loads_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    reader = Reader(text)
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    alts = [given["alt"] for given in reader.all("img")] + [given["aria-label"] for given in reader.all("svg")]
    assert all(alt and len(alt) <= pages.ALT for alt in alts) and len(text.encode()) < LARGEST
    assert len(reader.all("table")) == len(reader.all("caption"))
    assert all("scope" in given for given in reader.all("th")) and not reader.all("link")
    loaded = [given["src"] or "" for _, given in reader.tags if "src" in given]
    assert all(source.startswith("data:image/png;base64,") for source in loaded)
    assert reader.script.strip() in SCRIPTS
    assert 'lang="en"' in text and 'name="viewport"' in text


def test_a_long_table_is_folded_and_its_caption_is_the_sentence_before_it(toy: Path) -> None:
    text = (toy / "smoke" / "06_x.html").read_text()
    assert "<summary>Table 1: What each costs (20 rows)</summary>" in text
    assert '<ol><li><a href="#Figures">Figures</a></li></ol>' in text
    assert '<th scope="row">s19</th>' in text and "Right on dev: rules <strong>30.0 %</strong> (n = 30), small" in text


def test_a_cell_tagged_page_begins_a_page_and_findings_stand_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    run = finished_run(paths.run_dir("smoke"))
    report.build("smoke", tmp_path / "reports")
    texts = {"# 6 · Size: files": "", "Kept.": "banner", "Small.": "finding", "# 6 · Cost: money": "page"}
    cells = [v4.new_markdown_cell(text, metadata={"tags": [tag] if tag else []}) for text, tag in texts.items()]
    files.write_text(run / "notebooks" / "06_x.ipynb", json.dumps(v4.new_notebook(cells=cells)))
    report.build("smoke", tmp_path / "reports")
    made = {p.name: p.read_text() for p in (tmp_path / "reports" / "smoke").glob("*.html")}
    assert set(made) == {"06_size.html", "06_cost.html"}
    assert all(f'href="{name}"' in text for name in made for text in made.values())
    first, last = made["06_size.html"], made["06_cost.html"]
    assert '<div class="finding"><p>Small.</p>' in first and first.count("Small.") == 1 and "Kept." not in first
    assert "Small." not in last and "<title>6 · Cost: money</title>" in last


def test_alternative_texts_are_cut_and_a_table_has_a_link_to_its_file() -> None:
    text = pages.finished(
        f'<img alt="{"word &amp; " * 90}" src="x"><table><th>points lost</th><tbody></table>', ["frontier.csv"]
    )
    assert len(re.findall(r'alt="([^"]*)"', text)[0].replace("&amp;", "&")) <= pages.ALT
    assert text.endswith('</div> <a href="frontier.csv">frontier.csv</a>')


def test_every_link_leads_to_a_file_and_a_place_in_it(path: Path) -> None:
    reader = Reader(path.read_text(encoding="utf-8"))
    ids = [given["id"] or "" for _, given in reader.tags if "id" in given]
    assert len(ids) == len({*ids}) and not re.search(r"[/\s]", "".join(ids))
    links = [(given["href"] or "").partition("#") for given in reader.all("a") if given["href"] != "README.md"]
    made = [(path.parent / file if file else path, part) for file, _, part in links if ":" not in file]
    assert made and [file for file, _ in made if not file.is_file()] == []
    assert [part for file, part in made if part and f'id="{part}"' not in file.read_text(encoding="utf-8")] == []


def test_another_task_stands_below_the_main_one_and_is_named(toy: Path) -> None:
    titles = re.findall("<h2.*?>(.*)</h2>", (toy / "index.html").read_text(encoding="utf-8"))
    assert titles == ["Profile <code>smoke</code>", "Task <code>toy</code>, profile <code>a/smoke</code>"]
    for folder, note in ((toy / "a" / "smoke", True), (toy / "smoke", False)):
        pages = [page.read_text(encoding="utf-8") for page in folder.glob("*.html")]
        assert pages and all(("are of the task a." in page) == note for page in pages)


def test_break_even_is_where_the_costs_meet() -> None:
    own, large = {"fixed": 36.0, "each": 1e-7}, {"fixed": 0.0, "each": 1e-4}
    volume = choice.break_even(own, large)
    assert choice.yearly(own, volume) == pytest.approx(choice.yearly(large, volume))
    assert choice.break_even(large, own) == float("inf")


def test_a_missing_source_is_named_and_its_figures_are_not_shown(toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    folder.mkdir()
    (folder / "provenance.json").write_bytes((toy / "smoke" / "provenance.json").read_bytes())
    (folder / "metrics.csv").write_text("system,test,deployed\nsmall,dev,True\n")
    text = report.index(tmp_path).read_text()
    assert "metrics.csv deploys no model or lacks columns" in text and "Deploy small" not in text
    text = (toy / "index.html").read_text()
    assert "records.jsonl.xz is not there" in text and "Typical errors" not in text and "<svg" not in text


def test_typical_errors_are_ours_and_one_for_each_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["", "wrong area", "wrong area", "nothing done", "wrong area"]
    asked = [(test, i, why) for test in ("theirs", "dev") for i, why in enumerate(reasons)]
    rows = [{"system": "small", "test": t, "id": f"r{i}", "reason": why} for t, i, why in asked]
    table = pd.DataFrame([{**row, "exact": not row["reason"], "text": "said"} for row in rows])
    assert index.errors(index.answers(tmp_path), "small") == []
    (tmp_path / records.FILE).touch()
    monkeypatch.setattr(records, "read", lambda folder: table)
    shown = index.errors(index.answers(tmp_path), "small")
    found = [(e["test"], e["id"], e["reason"], e["times"], e["of"]) for e in shown]
    assert found == [("dev", "r1", "wrong area", 3, 4), ("dev", "r3", "nothing done", 1, 4)]
    assert index.errors(index.answers(tmp_path), "other") == []


def test_a_drawing_shows_every_system_and_keeps_inside_its_frame() -> None:
    rows = [{"system": f"s{i}", "x": 10.0**i, "accuracy": i / 10, "low": i / 20, "high": 1.0} for i in range(9)]
    points = [{**row, "look": ("#000", "o")} for row in rows]
    for width in (350, 760):
        text = svg.scatter(points, points, width, "$", "alt & text")
        assert [text.count(f">s{i}</text>") for i in range(9)] == [1] * 9 and "alt &amp; text" in text
        places = re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", text)
        height = int(re.search(r'height="(\d+)"', text)[1])  # type: ignore[index]
        assert all(0 < float(x) < width and 0 < float(y) < height for x, y in places)


needs_browser = pytest.mark.skipif(not browser.found(), reason="no Chromium: set CHROMIUM to one, or install it")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_screen_shows_it_all_and_the_page_is_silent(path: Path, tab: browser.Page, width: int) -> None:
    tab.open(path, width)
    assert tab.run("document.documentElement.scrollWidth") <= width
    tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.run("document.documentElement.scrollWidth") <= width
    sizes = tab.run(
        "[...document.querySelectorAll('svg')].filter(s => s.clientWidth)"
        ".map(s => 12 * s.clientWidth / s.viewBox.baseVal.width)"
        ".concat([...document.querySelectorAll('.chart img')].map(i => i.clientWidth / 7.6 / 72 * 9))"
    )
    assert all(size >= 11 for size in sizes)
    seen = [event["params"] for event in tab.events if event.get("method") == "Network.requestWillBeSent"]
    assert seen and all(e["request"]["url"].startswith(("file:", "data:")) for e in seen)
    bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert [event for event in tab.events if event.get("method") in bad] == []


@needs_browser
def test_paper_loses_no_column_and_no_folded_row(path: Path, tab: browser.Page) -> None:
    tab.open(path, 718, media="print")  # A4 less two margins of 10 mm, at 96 dots an inch
    boxes = tab.run(
        "[...document.querySelectorAll('td, th')].map(c => c.getBoundingClientRect()).map(r => [r.right, r.height])"
    )
    assert all(right <= 719 and height > 0 for right, height in boxes)


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, out of a wheel of which nothing is installed."""
    try:
        with ZipFile(fetch(*AXE, cache_folder() / "wheels")) as wheel:
            return wheel.read("axe_playwright_python/axe.min.js").decode()
    except WheelError as error:
        pytest.skip(f"no axe-core: {error}")


@needs_browser
def test_axe_finds_nothing_serious(path: Path, tab: browser.Page, axe: str) -> None:
    tab.open(path, 1440)
    tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.run(axe)
    result = tab.run(
        "axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 200))]))"
    )
    assert [v for v in result if v[0] in ("serious", "critical")] == []


@needs_browser
def test_the_slider_moves_every_cost(toy: Path, tab: browser.Page) -> None:
    tab.open(toy / "index.html", 390)
    row = tab.run("({...document.querySelector('tr[data-each]').dataset})")
    tab.run("i = document.querySelector('.volume input'); i.value = 4; i.dispatchEvent(new Event('input'))")
    own = {"fixed": float(row["fixed"]), "each": float(row["each"])}
    for bought in (True, False):
        shown = tab.run(f"document.querySelector('tr[data-each] [data-bought=\"{int(bought)}\"]').textContent")
        assert shown == costs.dollars(choice.yearly(own, 10_000, bought))
    assert tab.run("document.querySelector('.volume output').value") == "10,000"


@needs_browser
def test_the_gallery_shows_what_fits_the_words_and_the_system(toy: Path, tab: browser.Page) -> None:
    tab.open(toy.parent / "gallery" / "smoke" / "gallery.html", 390)
    count = "[...document.querySelectorAll('.gallery tbody tr, .gallery li')].filter(e => e.offsetParent).length"
    every = tab.run(count)
    tab.run("i = document.querySelector('.filter select'); i.value = '2'; i.dispatchEvent(new Event('change'))")
    one = tab.run(count)
    tab.run("j = document.querySelector('.filter input'); j.value = '✗'; j.dispatchEvent(new Event('input'))")
    wrong = tab.run("[...document.querySelectorAll('.gallery tbody tr')].filter(r => r.offsetParent).length")
    assert 0 < wrong < one < every
    assert tab.run("document.querySelector('.filter output').value").startswith(f"{wrong} of ")
