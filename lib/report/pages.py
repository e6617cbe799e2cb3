"""The pages of a notebook, and what nbconvert's HTML lacks: finding and contents on top, captions, row headers, folds.

A table gets a caption and a box of its own to scroll in; one of more than FOLDED rows is folded. A table whose figures
are in a CSV file of the report has a link to it. Alternative texts have at most ALT characters.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import nbformat
import pandas as pd
from nbconvert.filters.markdown_mistune import markdown2html_mistune

FOLDED, ALT = 12, 200
SOURCES = (
    ("points lost", "frontier.csv"),
    ("points lost", "shapes/frontier.csv"),
    ("kl before", "cuts.csv"),
    ("kl before", "shapes/cuts.csv"),
    (">system</th>", "metrics.csv"),
)
"""Words in a table's head and the file with its figures; those of the frontier and the cuts are for one table each."""
PART = re.compile(
    r'<h2 id="(?P<id>[^"]*)">(?P<title>.*?)<a class="anchor-link".*?</h2>'
    r"|<p>(?P<lead>(?:(?!</p>).)*):</p>|(?P<table><table.*?</table>)|(?P<image><img\b[^>]*>)",
    re.DOTALL,
)


def split(book: Any, stem: str) -> dict[str, Any]:
    """The pages of a notebook by file name: a cell tagged ``page`` begins one, named by the first word of its title.

    Without such cells there is one page, named ``stem``.
    """
    marked = [i for i, cell in enumerate(book.cells) if "page" in cell.metadata.get("tags", [])]
    if not marked:
        return {f"{stem}.html": book}
    parts = [nbformat.from_dict({**book, "cells": book.cells[a:b]}) for a, b in pairwise([0, *marked, len(book.cells)])]
    words = [re.search(r"\w+", title(part, stem).rpartition("·")[2]) for part in parts]
    return {f"{stem[:2]}_{word[0].lower() if word else stem}.html": p for word, p in zip(words, parts, strict=True)}


def title(book: Any, default: str) -> str:
    """What the first heading says."""
    prose = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    found = re.search(r"^# (.+)$", prose, re.MULTILINE)
    return found[1].strip() if found else default


def finding(book: Any, rows: pd.DataFrame) -> str:
    """HTML of a notebook's finding: what its cells tagged ``finding`` say.

    If none is: the accuracies of ``rows`` (lib.evaluation.metrics.summary), or if there are none the first sentence
    with a figure.
    """
    tagged = [cell for cell in book.cells if "finding" in cell.metadata.get("tags", [])]
    found = [text for cell in tagged for text in ([cell.source] if cell.cell_type == "markdown" else _said(cell))]
    if not tagged and len(rows):
        each = [f"{r['system']} **{r['accuracy'] * 100:.1f} %** (n = {r['n']:.0f})" for r in rows.to_dict("records")]
        found = [f"Right on {rows['test'].iloc[0]}: {', '.join(each)}."]
    elif not tagged:
        said = [text for cell in book.cells if cell.cell_type == "code" for text in _said(cell)]
        found = [text for text in said if re.search(r"\d", text)][:1]
    return str(markdown2html_mistune("\n\n".join(found)))


def _said(cell: Any) -> list[str]:
    found = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    return ["".join(text) for text in found if text]


def finished(text: str, csvs: Collection[str]) -> str:
    """``text``, a page, with all that the module's docstring names. ``csvs``: the files beside it."""
    contents: list[tuple[str, str]] = []
    captions, lead = list[str](), ""
    sources = [pair for pair in SOURCES if pair[1] in csvs]

    def part(match: re.Match[str]) -> str:
        nonlocal lead
        where = lead or (re.sub(r"<.*?>", "", contents[-1][1]) if contents else "overview")
        lead = re.split(r"(?<=[.:]) ", re.sub(r"<.*?>", "", match["lead"]))[-1] if match["lead"] else ""
        if match["table"]:
            captions.append(f"Table {len(captions) + 1}: {where}")
            return _table(match["table"], captions[-1], sources)
        if match["image"]:
            return _image(match["image"], where)
        contents.extend([(match["id"], match["title"])] if match["id"] else [])
        return match[0]

    text = PART.sub(part, text)
    items = "".join(f'<li><a href="#{place}">{title}</a></li>' for place, title in contents)
    return text.replace("<!-- contents -->", f"<ol>{items}</ol>" if items else "")


def _table(text: str, caption: str, sources: list[tuple[str, str]]) -> str:
    head, mark, body = re.sub(r' style="text-align: right;"', "", text).partition("<tbody>")
    body = re.sub(r"(<tr>\s*)<td([^>]*)>(.*?)</td>", r'\1<th scope="row"\2>\3</th>', body, flags=re.DOTALL)
    body = re.sub(r"<td>(?=[^<]*\([-+−\d])", '<td class="interval">', body)
    start, _, head = re.sub(r"<th(?=[ >])", '<th scope="col"', head).partition(">")
    source = next((pair for pair in sources if pair[0] in head), None)
    if source and source[1] != "metrics.csv":
        sources.remove(source)
    link = f' <a href="{source[1]}">{source[1]}</a>' if source else ""
    whole = f"{start}><caption>{caption}</caption>{head}{mark}{body}"
    box = f'<div class="scroll" tabindex="0" role="group" aria-label="{html.escape(caption)}">{whole}</div>'
    rows = body.count("<tr")
    return f"<details><summary>{caption} ({rows} rows)</summary>{box}</details>{link}" if rows > FOLDED else box + link


def _image(text: str, where: str) -> str:
    def short(match: re.Match[str]) -> str:
        alt = textwrap.shorten(html.unescape(match[1]), ALT, placeholder=" … (figures in the tables)")
        return f'alt="{html.escape(alt)}"'

    label = html.escape(f"Chart: {where}")
    image = re.sub(r'alt="([^"]*)"', short, text)
    return f'<div class="scroll chart" tabindex="0" role="group" aria-label="{label}">{image}</div>'
