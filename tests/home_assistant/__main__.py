"""Tries the server in a real Home Assistant: ``make ha-test HA=DIR``; see the README beside this file."""

import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENTER = 'mount --bind /proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"'
LEAST = 0.75  # of what is said that must be right


def said(inside: Path, url: str) -> list[dict[str, str]]:
    """Runs the tests in Home Assistant's Python, behind chroot where it has a system of its own; their rows."""
    chrooted, work = (inside / ".chroot").exists(), inside / "super_tiny"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(HERE, work, ignore=shutil.ignore_patterns("__pycache__"))
    at = Path("/ha") if chrooted else inside
    given = ["env", f"SERVER={url}", f"RESULTS={at}/super_tiny/results.jsonl", "HOME=/tmp", "PATH=/usr/bin:/bin"]
    command = [*given, f"{at}/venv/bin/python", f"{at}/run_pytest.py", f"{at}/super_tiny"]
    enter = ["unshare", "--mount", "--", "bash", "-c", ENTER, str(inside.parent)] if chrooted else []
    if subprocess.run([*enter, *command, "-q", "--maxfail=1", "--asyncio-mode=auto"], cwd=inside).returncode:
        raise SystemExit("ha-test: Home Assistant could not use the server, see above")
    return [json.loads(line) for line in (work / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def table(rows: list[dict[str, str]]) -> None:
    wrong = [(row.pop("integration"), row) for row in map(dict, rows) if row["kind"] != "right"]
    for one in {json.dumps(row): row for _, row in wrong}.values():
        print(*one.values(), ", ".join(name for name, row in wrong if row == one), sep=" | ")
    kinds = [kind for kind, _ in Counter(row["kind"] for row in rows).most_common()]
    print("integration", "n", *kinds, sep=" | ")
    for name in dict.fromkeys(row["integration"] for row in rows):
        counted = Counter(row["kind"] for row in rows if row["integration"] == name)
        print(name, counted.total(), *(counted[kind] for kind in kinds), sep=" | ")


def main(ha: str = "", *options: str) -> int:
    """``options``: of lib.serve."""
    inside = Path(ha).resolve() / "ha"
    if not ha or not (inside / "run_pytest.py").exists():
        print(
            f"ha-test: no Home Assistant in {ha!r}: tests/home_assistant/README.md says how to install it",
            file=sys.stderr,
        )
        return 2
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = [sys.executable, "-m", "lib.serve", "--port", port, *options]
    with subprocess.Popen(server, cwd=HERE.parents[1], stdout=subprocess.PIPE) as running:
        try:
            if not running.stdout or not running.stdout.readline():  # it is written when the model is there
                return 2
            rows = said(inside, f"http://127.0.0.1:{port}")
        finally:
            running.terminate()
    table(rows)
    kinds = Counter(row["kind"] for row in rows)
    return int(kinds["error"] > 0 or kinds["right"] < LEAST * len(rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
