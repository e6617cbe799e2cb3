"""The stage runner on small notebooks: order, skipping, failing, killing, resuming and locking."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import pytest

from lib.core import files, paths, provenance, stages
from lib.stages import main

WRITE = (
    'import sys\nfrom pathlib import Path\nrun = Path(run)\n(run / "{out}").write_text(f"{{seed}} {{sys.executable}}")'
)


def notebook(folder: Path, name: str, *cells: str) -> Path:
    first = v4.new_code_cell('seed = 1\nrun = ""', metadata={"tags": ["parameters"]})
    book = v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), first, *map(v4.new_code_cell, cells)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / name)
    return folder / name


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are executed in this process: a kernel of their own takes a second."""

    def execute(path: Path, values: dict[str, Any], out: Path) -> None:
        book, space = nbformat.read(path, as_version=4), dict(values)
        try:
            for cell in book.cells[2:]:
                exec(cell.source, space)
        except ArithmeticError as error:
            raise paths.StageError(str(error)) from error
        out.parent.mkdir(exist_ok=True)
        nbformat.write(book, out)

    monkeypatch.setattr(stages, "execute", execute)


def run(path: Path, folder: Path, **change: Any) -> bool:
    return stages.run_stage(path, {"seed": 1, "run": str(folder), **change}, folder)


@pytest.mark.usefixtures("quick")
def test_a_stage_runs_once_and_again_only_if_something_changed(tmp_path: Path) -> None:
    first = notebook(tmp_path, "01_a.ipynb", WRITE.format(out="01_a.txt"))
    second = notebook(tmp_path, "02_b.ipynb", 'text = open(run + "/" + "01_a.txt").read()', "assert text")
    assert run(first, tmp_path) and run(second, tmp_path)
    assert (tmp_path / "01_a.txt").read_text().split()[0] == "1"
    assert not run(first, tmp_path) and not run(second, tmp_path)
    assert run(first, tmp_path, seed=2)
    assert run(second, tmp_path)
    assert not run(second, tmp_path)
    notebook(tmp_path, "02_b.ipynb", 'text = open(run + "/" + "01_a.txt").read()', "assert len(text)")
    assert run(second, tmp_path)


FOLDER = """from pathlib import Path
folder = Path(run) / "01_folder"
folder.mkdir(exist_ok=True)
(folder / "weights").write_text("1")"""


@pytest.mark.usefixtures("quick")
def test_a_stage_whose_outputs_are_gone_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = notebook(tmp_path, "01_a.ipynb", WRITE.format(out="01_a.txt"), FOLDER)
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()
    assert run(path, tmp_path)
    made = json.loads((tmp_path / "01_meta.json").read_text())["outputs"]
    assert made == {name: files.sha256(tmp_path / name) for name in ("01_a.txt", "01_folder")}
    assert not run(path, tmp_path)
    shutil.rmtree(tmp_path / "01_folder")
    assert run(path, tmp_path)
    assert (tmp_path / "01_folder" / "weights").exists()
    assert "running (01_folder missing)" in capsys.readouterr().out
    for output in ("01_a.txt", "01_folder/weights"):
        (tmp_path / output).unlink()
    (tmp_path / "01_folder").rmdir()
    assert run(path, tmp_path)
    assert "running (01_a.txt missing, 01_folder missing)" in capsys.readouterr().out
    (tmp_path / "01_a.txt").write_text("")
    assert run(path, tmp_path)
    assert "running (01_a.txt damaged)" in capsys.readouterr().out


def test_meta_says_what_it_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(paths.ROOT), "elsewhere"]))
    ballast = "ballast = bytearray(50_000_000)"
    path = notebook(tmp_path, "01_a.ipynb", ballast, "import time; time.sleep(0.6)", WRITE.format(out="01_a.txt"))
    run(path, tmp_path)
    seed, python = (tmp_path / "01_a.txt").read_text().split()
    assert (seed, Path(python)) == ("1", Path(sys.executable)), "the kernel is this Python"
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(paths.ROOT), "elsewhere"])
    assert "IPKernelApp" not in "".join(capfd.readouterr())
    meta = json.loads((tmp_path / "01_meta.json").read_text())
    assert meta["parameters"]["seed"] == meta["seed"] == 1
    assert set(meta["versions"]) >= {"python", "torch", "papermill"}
    assert meta["hardware"]["cores"] >= 1 and meta["hardware"]["cpu"]
    assert set(meta["inputs"]) >= {"notebook", "parameters", "library", "versions"}
    assert meta["wall_s"] > 0.5 and meta["peak_memory_mb"] > 50
    assert not list(tmp_path.glob("*started*")) and not list(tmp_path.rglob("*.part*"))


