"""The student before training: cut from its assistant or built from a base, always with the assistant's vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_model import tiny_base, tiny_student
from toy_task import TASK, examples

from lib.compression.mask_search import SearchParams
from lib.compression.prune import PruneError
from lib.compression.shape import Shape, begin
from lib.model import student
from lib.training.log import read_steps

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


def test_a_search_can_choose_what_stays(tmp_path: Path) -> None:
    assistant, params = tiny_student(), SearchParams(steps=2, samples=2, rows=1, row_tokens=192, precision="fp32")
    shape = Shape.read({"channels": 64, "layers": 3, "measured": 4, "chosen": "search"})
    small = begin(TASK, assistant, shape, "", ROWS, params=params, work=tmp_path)
    assert small.model.config.intermediate_size == 64 and len(small.info["layers"]) == 3
    assert len(read_steps(tmp_path / "steps.csv")) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 3}, "shape: unknown key 'depth'; known: source, layers"),
        ({"source": "teacher"}, "shape: source: 'teacher': use assistant or base"),
        ({"source": "base", "channels": 5}, "channels and groups are cut from an assistant"),
        ({"source": "base", "chosen": "search"}, "a search chooses parts of an assistant: set source: assistant"),
        ({"chosen": "chance"}, "shape: chosen: 'chance': use importance or search"),
    ],
)
def test_wrong_shapes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(PruneError, match=message):
        Shape.read(values)
