"""environment.yml, requirements.txt and what is imported name the same packages; tests/serve checks pyproject.toml."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import yaml

from lib.core import notebook_files
from lib.core.paths import ROOT

FEDERATED = {"cryptography", "flwr"}  # of requirements-federated.txt and what it brings, which make federated installs
COMMANDS = {"jupyterlab", "mypy", "pytest-xdist", "ruff"}  # of the Makefile; nothing imports them
BROUGHT = {"starlette", "typing-extensions"}  # by fastapi and pydantic
OUTSIDE = {"homeassistant", "pytest_homeassistant_custom_component", "pytest_socket"}  # of tests/home_assistant


def imported() -> set[str]:
    """The modules that lib, tests and notebooks import, by their first name."""
    texts = [p.read_text(encoding="utf-8") for room in ("lib", "tests") for p in (ROOT / room).rglob("*.py")]
    texts += [notebook_files.code(notebook_files.read(p)) for p in (ROOT / "notebooks").glob("*.ipynb")]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_every_package_is_pinned_and_every_pin_is_used() -> None:
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", (text := (ROOT / "requirements.txt").read_text()), re.MULTILINE)
    assert len(pins) == len(text.split()) == len({*pins})
    ours = {"lib", "tests"} | {p.stem for p in (ROOT / "tests").rglob("*.py")}
    foreign, known = imported() - sys.stdlib_module_names - ours - OUTSIDE - FEDERATED, packages_distributions()
    brought = [name for module in foreign for name in known.get(module, [module])]
    used, pinned = ({name.lower().replace("_", "-") for name in names} for names in (brought, pins))
    assert (used - pinned, pinned - used) == (BROUGHT, COMMANDS)


def test_conda_installs_the_pins() -> None:
    *plain, pip = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert pip == {"pip": ["-r requirements.txt"]} and {"python=3.12", "make", "pip"} == {*plain}


def test_what_federations_need_is_pinned_apart() -> None:
    lines = (ROOT / "requirements-federated.txt").read_text(encoding="utf-8").splitlines()
    assert [re.fullmatch(r"flwr\[simulation\]==[\d.]+", line) is not None for line in lines] == [True]
    assert imported() >= FEDERATED and "flwr" not in (ROOT / "requirements.txt").read_text(encoding="utf-8")
