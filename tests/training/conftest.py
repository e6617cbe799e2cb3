"""What several of these tests train on; a file with a fixture of the same name uses its own."""

import pytest
from toy_model import saved_student
from toy_task import examples


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("start") / "student", layers=2)


@pytest.fixture(scope="module")
def by_context():
    return examples(20, 4, items=3)
