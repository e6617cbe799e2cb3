"""The part of the bench about training: every line comes out, and ratios are of what they say."""

from toy_bench import Sampled
from toy_model import saved_student

from lib.bench import training
from lib.core.task import Answer


def test_every_line_of_a_tiny_student(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SEEDS", 96)
    monkeypatch.setattr(training, "REQUESTS", 24)
    found = dict(training.lines(Sampled(), saved_student(tmp_path / "student", layers=1)))
    assert len(found) == 7
    assert float(found["sampler, examples a second on one core"].replace(",", "")) > 0
    assert float(found["training, requests a second, packed"].replace(",", "")) > 0
    assert all(float(figure.split()[0]) >= 0 for what, figure in found.items() if figure.endswith(" x"))


def test_the_first_request_of_a_context_is_told_from_the_others():
    class Remembering:
        known: set[str] = set()

        def answer(self, text, context):
            new = context["key"] not in self.known
            self.known.add(context["key"])
            return Answer([], latency_ms=100.0 if new else 10.0)

    class Request:
        def __init__(self, key):
            self.text, self.context = "x", {"key": key}

    groups = [[Request(key) for _ in range(4)] for key in "abc"]
    assert training.times_ms(Remembering(), groups) == (100.0, 10.0)


def test_the_newest_student_is_taken(tmp_path):
    import os

    assert training.newest(tmp_path) is None
    for age, profile in enumerate(("old", "new")):
        file = tmp_path / profile / "03_student" / "student.json"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (age, age))
    assert training.newest(tmp_path) == tmp_path / "new" / "03_student"


def test_the_sample_is_in_groups_and_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SEEDS", 32)
    groups, rate = training.sample(Sampled(), tmp_path)
    assert [len(group) for group in groups] == [8] * 4 and rate > 0
