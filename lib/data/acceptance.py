"""Which candidates of a recording are accepted: its readers' votes, the judge's, the words' form and the tests.

>>> found = accept(recording, *recording.candidates(), rule=[["student 1 at 0.9"]], natural=2, judged=["L5"], tested=[])
...                                                                                      # doctest: +SKIP
>>> len(found.kept), found.dropped[0].extra["reason"]                                    # doctest: +SKIP
(8134, 'reports instead of asking')
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lib.core.files import Row
from lib.core.task import Example
from lib.data import filter
from lib.data.recording import Recording
from lib.teacher.write import Verdict


@dataclass(frozen=True)
class Acceptance:
    """``kept`` and ``dropped`` candidates, the latter with a ``reason``, and what decided.

    ``readings``: rows of ``Recording.votes_on``; ``voters``: who voted for a candidate, ``seen_by``: who looked at it,
    by its id; ``fault``: why words alone rule a candidate out.
    """

    kept: list[Example]
    dropped: list[Example]
    readings: list[Row]
    voters: dict[str, set[str]]
    seen_by: dict[str, set[str]]
    fault: filter.Fault


def accept(
    recording: Recording,
    candidates: Sequence[Example],
    verdicts: Mapping[str, Verdict],
    rule: filter.Rule,
    natural: int,
    judged: Collection[str],
    tested: Iterable[Example],
) -> Acceptance:
    """Applies ``rule`` (lib.data.filter) to candidates.

    ``natural``: how natural the judge must find one to vote for it; ``judged``: levels that need the judge's vote
    besides; ``tested``: resolved examples whose words, names masked, no candidate may have. The recording's own tests
    are always among them.
    """
    readings = recording.votes_on(candidates)
    voters = filter.with_judge(filter.votes(readings, rule), verdicts, natural)
    seen_by = filter.read_by(readings, verdicts, rule)
    contexts = recording.set.contexts
    exam = filter.Contamination([*tested, *recording.tests], lambda e: recording.task.masked(e, contexts))
    fault = filter.judged(recording.writer.fault, voters, judged)
    kept, dropped = filter.sift(candidates, voters, rule, exam, seen_by, fault)
    return Acceptance(kept, dropped, readings, voters, seen_by, fault)
