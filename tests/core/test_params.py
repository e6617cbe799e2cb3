"""Parameters: every mistake is one clear error, and every profile's YAML fits its notebook."""

from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import pytest
from pydantic import Field

from lib.core import notebook_files, params, paths

DEFAULTS: dict[str, Any] = {
    "profile": "smoke",
    "rate": 5.0e-4,
    "steps": 10,
    "tie": True,
    "levels": ["L0"],
    "base": None,
    "models": {"a": {"of": "x"}},
}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A notebook 03_x.ipynb with DEFAULTS and a profile 'cpu' without parameters for it."""
    source = "\n".join(f"{k} = {v!r}" for k, v in DEFAULTS.items())
    book = v4.new_notebook(cells=[v4.new_code_cell(source, metadata={"tags": ["parameters"]})])
    nbformat.write(book, tmp_path / "03_x.ipynb")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "01_y.yaml").touch()
    return tmp_path / "03_x.ipynb"


def load(stage: Path, yaml: str) -> dict[str, Any]:
    (stage.parent / "cpu" / "03_x.yaml").write_text(yaml)
    return params.load(stage, "cpu", stage.parent)


def test_defaults_and_profile_without_a_file(stage: Path) -> None:
    assert params.load(stage, "cpu", stage.parent) == {**DEFAULTS, "profile": "cpu"}


def test_values_replace_defaults(stage: Path) -> None:
    got = load(stage, "# --- training\nrate: 1.0e-3\nsteps: 7\nlevels: [L0, L1]\nbase: some/model\n")
    assert got == {**DEFAULTS, "profile": "cpu", "rate": 1e-3, "steps": 7, "levels": ["L0", "L1"], "base": "some/model"}
    assert [load(stage, f"rate: {text}\n")["rate"] for text in ("1", "5e-4", "1E3", "-2.e+1")] == [1, 5e-4, 1e3, -20]
    inner = {"b": {"of": "y", "cut": {"layers": 3}}}
    assert load(stage, "models: {b: {of: y, cut: {layers: 3}}}\n")["models"] == inner, "left to who reads it"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("rat: 1.0\n", "cpu/03_x.yaml: unknown parameter 'rat'; did you mean 'rate'?"),
        ("zzz: 1.0\n", "known: profile, rate"),
        ("rate: fast\n", "rate: Input should be a valid number, got 'fast'"),
        ("steps: 1.5\n", "steps: Input should be a valid integer, got 1.5"),
        ("steps: true\n", "steps: Input should be a valid integer, got True"),
        ("tie: 1\n", "tie: Input should be a valid boolean"),
        ("levels: L0\n", "levels: Input should be a valid list"),
        ("levels: [L0, 3]\n", "levels: 1: Input should be a valid string"),
        ("models: {a: 3}\n", "models: a: Input should be a valid dictionary, got 3"),
        ("steps: 1\nsteps: 2\n", "'steps' stands twice: keep one in \"<unicode string>\", line 2"),
        ("profile: gpu\n", "'profile' is the folder's name"),
        ("- steps\n", "expected lines 'name: value'"),
        ("steps: [1\n", "not readable YAML"),
    ],
)
def test_mistakes(stage: Path, yaml: str, message: str) -> None:
    with pytest.raises(params.ParamsError) as error:
        load(stage, yaml)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Inner(params.Settings):
    kind: str = "q8_0"
    cut: dict[str, int] | None = None


class Outer(params.Settings):
    steps: int = Field(ge=0)
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("training: {stps: 3}\n", "x.yaml: training: unknown parameter 'stps'; did you mean 'steps'?"),
        ("training: {steps: -3}\n", "training: steps: Input should be greater than or equal to 0, got -3"),
        ("training: {inner: {knd: a}}\n", "training: unknown parameter 'inner.knd'; did you mean 'kind'?"),
        ("training: {steps: 1, steps: 2}\n", "'steps' stands twice: keep one"),
        ("models: {a: {knd: a}}\n", "models: unknown parameter 'a.knd'; did you mean 'kind'?"),
        ("models: {a: {cut: {layers: 1.5}}}\n", "models: a.cut.layers: Input should be a valid integer, got 1.5"),
        ("models: 3\n", "models: Input should be a valid dictionary, got 3"),
    ],
)
def test_what_a_mapping_holds_is_said_by_a_class(
    stage: Path, yaml: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params, "Outer", Outer, raising=False)
    monkeypatch.setattr(params, "Inner", Inner, raising=False)
    first = 'training = {  # type: lib.core.params.Outer\n    "steps": 2,\n}'
    source = first + "\nmodels = {}  # type: dict[str, lib.core.params.Inner]"
    book = v4.new_notebook(cells=[v4.new_code_cell(source, metadata={"tags": ["parameters"]})])
    nbformat.write(book, stage)
    assert load(stage, "models: {a: {kind: q4_0}}")["training"] == {"steps": 2}
    with pytest.raises(params.ParamsError) as error:
        load(stage, yaml)
    assert message in str(error.value)


def test_a_class_that_is_not_there(stage: Path) -> None:
    book = v4.new_notebook(cells=[v4.new_code_cell("x = {}  # type: Nothing", metadata={"tags": ["parameters"]})])
    nbformat.write(book, stage)
    with pytest.raises(params.ParamsError, match="expected lib.ROOM.MODULE.CLASS"):
        load(stage, "")


def test_two_files_for_one_stage(stage: Path) -> None:
    (stage.parent / "cpu" / "03_other.yaml").touch()
    with pytest.raises(params.ParamsError, match="03_other.yaml and 03_x.yaml"):
        load(stage, "")


def test_unknown_profile(stage: Path) -> None:
    with pytest.raises(paths.StageError, match="unknown profile 'tpu': choose one of cpu"):
        params.load(stage, "tpu", stage.parent)


@pytest.mark.parametrize("notebook", paths.notebooks(), ids=lambda p: p.stem)
def test_every_profile_fits_its_notebook(notebook: Path) -> None:
    for profile in paths.profiles():
        assert params.load(notebook, profile)["profile"] == profile


@pytest.mark.parametrize("notebook", paths.notebooks(), ids=lambda p: p.stem)
def test_defaults_are_the_smoke_profile(notebook: Path) -> None:
    assert params.load(notebook, "smoke") == notebook_files.defaults(notebook_files.read(notebook), notebook.name)


@pytest.mark.parametrize("source", ["rate = 2 * 3", "import os", "a, b = 1, 2", "print(1)"])
def test_parameters_cell_holds_literals_only(source: str) -> None:
    book = v4.new_notebook(cells=[v4.new_code_cell(source, metadata={"tags": ["parameters"]})])
    with pytest.raises(paths.StageError, match="x.ipynb: parameters cell, line 1: write 'name = literal value'"):
        notebook_files.defaults(book, "x.ipynb")


def test_notebook_without_parameters_cell() -> None:
    with pytest.raises(paths.StageError, match="expected one code cell tagged 'parameters', found 0"):
        notebook_files.defaults(v4.new_notebook(), "x.ipynb")
