"""The page at /, as it is written and as a browser runs it."""

from pathlib import Path

import browser
import pytest
from toy_serve import running

from lib.core.paths import ROOT

ASK = """new Promise(done => {
  const at = id => document.getElementById(id);
  at("context").value = JSON.stringify({ items: %s });
  at("text").value = "<b>Tea</b>";
  new MutationObserver(() => at("message").textContent === "…" || done(at("message").textContent))
    .observe(at("message"), { childList: true });
  document.querySelector("button").click();
})"""
ROWS = "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = (ROOT / "lib" / "serve" / "page.html").read_text(encoding="utf-8")
    assert not [word for word in ("http:", "https:", "innerHTML", " src=") if word in page]


@pytest.mark.skipif(not browser.found(), reason="no Chromium")
def test_a_browser_shows_calls_of_the_model_and_of_the_rules(tmp_path: Path) -> None:
    with running() as server, browser.page(tmp_path / "profile") as tab:
        tab.open(server.url, 390)
        tab.run("new Promise(done => setInterval(() => document.querySelectorAll('option').length > 1 && done(), 20))")
        assert tab.run(ASK % '["Tea"]') == ""
        shown = [row[:3] for row in tab.run(ROWS)]
        assert shown == [[name, "Give(item=<b>Tea</b>)", "100 %"] for name in ("model", "toy")]
        assert "items" in tab.run(ASK % "5") and tab.run(ROWS) == []
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        assert not [e for e in tab.events if e.get("method") == "Runtime.exceptionThrown"]