def test_failing_stage_names_notebook_cell_line_and_error(tmp_path: Path) -> None:
    path = notebook(tmp_path, "01_a.ipynb", "x = 1", "y = 2\nz = {}['missing']\nprint(z)")
    with pytest.raises(paths.StageError) as error:
        run(path, tmp_path)
    first, second, third = str(error.value).splitlines()
    assert (first, second) == ("01_a.ipynb, code cell 3, line 2: z = {}['missing']", "KeyError: 'missing'")
    assert third == "its cells so far stand in 01_a.ipynb"
    assert not (tmp_path / "01_meta.json").exists()
    assert [p.parent.name for p in tmp_path.rglob("*.ipynb")] == [tmp_path.name, "failed"]
    assert run(notebook(tmp_path, "01_a.ipynb", "x = 1"), tmp_path)
    assert not list((tmp_path / "failed").iterdir())


def test_killed_kernel_is_a_failure(tmp_path: Path) -> None:
    path = notebook(tmp_path, "01_a.ipynb", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(paths.StageError, match=r"01_a.ipynb: the kernel ended .*memory"):
        run(path, tmp_path)
    assert not (tmp_path / "01_meta.json").exists()


@pytest.mark.usefixtures("quick")
def test_a_failed_stage_is_not_skipped_and_leaves_the_ones_before(tmp_path: Path) -> None:
    first = notebook(tmp_path, "01_a.ipynb", WRITE.format(out="01_a.txt"))
    second = notebook(tmp_path, "02_b.ipynb", "x = 1")
    run(first, tmp_path)
    run(second, tmp_path)
    with pytest.raises(paths.StageError):
        run(notebook(tmp_path, "02_b.ipynb", "1 / 0"), tmp_path)
    assert not (tmp_path / "02_meta.json").exists()
    assert run(notebook(tmp_path, "02_b.ipynb", "x = 1"), tmp_path)
    assert not run(first, tmp_path)


@pytest.mark.usefixtures("quick")
def test_what_to_resume_from_stays_only_for_the_same_inputs(tmp_path: Path) -> None:
    parts = [tmp_path / name for name in ("01_predictions.jsonl.part", "01_a_steps/2.part", "01_student/run.json")]
    keep = notebook(tmp_path, "01_a.ipynb", "1 / 0")
    with pytest.raises(paths.StageError):
        run(keep, tmp_path)
    for part in parts:
        part.parent.mkdir(exist_ok=True)
        part.write_text("half")
    with pytest.raises(paths.StageError):
        run(keep, tmp_path)
    assert all(part.read_text() == "half" for part in parts)
    with pytest.raises(paths.StageError):
        run(keep, tmp_path, seed=2)
    assert not any(part.exists() for part in parts)


def test_missing_result_of_a_lower_stage(tmp_path: Path) -> None:
    path = notebook(tmp_path, "06_c.ipynb", 'open("03_student")')
    with pytest.raises(paths.StageError, match="06_c.ipynb reads 03_student, which is not there: run stage 03 first"):
        run(path, tmp_path)


def test_what_the_parameters_replace_is_not_asked_for(tmp_path: Path) -> None:
    """A notebook's own defaults name results that a profile may do without."""
    first = v4.new_code_cell('seed = 1\nrun = ""\nstart = "03_student"', metadata={"tags": ["parameters"]})
    book = v4.new_notebook(cells=[first, v4.new_code_cell('open("01_a.jsonl")')])
    assert provenance.needed(book, {"seed": 1, "start": "02_other"}, "06") == ["01_a.jsonl", "02_other"]
    assert provenance.needed(book, {"start": "03_student", "out": "06_own"}, "06") == ["01_a.jsonl", "03_student"]
    assert provenance.needed(book, {"models": {"a": {"of": "04_x"}}}, "06") == ["01_a.jsonl"], "its reader says more"


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        files.alone(tmp_path),
        pytest.raises(files.RecordError, match="is in use by another process"),
        files.alone(tmp_path, wait=False),
    ):
        pass
    with files.alone(tmp_path, wait=False):
        pass


