"""``python -m lib.report --profile cpu`` writes ``reports/cpu`` from the finished stages of ``runs/cpu``, and

``reports/index.html``; ``--readme`` writes the headline figures of the committed profile into README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lib.core import paths
from lib.report.overview import index, readme
from lib.report.pages import build


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--readme", action="store_true", help="only the index and README.md, from the committed report")
    options = parser.parse_args(arguments)
    try:
        if options.readme:
            index()
            readme()
            return 0
        for path in build(options.profile):
            print(f"wrote {paths.relative(path)}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
