"""What the study is made of, with licences: ``python -m lib.sbom`` writes ``reports/sbom.json`` and ``licences.md``.

The former is a bill of materials in CycloneDX 1.6. Packages, versions and SHA-256 of all their files are those of the
lock files, so that it is the same on every machine; models and data are those of ``params/materials.yaml``. The licence
of a package is what that file says, or its metadata where this version is installed, or what sbom.json has already.
"""

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib.core import files, params, paths

LOCKS = ("requirements.lock", "requirements-torch.lock", "requirements-torch-cpu.lock")
PIN = re.compile(r"^([\w.-]+)==([\w.+]+)(?: ; [^\\\n]+)?((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
MATERIALS = paths.PARAMS / "materials.yaml"
Pin = tuple[str, str, list[str]]


def locked(root: Path = paths.ROOT) -> list[Pin]:
    """Name, version and hashes of every package in the lock files, each once."""
    pins = {match.groups() for name in LOCKS for match in PIN.finditer((root / name).read_text("utf-8"))}
    return [(name, version, re.findall("[0-9a-f]{64}", hashes)) for name, version, hashes in sorted(pins)]


def document(kept: dict[str, Any]) -> dict[str, Any]:
    """The bill of materials; ``kept``: the one before. Raises ValueError for a package whose licence nothing says."""
    about = params.read_yaml(MATERIALS)
    before = {c["purl"]: c["licenses"] for c in kept.get("components", []) if "purl" in c}
    parts = [_material(row) for row in about["materials"]]
    for name, version, hashes in locked():
        purl = f"pkg:pypi/{name}@{quote(version)}"
        licences = _expression(about["licences"].get(name)) or _installed(name, version) or before.get(purl)
        if not licences:
            raise ValueError(f"{MATERIALS.name}: licences: add that of {name} {version}, which is not installed here")
        part = {"type": "library", "bom-ref": purl, "name": name, "version": version, "hashes": _hashes(hashes)}
        parts.append({**part, "licenses": licences, "purl": purl})
    subject = {"type": "application", "name": "super-tiny", "licenses": _expression("Apache-2.0")}
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": subject}}
    return {**head, "components": parts}


def _material(row: dict[str, Any]) -> dict[str, Any]:
    licences, hashes = _expression(row["licence"]), _hashes([row["sha256"]] if "sha256" in row else [])
    part = {"type": row["type"], "name": row["name"], "description": row["about"], "licenses": licences}
    return {
        **part,
        **({"version": row["version"]} if "version" in row else {}),
        **({"hashes": hashes} if hashes else {}),
    }


def _hashes(digests: list[str]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest} for digest in digests]


def _expression(licence: str | None) -> list[dict[str, Any]]:
    return [{"expression": licence}] if licence else []


def _installed(name: str, version: str) -> list[dict[str, Any]]:
    """The licence in the metadata of this very version; empty if it is not installed or says none in a few words."""
    try:
        found: Any = metadata.distribution(name).metadata
    except metadata.PackageNotFoundError:
        return []
    if found["Version"] != version:
        return []
    if expression := found.get("License-Expression"):
        return _expression(expression)
    classified = [c.split(" :: ")[-1] for c in found.get_all("Classifier", []) if re.match("License :: .* :: ", c)]
    named = classified or [text for text in [found.get("License", "").strip()] if 0 < len(text) < 60]
    return [{"license": {"name": text}} for text in named]


def table(bom: dict[str, Any]) -> str:
    """The licences as Markdown: what the models and data are and who made them, then packages by licence."""
    said: dict[str, list[str]] = {}
    lines = ["# Licences", "", "`python -m lib.sbom` makes this from `sbom.json`.", "", "## Models and data", ""]
    lines += ["| name | licence | what it is |", "|---|---|---|"]
    for part in bom["components"]:
        licence = " and ".join(row.get("expression") or row["license"]["name"] for row in part["licenses"])
        if "purl" in part:
            said.setdefault(licence, []).append(f"{part['name']} {part['version']}")
        else:
            lines.append(f"| {part['name']} | {licence} | {part['description']} |")
    lines += ["", "## Packages", "", "| licence | packages |", "|---|---|"]
    return "\n".join([*lines, *(f"| {key} | {', '.join(said[key])} |" for key in sorted(said))]) + "\n"


def written(bom: dict[str, Any]) -> dict[str, str]:
    """The text of each file, a component a line."""
    parts = ",\n".join(files.dumps(part) for part in bom["components"])
    whole = files.dumps({**bom, "components": []}).removesuffix("[]}") + f"[\n{parts}\n]}}\n"
    return {"sbom.json": whole, "licences.md": table(bom)}


def differences(path: Path) -> list[str]:
    """Which of the two files is not what the lock files and materials make. Raises ValueError."""
    made = written(document(files.read_json(path)))
    found = {name: path.with_name(name) for name in made}
    return [f"{name} is not what its sources make" for name, p in found.items() if p.read_text("utf-8") != made[name]]


def main() -> int:
    argparse.ArgumentParser(prog="python -m lib.sbom", description=__doc__).parse_args()
    path = paths.REPORTS / "sbom.json"
    try:
        for name, text in written(document(files.read_json(path) if path.exists() else {})).items():
            files.write_text(path.with_name(name), text)
    except (ValueError, OSError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
