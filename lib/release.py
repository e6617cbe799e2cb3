"""Publishes the models of a finished run in ``reports/gpu/model``: ``python -m lib.release --profile gpu``."""

import argparse
import sys
from collections.abc import Sequence

from lib.core import paths
from lib.report.release import release
from lib.report.safety import tell


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="gpu", help="folder of params/ (default: %(default)s)")
    parser.add_argument("--allow-dirty", action="store_true", help="also from local changes or several commits")
    given = parser.parse_args(arguments)
    try:
        for path in release(paths.run_dir(given.profile), given.profile, allow_dirty=given.allow_dirty):
            print(f"wrote {paths.relative(path)} ({path.stat().st_size / 1e6:.1f} MB)")
        tell(paths.REPORTS / given.profile)
    except (ValueError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
