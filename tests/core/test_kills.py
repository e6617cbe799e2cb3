"""A short form of what ``make robust`` does: a study that is ended once in each stage ends as one that is not."""

from pathlib import Path

from tests import faults


def test_a_study_that_is_killed_in_every_stage_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    params = faults.profile(tmp_path / "params")
    whole, broken = (faults.Study(tmp_path / name, params) for name in ("whole", "broken"))
    done = whole.finish()
    assert done.popen.returncode == 0, done.text
    ended = faults.killed(broken, len(faults.STAGES), 1, faults.walls(whole))
    assert {row["stage"] for row in ended} == {*faults.STAGES}
    assert not faults.differences(faults.records(whole.folder), faults.records(broken.folder))


def test_what_differs_is_told_and_times_are_not_compared(tmp_path: Path) -> None:
    for name, text in {"a": "right", "b": "wrong"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "03_x.jsonl").write_text(f'{{"id": 1, "said": "{text}", "latency_ms": "{text}"}}\n')
    one, other = (faults.records(tmp_path / name) for name in "ab")
    assert faults.differences(one, other) == ["03_x.jsonl: [0].said: 'right' and 'wrong'"]
    assert not faults.differences(faults.weightless(one), faults.weightless(other))
    assert faults.differences(one, {}) == [f"03_x.jsonl: : {one['03_x.jsonl']!r} and None"]
