"""The ablation command: which training data and which steps make the student better, and is that more than chance?

    python -m lib.ablate                                   (or make ablation)
    python -m lib.ablate --params params/ladder.yaml --only "RFT:1" "RFT+KD:1" --keep
                                                           one of several processes, each on its own GPU
    python -m lib.ablate --pack                            when all of them are through

Every variant of the parameters is trained with every seed on what notebooks 01 and 02 of a profile left, and tested;
results go to ``out``, work in progress is in ``runs/ablation``. See lib/experiments/ablation.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.core import paths
from lib.core.params import ParamsError
from lib.experiments import ablation
from lib.experiments.variants import CUT, KD, Parameters, read

PARAMS = paths.PARAMS / "ablation.yaml"


def named(texts: Sequence[str] | None, params: Parameters) -> list[tuple[str, int]]:
    """The runs that ``VARIANT:SEED`` texts name; all for None. Raises ParamsError, also for a missing assistant."""
    known = {f"{name}:{seed}": (name, seed) for seed in params.seeds for name in params.variants}
    if unknown := [text for text in texts or () if text not in known]:
        raise ParamsError(f"--only: no run '{unknown[0]}'; known: {', '.join(known)}")
    runs = [known[text] for text in dict.fromkeys(known if texts is None else texts)]
    learning = [name for name, _ in runs if {KD, CUT} & {kind for kind, _ in params.chain(name, 0)}]
    if learning and not (paths.ROOT / params.assistant).exists():
        raise ParamsError(f"variants: {learning[0]}: no assistant at '{params.assistant}': train it, or name another")
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.ablate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--only", nargs="+", action="extend", metavar="VARIANT:SEED", help="train these runs alone")
    parser.add_argument("--keep", action="store_true", help="keep the students in runs/ablation/students")
    parser.add_argument("--pack", action="store_true", help="pack what is there; without --only nothing is trained")
    options = parser.parse_args(arguments)
    try:
        params = read(options.params)
        runs = named(options.only or ([] if options.pack else None), params)
        study = ablation.prepare(params)
        for name, seed in tqdm(runs, "ablation", unit="run", disable=None):
            study.run(name, seed, options.keep)
        if options.pack or not options.only:
            print(ablation.pack(study).round(3).to_string(index=False))
    except (ValueError, OSError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
