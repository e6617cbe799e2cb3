"""Runs the notebooks of ``notebooks/`` in order, each with its profile's parameters, and writes the reports.

    python -m lib.stages --profile cpu [--only 03] [--force]

A failing stage ends the run with exit code 1; what came before it stays. See lib/core/stages.py.
"""

import argparse
import sys

from lib.core import files, paths, provenance, stages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.stages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="cpu", help="folder of params/ (default: cpu)")
    parser.add_argument("--only", metavar="NN", help="one stage, by its number")
    parser.add_argument("--force", action="store_true", help="run even if nothing changed")
    parser.add_argument("--refresh", action="store_true", help="keep the run's outputs in notebooks/ (profile smoke)")
    options = parser.parse_args(arguments)
    try:
        if provenance.commit().endswith("-dirty"):
            print("uncommitted changes: the report will say that it is of a commit that is -dirty", flush=True)
        stages.run_all(options.profile, options.only, options.force)
        if options.refresh:
            stages.refresh(options.profile)
        from lib.report import __main__ as report  # slow to import

        for path in report.build(options.profile):
            print(f"wrote {paths.relative(path)}", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {files.told(error)}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last finished stage", file=sys.stderr, flush=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
