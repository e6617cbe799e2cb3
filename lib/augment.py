"""The augmentation command: a small model writes paraphrases instead of the teacher; what passes, and what it costs.

    python -m lib.augment                                  (then make ablation ABLATION=ladder_augmented)

Parameters: params/augment.yaml; see lib/experiments/augmentation.py. Work in progress is in ``runs/augment``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.core import paths
from lib.core.params import ParamsError, read_yaml
from lib.data.recording import Recording
from lib.evaluation.prices import load_prices
from lib.experiments.augmentation import Augmentation, Study, store
from lib.tasks import load
from lib.teacher.contract import teacher_task

PARAMS = paths.PARAMS / "augment.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.augment", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, default=PARAMS)
    options = parser.parse_args(arguments)
    try:
        settings = Augmentation.read(read_yaml(options.params), options.params.name)
        for name, path in settings.students.items():
            if not (paths.ROOT / path).exists():
                raise ParamsError(f"students: {name}: no student at '{path}': make it as params/record.yaml says")
        run = paths.runs() / paths.check_profile(settings.run)
        recording = Recording.read(teacher_task(load(settings.task)))
        others = recording.task.third_party(paths.ROOT / settings.third_party) if settings.third_party else {}
        tested = [e for rows in others.values() for e in rows]
        study = Study(recording, settings, load_prices(), paths.runs() / "augment", tested)
        print(store(study.run(), recording, run, paths.ROOT / settings.out).round(3).to_string(index=False))
    except (ValueError, OSError) as error:
        print(f"augment: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
