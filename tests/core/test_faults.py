"""Faults of the machine under the stage runner: a full disk, a read-only folder, a jumping clock, a second run."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_stages import notebook

from lib import stages as command
from lib.core import files, paths, provenance, stages
from lib.data import label
from lib.report import __main__ as report

SPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Runs a command where it may mount."""
WRITE = """
import sys
from pathlib import Path
from lib.core import files, stages
folder = Path(sys.argv[1])
try:
    stages.run_stage(folder / "01_a.ipynb", {"seed": 1, "run": str(folder / "run")}, folder / "run")
except (ValueError, OSError) as error:
    sys.exit(f"error: {files.told(error)}")
"""
ROWS = 40_000
CELL = f"""from pathlib import Path
from lib.core import files
files.write_jsonl(Path(run) / "01_a.jsonl", ({{"id": i, "text": "x" * 40}} for i in range({ROWS})))"""


def mountable() -> bool:
    ready = shutil.which("unshare") and shutil.which("mount")
    return bool(ready) and not subprocess.run([*SPACE, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode


mounts = pytest.mark.skipif(not mountable(), reason="file systems cannot be mounted here, not even in a namespace")


@mounts
@pytest.mark.parametrize("kilobytes", [4, 1_000])
def test_a_full_disk_is_told_and_the_stage_ends_well_once_there_is_space(tmp_path: Path, kilobytes: int) -> None:
    """4 kB: not even what the runner itself writes has space; 1 MB: the rows have none."""
    notebook(tmp_path, "01_a.ipynb", CELL)
    (tmp_path / "run").mkdir()
    script = f"""
    mount -t tmpfs -o size={kilobytes}k none "$0/run"
    "$1" -c "$2" "$0" > "$0/first" 2>&1; echo $? >> "$0/first"
    ls -A "$0/run" > "$0/left"
    mount -o remount,size=100m "$0/run"
    "$1" -c "$2" "$0" && cp -r "$0/run" "$0/kept"
    """
    done = subprocess.run(
        [*SPACE, "sh", "-c", script, tmp_path, sys.executable, WRITE], cwd=paths.ROOT, capture_output=True, text=True
    )
    first = (tmp_path / "first").read_text()
    assert "No space left on device" in first and first.endswith("\n1\n"), first
    assert "Traceback" not in first
    assert not {"01_a.jsonl", "01_meta.json"} & {*(tmp_path / "left").read_text().split()}
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(files.read_jsonl(tmp_path / "kept" / "01_a.jsonl")) == ROWS
    assert (tmp_path / "kept" / "01_meta.json").exists()


@mounts
def test_read_only_reports_are_one_error(tmp_path: Path) -> None:
    script = """
    mount --bind reports reports && mount -o remount,bind,ro reports
    exec "$0" -m lib.report --readme
    """
    done = subprocess.run([*SPACE, "sh", "-c", script, sys.executable], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Read-only file system: free space or let it be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_written_loses_no_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "run_all", lambda *given: None)
    (tmp_path / "reports").write_text("no folder")
    monkeypatch.setattr(report, "build", lambda profile: report._write(tmp_path / "reports" / "x.html", ""))
    assert command.main(["--profile", "smoke"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: reports: ") and len(said.splitlines()) == 1 and "repeat the command" in said


def test_a_second_run_of_a_profile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    with files.alone(tmp_path / "smoke"):
        assert command.main(["--profile", "smoke"]) == 1
    assert "error: 'smoke' is in use by another process: wait for it, or stop it" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "smoke").iterdir()] == [".lock"]


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While cells run; a jump while a kernel starts can end the start, as one that takes too long."""
    clock, rng, jumping = time.time, random.Random(1), tmp_path / "jumping"
    path = notebook(
        tmp_path, "01_a.ipynb", f"open({str(jumping)!r}, 'w').close()", "import time; time.sleep(0.3)", CELL
    )
    monkeypatch.setattr(time, "time", lambda: clock() + (rng.uniform(-1e6, 1e6) if jumping.exists() else 0))
    assert stages.run_stage(path, {"seed": 1, "run": str(tmp_path)}, tmp_path)
    assert 0.3 < files.read_json(tmp_path / "01_meta.json")["wall_s"] < 1e4
    assert not stages.run_stage(path, {"seed": 1, "run": str(tmp_path)}, tmp_path)


def test_a_stage_s_document_that_is_cut_off_anywhere_makes_the_stage_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(stages, "execute", lambda *given: made.append(1))
    path, given = notebook(tmp_path, "01_a.ipynb", "x = 1"), {"seed": 1, "run": str(tmp_path)}
    stages.run_stage(path, given, tmp_path)
    meta = tmp_path / "01_meta.json"
    whole = meta.read_bytes()
    for count, cut in enumerate(range(0, len(whole) - 2, 97), 2):
        meta.write_bytes(whole[:cut])
        assert stages.run_stage(path, given, tmp_path) and len(made) == count
    assert not stages.run_stage(path, given, tmp_path)


def test_a_label_after_a_line_that_was_cut_off_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.core.task import Example

    out, typed = tmp_path / "labels.jsonl", iter("y\n")
    out.write_text('{"id": "a", "right": tr')
    monkeypatch.setattr(sys.stdin, "readline", lambda: next(typed), raising=False)
    one = Example("b", "hi", {"home": "h"}, [[]], "L6", "teacher", "train", {"said": "ho"})
    label.ask([one], "filter", out)
    rows, rejected = files.tolerant(files.lines(out), dict[str, Any])
    assert [row["id"] for row in rows] == ["b"] and len(rejected) == 1


def test_every_meta_says_seed_versions_and_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "execute", lambda *given: (tmp_path / "01_a.txt").write_text("a"))
    stages.run_stage(notebook(tmp_path, "01_a.ipynb", "x = 1"), {"seed": 3, "run": str(tmp_path)}, tmp_path)
    meta = files.read_json(tmp_path / "01_meta.json")
    assert meta["seed"] == 3 and meta["commit"] == provenance.commit()
    assert set(meta["versions"]) == set(provenance.versions()) and "missing" not in meta["versions"].values()
    assert meta["outputs"]["01_a.txt"] == files.sha256(tmp_path / "01_a.txt")
    assert all(len(digest) == 64 for digest in [*meta["inputs"].values(), *meta["outputs"].values()])
