"""The order of the rooms of lib, and how large they may be: see lib/README.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.core.paths import ROOT

LIB = ROOT / "lib"
ORDER = [
    ["core"],
    ["model"],
    ["runtime"],
    ["llm"],
    ["teacher"],
    ["tasks"],
    ["serve"],
    ["evaluation"],
    ["data"],
    ["training"],
    ["compression"],
    ["experiments"],
    ["federated"],
    ["decision"],
    ["report", "bench"],
]
"""A room imports from itself and from those before its line; modules of lib itself, commands, from all."""
HOME = [
    ["words"],
    ["simulator"],
    ["language"],
    ["assist"],
    ["sampler"],
    ["human"],
    ["examples"],
    ["teacher"],
    ["baselines"],
]
"""The same for the rooms and modules of lib/tasks/home; its __init__ imports from all."""
MODULES = [p for p in sorted(LIB.rglob("*.py")) if "__pycache__" not in p.parts]


def imported(path: Path) -> Iterator[str]:
    """Names of modules of lib, and what is imported from them, also those for type checking only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(name: str, order: list[list[str]], below: str) -> int | None:
    """Where in an order the room of a module is, by its dotted name."""
    room = name.removeprefix(below).split(".")[0] if name.startswith(below) else ""
    return next((i for i, rooms in enumerate(order) if room in rooms), None)


def wrong(path: Path, order: list[list[str]], below: str) -> list[str]:
    own = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    here, room = place(own, order, below), own.removeprefix(below).split(".")[0]
    if here is None:
        return []
    others = [name for name in imported(path) if not name.startswith(f"{below}{room}.")]
    return [f"{own} imports {name}" for name in others if (there := place(name, order, below)) and there >= here]


@pytest.mark.parametrize(("order", "below"), [(ORDER, "lib."), (HOME, "lib.tasks.home.")], ids=["lib", "home"])
def test_a_room_imports_from_itself_and_from_those_before_it(order: list[list[str]], below: str) -> None:
    found = [line for path in MODULES for line in wrong(path, order, below)]
    assert not found, "\n".join(found)


def test_nothing_but_the_tasks_names_a_domain() -> None:
    outside = [path for path in MODULES if not path.is_relative_to(LIB / "tasks")]
    assert [p for p in outside if any(name.startswith("lib.tasks.home") for name in imported(p))] == []


def test_modules_are_short() -> None:
    assert [p for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > 300] == []


def test_rooms_and_the_whole_are_small() -> None:
    rooms = [p for p in LIB.rglob("*") if p.is_dir() and p.name != "__pycache__"]
    assert [p.name for p in rooms if len([m for m in p.glob("*.py") if m.name != "__init__.py"]) > 14] == []
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES) <= 29_930
    assert {p.name for p in LIB.iterdir() if p.is_dir() and p.name != "__pycache__"} == {n for ns in ORDER for n in ns}


def test_what_is_in_lib_itself_is_a_command() -> None:
    for path in LIB.glob("*.py"):
        if path.name != "__init__.py":
            assert 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"), path.name


def test_rooms_have_no_code_of_their_own() -> None:
    inits = [p for p in LIB.rglob("__init__.py") if not p.is_relative_to(LIB / "tasks")]
    assert [p for p in inits if ast.parse(p.read_text(encoding="utf-8")).body[1:]] == []


def test_the_test_itself_finds_a_wrong_import(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import os\nfrom lib.report import charts\n\n\ndef f():\n    import lib.bench.run\n")
    assert set(imported(path)) == {"os", "lib.report.charts", "lib.bench.run"}
    assert place("lib.bench.run", ORDER, "lib.") == place("lib.report", ORDER, "lib.") == len(ORDER) - 1
    assert place("os.path", ORDER, "lib.") is None
