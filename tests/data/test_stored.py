"""Examples on disk are those that were written, and are trained on as a list of them would be."""

import pickle

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.core.task import Example
from lib.data import stored
from lib.model.codec import Codec
from lib.tasks import load
from lib.training import finetune
from lib.training.packing import Packer
from lib.training.trainer import PackedTrainer


@pytest.fixture(scope="module")
def groups():
    return examples(30, 4, items=3)


def test_what_is_read_is_what_was_written(groups, tmp_path):
    found = stored.write(iter(groups), tmp_path / "x.arrow", TASK)
    assert list(found) == groups and len(found) == 30 and found[-1] == groups[-1] and found[3:5] == groups[3:5]
    assert [p.name for p in tmp_path.iterdir()] == ["x.arrow"]
    again = pickle.loads(pickle.dumps(found))
    assert list(again) == groups and again.digest == found.digest
    assert stored.write(iter(groups[:-1]), tmp_path / "y.arrow", TASK).digest != found.digest


def test_contexts_of_a_task_s_own_classes_come_back_and_may_differ_within_a_list(tmp_path):
    home = load("home")
    row = {"home": {"areas": [{"name": "Hall", "floor": None}, {"name": "Attic", "floor": None}], "entities": []}}
    contexts = [home.context({**row, "area": area}) for area in ("Hall", None, "Attic")]
    group = [Example(str(i), "hi", context, [[]], "L0", "x", "train", {"n": i}) for i, context in enumerate(contexts)]
    assert stored.write([group], tmp_path / "x.arrow", home)[0] == group


def test_what_ends_early_leaves_no_file(groups, tmp_path):
    with pytest.raises(ZeroDivisionError):
        stored.write((groups[i] if i < 5 else [1 // 0] for i in range(9)), tmp_path / "x.arrow", TASK)
    assert not (tmp_path / "x.arrow").exists()


@pytest.mark.parametrize("most", [64, 256])
def test_rows_are_those_of_a_list(groups, tmp_path, most):
    codec, found = Codec(TASK, tiny_student(2).vocabulary), stored.write(iter(groups), tmp_path / "x.arrow", TASK)
    one, other = (Packer(codec, source, most, seed=3) for source in (groups, found))
    assert one.left_out == other.left_out and one.epoch_rows == other.epoch_rows
    assert [one.row(i) for i in range(2 * one.epoch_rows)] == [other.row(i) for i in range(2 * one.epoch_rows)]


def test_a_training_on_them_is_known_again_and_another_is_not(groups, tmp_path, monkeypatch):
    start = saved_student(tmp_path / "start", layers=2)
    params = {"base": str(start), "row_tokens": 256, "max_steps": 1, "precision": "fp32"}
    fits, inner = [], PackedTrainer.fit
    monkeypatch.setattr(PackedTrainer, "fit", lambda *given: fits.append(1) or inner(*given))
    for count in (30, 30, 29):
        finetune.train(params, TASK, stored.write(iter(groups[:count]), tmp_path / "x.arrow", TASK), tmp_path / "out")
    assert len(fits) == 2
