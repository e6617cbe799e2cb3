"""The command, what the extra "serve" installs, and the files for Docker and systemd."""

import tomllib

import pytest

from lib.core.paths import ROOT
from lib.serve.__main__ import main

SERVE = ROOT / "lib" / "serve"


def test_the_extra_has_the_projects_pins_and_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras, pins = project["optional-dependencies"], (ROOT / "requirements.txt").read_text().splitlines()
    assert set(extras["serve"] + extras["wyoming"]) <= set(pins)
    assert not any(pin.startswith("torch") for pin in extras["serve"])


def test_what_docker_copies_is_there_and_not_ignored() -> None:
    lines = (SERVE / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    ignored = (SERVE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied and all((ROOT / path).exists() and f"!{path.removesuffix('/')}" in ignored for path in copied if path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "70000"),
        ("--wyoming", "70000"),
        ("--larger", "localhost"),
        ("--model", "absent"),
    ],
)
def test_a_wrong_option_is_one_error(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option, value]) == 2
    assert value in (error := capsys.readouterr().err) and len(error.splitlines()) == 1
