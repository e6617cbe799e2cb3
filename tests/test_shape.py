"""The student before training: cut from its assistant or built from a base, always with the assistant's vocabulary."""

from __future__ import annotations

import pytest
import torch
from toy_model import tiny_base, tiny_student
from toy_task import TASK, examples

from lib import student
from lib.prune import PruneError
from lib.shape import Shape, begin

ROWS = [e for group in examples(2, 3, items=3) for e in group]


def test_a_student_from_the_base_has_the_assistants_vocabulary_and_the_bases_words() -> None:
    assistant, base = tiny_student(), tiny_base()
    alone = student.build(TASK, base, vocab_size=400, layers=2)
    made = student.build(TASK, base, layers=2, vocabulary=assistant.vocabulary)
    assert made.vocabulary.json == assistant.vocabulary.json
    torch.testing.assert_close(made.model.model.embed_tokens.weight, alone.model.model.embed_tokens.weight)


def test_sources_and_sizes() -> None:
    assistant = tiny_student()
    assert begin(TASK, assistant, Shape(), "", ROWS) is assistant
    small = begin(TASK, assistant, Shape(channels=64, layers=3, measured=4), "", ROWS)
    assert small.model.config.intermediate_size == 64 and len(small.info["layers"]) == 3
    assert small.vocabulary is assistant.vocabulary


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 3}, "shape: unknown key 'depth'; known: source, layers"),
        ({"source": "teacher"}, "shape: source: 'teacher': use assistant or base"),
        ({"source": "base", "channels": 5}, "channels and groups are cut from an assistant"),
    ],
)
def test_wrong_shapes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(PruneError, match=message):
        Shape.read(values)
