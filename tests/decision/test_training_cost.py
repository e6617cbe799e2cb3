"""Predicted FLOPs, memory and time: as they must grow; a fitted row is no prediction; what reports and runs record."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lib.core import paths
from lib.decision import training_cost
from lib.decision.training_cost import Measured
from lib.evaluation.prices import load_prices
from lib.model.flops import Shape
from lib.training.cost import ANSWERS, Step

PRICES = load_prices()
SMALL = Shape(layers=4, hidden=64, heads=4, kv_heads=2, head_size=16, ffn_width=128, vocabulary=512)
LARGE = replace(SMALL, ffn_width=256)
STEP = Step(SMALL, 4096, 512)
REPORTS = paths.ROOT / "reports" / "gpu"


GPU = "NVIDIA H200"


def measured(step: Step, seconds: float, hardware: str = "unknown", name: str = "x") -> Measured:
    return Measured(hardware, name, step, 10, seconds, first=False)


def test_a_backward_pass_takes_twice_the_forward_one_and_an_assistant_one_more() -> None:
    distilled, own = replace(STEP, assistant=LARGE), Step(LARGE, 4096, 512)
    assert distilled.flops - STEP.flops == pytest.approx(own.flops / 3)
    row = SMALL.flops(512, logits=512 * ANSWERS)
    assert replace(STEP, compile="flex").flops == pytest.approx(3 * 4096 / 512 * row, rel=0.01)
    assert replace(STEP, assistant=SMALL, sampled=64).flops == pytest.approx(5 / 3 * STEP.flops)


def test_compiled_layers_keep_and_move_less_and_sparse_attention_computes_less() -> None:
    layers, flex = replace(STEP, compile="layers"), replace(STEP, compile="flex")
    assert layers.peak_bytes < STEP.peak_bytes and layers.moved_bytes < STEP.moved_bytes
    assert flex.flops < layers.flops == STEP.flops


def test_memory_is_that_of_one_pass() -> None:
    half = replace(STEP, at_once=2048)
    assert half.flops == STEP.flops and 18 * SMALL.weights < half.peak_bytes < STEP.peak_bytes
    assert replace(STEP, assistant=SMALL).peak_bytes > STEP.peak_bytes + 6 * SMALL.weights


def test_the_first_training_of_a_processor_fits_and_the_others_are_predicted() -> None:
    double = replace(STEP, positions=8192)
    rows = training_cost.compare([measured(STEP, 1.0), measured(double, 2.0), measured(STEP, 3.0, "b")], PRICES)
    assert rows["fitted"].tolist() == [True, False, True] and rows["error"].tolist() == pytest.approx([0, 0, 0])
    slow = training_cost.compare([measured(STEP, 1.0), measured(STEP, 2.0)], PRICES)
    assert slow["error"].tolist() == pytest.approx([0, -0.5])


def test_sampling_is_fitted_on_the_first_reinforcement() -> None:
    sampled = replace(STEP, assistant=SMALL, sampled=8)
    more = replace(sampled, sampled=16)
    rows = training_cost.compare([measured(STEP, 1.0), measured(sampled, 3.0), measured(more, 4.0)], PRICES)
    assert rows["fitted"].tolist() == [True, True, False]
    gradient = 5 / 3
    assert rows["predicted_s"].iloc[2] == pytest.approx(gradient + 2 * (3.0 - gradient))


def test_a_time_that_memory_does_not_allow_shows_as_an_error_of_the_prediction() -> None:
    row = training_cost.compare([measured(STEP, 1e-9, GPU)], PRICES).iloc[0]
    assert row["fitted"] and row["error"] > 1


def test_earlier_trainings_give_the_figures_and_a_narrow_student_waits_for_the_host() -> None:
    student, distilled = replace(STEP, student=replace(SMALL, ffn_width=32)), replace(STEP, assistant=LARGE)
    reinforced = replace(distilled, sampled=64)
    earlier = [measured(STEP, 1.0, GPU), measured(student, 2.0, GPU), measured(reinforced, 4.0, GPU)]
    rows = training_cost.compare([measured(distilled, 1.0, GPU), *earlier[1:]], PRICES, earlier)
    assert rows["predicted_s"].tolist() == pytest.approx([2.0 * 4 / 3, 2.0, 4.0]) and not rows["fitted"].any()
    assert training_cost.compare(earlier, PRICES)["fitted"].all()
    other = training_cost.compare([measured(STEP, 8.0)], PRICES, earlier)
    assert other["fitted"].all() and other["predicted_s"].item() == pytest.approx(8.0), "no record of this processor"


def test_layers_are_passed_once_for_each_part_of_a_step() -> None:
    assert STEP.layers_passed == 3 * 4 and replace(STEP, at_once=1024).layers_passed == 4 * 3 * 4
    assert replace(STEP, assistant=LARGE).layers_passed == 4 * 4


def test_every_recorded_training_has_its_error(tmp_path: Path) -> None:
    found = training_cost.of_reports(REPORTS)
    rows = training_cost.compare(found, PRICES)
    for one, row in zip(found, rows.to_dict("records"), strict=True):
        assert row["training"] == one.training and math.isfinite(row["error"])
        assert row["predicted_gb"] > 0 or not one.step.positions
        assert row["peak_gb"] == pytest.approx(one.peak_gb, nan_ok=True)
        assert not row["fitted"] or abs(row["error"]) < 1e-9
    assert training_cost.of_reports(tmp_path) == [] == training_cost.of_run(tmp_path)


def test_predictions_grow_with_steps_weights_and_positions() -> None:
    more = replace(measured(STEP, 1.0), steps=20)
    times = training_cost.compare([measured(STEP, 1.0), more], PRICES)["predicted_s"]
    assert times[1] == pytest.approx(2 * times[0])
    for larger in (replace(STEP, student=LARGE), replace(STEP, positions=8192)):
        for of in ("flops", "moved_bytes", "peak_bytes"):
            assert getattr(larger, of) > getattr(STEP, of)


def write(run: Path, folder: str, training: dict[str, object], seconds: list[float], gpu: str = "") -> None:
    (run / folder).mkdir(parents=True)
    config = {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    (run / folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128, "vocab_size": 512}))
    (run / folder / "student.json").write_text(json.dumps({"training": {"row_tokens": 512, **training}}))
    table = pd.DataFrame({"seconds": seconds, "tokens": 900, "gpu": gpu, "peak_gb": 3.0, "others_gb": 40.0})
    table = table if gpu else table[["seconds", "tokens"]]
    (run / folder / "steps.csv").write_text(table.to_csv(index=False))
    (run / f"{folder[:2]}_meta.json").write_text(json.dumps({"hardware": {"cpu": "Abacus", "gpu": []}}))


def test_a_run_is_read_from_its_logs(tmp_path: Path) -> None:
    rows = {"rows_per_step": 8, "rows_at_once": 4, "compile": ""}
    write(tmp_path, "03_student", rows, [9.0, 10.0, 11.0, 30.0, 31.0])
    sampled = {"samples": 8, "sequences_at_once": 24, "max_new": 10}
    write(tmp_path, "05_student", {"groups_per_step": 4, "groups_at_once": 2, **sampled}, [2.0, 4.0, 6.0], GPU)
    first, last = training_cost.of_run(tmp_path)
    assert first.step == replace(STEP, at_once=2048), "width and positions with padding"
    assert (first.steps, first.seconds, first.hardware) == (5, 5.0, "Abacus"), "the median step; pauses do not count"
    assert math.isnan(first.peak_gb) and not first.beside, "a log of a version that did not look"
    assert last.step.sampled == 20, "two batches of max_new, as no longest answer was logged"
    log = tmp_path / "05_student" / "steps.csv"
    log.write_text(
        pd.read_csv(log).assign(longest=[3, 7, 5], tokens=[900, 100, 200], prompt=[50, 90, 70]).to_csv(index=False)
    )
    shorter = training_cost.of_run(tmp_path)[-1].step
    assert shorter.sampled == 10 and shorter.most == 450 / training_cost.FILLED, "half a step's groups pass at once"
    assert shorter.peak_bytes > replace(shorter, most=0.0).peak_bytes
    assert math.isnan(last.step.peak_gb) and shorter.peak_gb == shorter.peak_bytes / 1e9, "no prompt was logged"
    assert shorter.held == 24 * 100, "the longest prompt and max_new, for each answer that is sampled at a time"
    weights = 18 * SMALL.weights + 6 * SMALL.weights
    assert replace(shorter, held=1e6).peak_bytes == weights + 1.75 * SMALL.kv_bytes(1e6)
    assert last.step.assistant == last.step.student == SMALL
    assert (last.hardware, last.peak_gb, last.beside) == (GPU, 3.0, "another process on this GPU")
    assert math.isclose(last.step.positions, 900 / training_cost.FILLED)
    write(tmp_path, "04_student", {**rows, "assistant": "4f"}, [2.0])
    with pytest.raises(ValueError, match="no 03_assistant in the run, which it is distilled from: run part 3"):
        training_cost.of_run(tmp_path)
    write(tmp_path, "03_assistant", rows, [2.0])
    assert training_cost.of_run(tmp_path)[2].step.assistant == SMALL
    (tmp_path / "04_student" / "student.json").unlink()
    assert len(training_cost.of_run(tmp_path)) == 3
