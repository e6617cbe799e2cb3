"""Makes the file of people's utterances, which is not part of the project, from clones of four public repositories.

    python -m lib.human_speech --nlu NLU-Evaluation-Data --slurp slurp --clinc oos-eval --snips nlu-benchmark \\
        --out ../shared/human_speech/utterances.jsonl.gz

Its SHA-256 is checked. See lib/tasks/home/human/corpora.py for the corpora and their licences.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.tasks import load


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.human_speech", description=(__doc__ or "").splitlines()[0])
    home: Any = load("home")
    for name, repository in home.repositories().items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=f"clone of {repository}")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="what to write, a .jsonl.gz")
    given = vars(parser.parse_args(arguments))
    try:
        print(f"wrote {home.rebuild(given, given['out']):,} utterances to {given['out']}")
    except (ValueError, OSError) as error:
        print(f"human_speech: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
