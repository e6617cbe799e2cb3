"""What a report and its model card say of wrong actions, from the figures in ``reports/<profile>/safety``.

``python -m lib.safety`` measures them once a model is released, so that they and the threshold are told afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from lib.core import files
from lib.core.files import Row
from lib.report.release import TEMPLATES, ReportError
from lib.runtime.careful import RELEASE

FOLDER = "safety"
"""Of a report: by model, figures as JSON and the answers with sensitive effects as CSV."""
MARKS = "<!-- wrong actions -->\n", "<!-- /wrong actions -->"


def read(folder: Path, models: Mapping[str, str]) -> list[Row]:
    """The figures of ``folder``, a report's, for files with these SHA-256. Raises RecordError."""
    found = {p.stem: files.read_json(p, "run python -m lib.safety again") for p in folder.glob(f"{FOLDER}/*.json")}
    own = {name: found.get(name.removesuffix(".gguf"), {}) for name in models}
    rows = [{**row, "file": name} for name, row in own.items() if row.get("sha256") == models[name]]
    return [{**row, "parts": {part["part"]: part for part in row["parts"]}} for row in rows]


def block(rows: list[Row]) -> str:
    """The card's section between its marks; nothing between them without figures."""
    template = jinja2.Template((TEMPLATES / "wrong.md.j2").read_text(encoding="utf-8"))
    return f"{MARKS[0]}{template.render(rows=rows).strip() + chr(10) if rows else ''}{MARKS[1]}"


def thresholds(rows: list[Row]) -> Row:
    """What release.json has more: by file, below which confidence it is asked back."""
    found = {row["file"]: row["threshold"] for row in rows if row["threshold"] is not None}
    return {"ask_below": found} if found else {}


def tell(folder: Path) -> list[Path]:
    """Writes figures and thresholds into the card and release.json of ``folder``/model; the files written.

    Raises ReportError for a card without the marks.
    """
    release, card = folder / "model" / RELEASE, folder / "model" / "README.md"
    if not release.is_file():
        return []
    known, text = files.read_json(release, "restore it"), card.read_text(encoding="utf-8")
    rows = read(folder, known["models"])
    text, count = re.subn(rf"{MARKS[0]}.*?{MARKS[1]}", lambda _: block(rows), text, flags=re.DOTALL)
    if count != 1:
        raise ReportError(f"{card.name}: expected one section between {MARKS[0].strip()} and {MARKS[1]}: restore it")
    files.write_text(card, text)
    known.pop("ask_below", None)
    files.write_text(release, files.dumps({**known, **thresholds(rows)}) + "\n")
    return [card, release]