def test_inputs_follow_imports_and_the_own_task(tmp_path: Path) -> None:
    root = tmp_path
    for name, text in {
        "a": "from lib.core import b",
        "core/b": "import json",
        "core/c": "",
        "core/d": "",
        "tasks/x/__init__": "import lib.core.d",
        "tasks/y/__init__": "",
    }.items():
        path = root / "lib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def changes(name: str) -> bool:
        before = provenance.library("from lib.a import f", "x", root)
        (root / "lib" / name).write_text("changed = 1")
        return provenance.library("from lib.a import f", "x", root) != before

    assert not changes("core/c.py"), "nothing imports it"
    assert not changes("tasks/y/__init__.py"), "another task's"
    assert not changes("tasks/y/words.yaml")
    assert changes("core/d.py") and changes("core/b.py") and changes("tasks/x/words.yaml")
    every = provenance.library("", root=root)
    (root / "lib" / "tasks" / "y" / "__init__.py").write_text("x = 2")
    assert provenance.library("", root=root) != every


def test_a_file_that_a_parameter_points_to_is_an_input(tmp_path: Path) -> None:
    path = notebook(tmp_path, "01_a.ipynb", "x = 1")
    prices = tmp_path / "prices.yaml"
    prices.write_text("a: 1")
    values = {"seed": 1, "prices": str(prices), "absent": "no/such/file", "word": "cpu"}
    found = provenance.inputs(path, values, tmp_path)
    assert "prices: prices.yaml" in found and not any("absent" in k or "word" in k for k in found)
    prices.write_text("a: 2")
    assert provenance.inputs(path, values, tmp_path) != found


@pytest.mark.usefixtures("quick")
def test_results_of_lower_stages_that_a_parameter_names_are_inputs_however_deep(tmp_path: Path) -> None:
    path = notebook(tmp_path, "06_a.ipynb", WRITE.format(out="06_tiny"))
    (tmp_path / "05_student").mkdir()
    (tmp_path / "05_student" / "weights").write_text("1")
    models = {"a": {"of": "06_tiny", "cut": {"layers": 3}}, "b": {"of": "04_absent"}, "c": {"of": "05_student"}}
    assert run(path, tmp_path, models=models)
    meta = json.loads((tmp_path / "06_meta.json").read_text())
    assert "05_student" in meta["inputs"] and [*meta["outputs"]] == ["06_a.ipynb", "06_tiny"]
    assert not run(path, tmp_path, models=models), "its own results are no inputs"
    (tmp_path / "05_student" / "weights").write_text("2")
    assert run(path, tmp_path, models=models)


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_marks_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY_COMMIT", raising=False)
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("x = 1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.commit(tmp_path) == head
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "new.md").write_text("reports do not count")
    assert provenance.commit(tmp_path) == head
    (tmp_path / "code.py").write_text("x = 2")
    assert provenance.commit(tmp_path) == f"{head}-dirty"
    git(tmp_path, "checkout", "code.py")
    (tmp_path / "new.py").write_text("y = 1")
    assert provenance.commit(tmp_path) == f"{head}-dirty"


def test_commit_outside_git_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit(tmp_path) == provenance.commit(tmp_path / "nowhere") == "unknown"
    monkeypatch.setenv("STUDY_COMMIT", "abc123-dirty")
    assert provenance.commit(tmp_path) == "abc123-dirty"


def test_how_many_processes_train_is_no_input(tmp_path: Path) -> None:
    """An interrupted training is resumed on a machine with more GPUs, or fewer."""
    first, *_ = paths.notebooks()
    one, two, other = (
        provenance.inputs(first, {"task": "files", "models": [{"training": training}]}, tmp_path)["parameters"]
        for training in ({"max_steps": 4}, {"max_steps": 4, "processes": 2}, {"max_steps": 5, "processes": 2})
    )
    assert one == two != other


def test_command_line_reports_unknown_profile_and_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "tpu"]) == 1
    assert f"unknown profile 'tpu': choose one of {', '.join(paths.profiles())}" in capsys.readouterr().err
    assert main(["--profile", "smoke", "--only", "99"]) == 1
    assert "no stage '99': choose one of" in capsys.readouterr().err
