"""Which model to deploy: the cheapest that is guaranteed to be as good as a reference, by a report's committed records.

    python -m lib.choose --target 0.95 --volume 200/day
    python -m lib.choose --target 0.9 --volume 1500/month --reference gold    (at least 90% right)

The target is for the share of what the reference gets right; lib/decision/guarantee.py says what is guaranteed. It is
calibrated on the development set, verified on the test set, and tried on what people said.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from lib.core import paths
from lib.core.params import ParamsError
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import candidates, costs, guarantee
from lib.decision.guarantee import CONFIDENCE, FAILS, GOLD, HOLDS, OPEN, Choice
from lib.evaluation.prices import DAYS, load_prices

PERIODS = {"hour": 24.0, "day": 1.0, "week": 1 / 7, "month": 12 / DAYS, "year": 1 / DAYS}
VERDICTS = {HOLDS: "the target holds there", FAILS: "the target does not hold there", OPEN: "too few requests to tell"}
LABELS = {"system": "system", "usd": "$ a million", "n": "requests", "lost": "lost", "most_lost": "may lose"}
LABELS |= {"low": "guaranteed", "guaranteed": "target"}
FORMATS = {"$ a million": "{:.4f}".format, "guaranteed": "{:.1%}".format, "target": {True: "yes", False: "no"}.get}


def per_day(volume: str) -> float:
    """Requests a day of a volume such as "200/day". Raises ParamsError."""
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)/({'|'.join(PERIODS)})", volume.replace(",", ""))
    if not found or not float(found[1]):
        raise ParamsError(f"--volume: '{volume}': write a number above 0 and {', '.join(PERIODS)}, such as 200/day")
    return float(found[1]) * PERIODS[found[2]]


def answer(target: float, volume: str, reference: str, folder: Path) -> Iterator[str]:
    """The lines of the answer. Raises ParamsError or RecordError."""
    prices, day = load_prices(), per_day(volume)
    found = candidates.read(folder, prices, reference)
    choice = guarantee.choose(found.on(DEV), found.reference, target, found.usd)
    yield from _chosen(choice)
    if need := found.needs.get(name := choice.system or found.reference):
        both = costs.own(prices, need, day), costs.anyway(prices, need)
        own, anyway = (costs.dollars(costs.per_year(usd, day)) for usd in both)
        yield (
            f"Cost at {volume}: {name} takes {anyway} of electricity a year on a machine that is there anyway, "
            f"{own} a year with a machine of its own ({prices.machine.name})."
        )
    if choice.system:
        yield from (_verified(test, found.on(test), choice) for test in (TEST, DEV_HUMAN) if len(found.on(test)))
    yield from _others(choice)


def _chosen(choice: Choice) -> Iterator[str]:
    gold = choice.reference == GOLD
    aim = "right on at least {:.1%} of requests" if gold else f"at least {{:.1%}} as good as {choice.reference}"
    aim = f"{aim.format(choice.target)}, with {CONFIDENCE:.0%} confidence."
    if choice.system:
        row = choice.table.set_index("system").loc[choice.system]
        yield f"{choice.system} is the cheapest system that is {aim}"
        what = "requests" if gold else f"requests that {choice.reference} gets right"
        yield f"It gets right {row['share']:.1%} of {row['n']} {what} ({DEV}); in general at least {row['low']:.1%}."
        return
    yield f"No cheaper system is guaranteed to be {aim}"
    if len(choice.table):
        best = choice.table.loc[choice.table["low"].idxmax(), "system"]
        yield f"The best that can be: {best}, at least {choice.best:.1%}."
    if not gold:
        yield f"{choice.reference} itself is left."


def _verified(test: str, part: pd.DataFrame, choice: Choice) -> str:
    row = guarantee.verify(part, choice)
    if not row["n"]:
        return f"Not verified on {test}: {choice.reference} or {choice.system} did not answer it."
    ends = f"{row['low']:.1%} to {row['high']:.1%}"
    return f"On {test}, not used for the choice: {row['share']:.1%} of {row['n']} ({ends}): {VERDICTS[row['verdict']]}."


def _others(choice: Choice) -> Iterator[str]:
    table = choice.table
    if not len(table):
        yield "No candidate: no timed system is cheaper than the reference."
        return
    yield "\n" + table[[*LABELS]].rename(columns=LABELS).to_string(index=False, formatters=FORMATS)
    least = guarantee.least_n(choice.target, guarantee.ERROR / len(table))
    yield f"\nWith {len(table)} candidates, {least} requests are the fewest that can guarantee {choice.target:.1%}."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.choose", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", type=float, default=0.95, help="a share (default: %(default)s)")
    periods = ", ".join(PERIODS)
    parser.add_argument("--volume", default="200/day", help=f"requests, per {periods} (default: %(default)s)")
    parser.add_argument("--reference", default="", help=f"a system, or {GOLD}: the right answers (default: the parent)")
    parser.add_argument("--profile", default="gpu", help="whose report (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        folder = paths.REPORTS / paths.check_profile(options.profile)
        print("\n".join(answer(options.target, options.volume, options.reference, folder)))
    except ValueError as error:
        print(f"choose: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
