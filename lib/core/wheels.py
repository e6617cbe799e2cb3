"""Wheels of the Python package index, fetched by pip without their dependencies and checked against their SHA-256."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lib.core.files import sha256
from lib.core.paths import ROOT


class WheelError(ValueError):
    """A wheel that cannot be had; the message names it and the remedy."""


def cache_folder() -> Path:
    """``$SUPER_TINY_CACHE``, or ``.cache`` in the project."""
    return Path(os.environ.get("SUPER_TINY_CACHE") or ROOT / ".cache")


def fetch(requirement: str, digest: str, folder: Path) -> Path:
    """The wheel of ``requirement`` in ``folder``, downloaded if it is absent or damaged. Raises WheelError."""
    for path in folder.glob(f"{requirement.partition('==')[0].replace('-', '_')}-*.whl"):
        if sha256(path) == digest:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", requirement]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        done = subprocess.run([*command, "--dest", temporary], capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise WheelError(f"{requirement}: pip could not download it ({last}); check the network and pip's index")
        if sha256(wheels[0]) != digest:
            raise WheelError(f"{wheels[0].name}: its SHA-256 is not the pinned {digest[:12]}…: the download is damaged")
        return wheels[0].replace(folder / wheels[0].name)
