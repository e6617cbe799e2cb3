"""How often a model does unasked what its task calls sensitive, and when it should ask back: ``python -m lib.safety``.

The answers with sensitive effects and the figures go to ``reports/<profile>/safety``; the threshold and the figures go
into release.json and the card beside the model, if it is released there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib import tasks
from lib.core import files, params, paths, provenance
from lib.decision import safety
from lib.experiments import wrong_actions
from lib.model.gguf_read import GgufFile
from lib.report.safety import FOLDER, tell
from lib.runtime.requests import find_model


def measure(model: Path, profile: str, per_level: int, people: int, workers: int) -> list[Path]:
    """The files written. Raises ValueError."""
    if model.is_dir():
        raise ValueError(f"{model.name}: a folder of a student: give a GGUF file")
    given = params.load(paths.notebooks()[0], profile)
    task = tasks.load(GgufFile(model).student["task"])
    work, folder = paths.runs() / "safety", paths.REPORTS / profile / FOLDER
    with files.alone(work, wait=False):
        groups = wrong_actions.draw(task, given, per_level, people, work)
        rows, asked = wrong_actions.measure(task, model, groups, work, workers)
    about = {
        "sha256": files.sha256(model),
        "task": task.name,
        "commit": provenance.commit(),
        "seed": wrong_actions.SEED,
    }
    about |= {"per_level": per_level, "people": people, "asked": asked.to_dict("records")}
    table = folder / f"{model.stem}.csv"
    files.write_text(table, rows.to_csv(index=False, lineterminator="\n"))
    files.write_json(table.with_suffix(".json"), {**about, **safety.figures(rows, asked)})
    return [table, table.with_suffix(".json"), *tell(paths.REPORTS / profile)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.safety", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF (default: the deployed model)")
    parser.add_argument("--profile", default="gpu", help="whose requests and report (default: %(default)s)")
    parser.add_argument(
        "--per-level", type=int, default=2_223, help="random requests of each level (default: %(default)s)"
    )
    parser.add_argument("--people", type=int, default=5_000, help="people's requests, at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: as many as there are cores)")
    given = parser.parse_args(arguments)
    try:
        model = find_model(given.model, paths.runs())
        for path in measure(model, given.profile, given.per_level, given.people, given.workers):
            print(f"wrote {paths.relative(path)}")
    except (ValueError, OSError) as error:
        print(f"safety: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
