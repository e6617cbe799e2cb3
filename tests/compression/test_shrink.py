"""The command that makes compressed models: cut or rounded, each once, and what cannot be made is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_ablate import Shop
from test_ablate import params as data  # noqa: F401  (a profile's data)
from toy_model import saved_student

from lib.compression import shrink
from lib.core.files import sha256
from lib.data import study_data
from lib.model import student as students
from lib.training import distill, qat

TRAINING = {"row_tokens": 256, "learning_rate": 1.0e-3, "max_steps": 2, "precision": "fp32"}


@pytest.fixture
def params(data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:  # noqa: F811
    monkeypatch.setattr(shrink, "load", lambda name: Shop())
    saved_student(tmp_path / "runs" / "smoke" / "03_assistant", layers=3)
    models = {"narrow": {"shape": {"channels": 96, "measured": 4}}, "coarse": {"training": {"qat": "q4_0"}}}
    values = {"task": "vending", "run": "smoke", "assistant": "03_assistant", "key": "place", "held_out": 6}
    return {**values, "models": models, "training": TRAINING}


def call(params: dict[str, Any], tmp_path: Path, *arguments: str) -> int:
    file = tmp_path / "compress.yaml"
    file.write_text(yaml.safe_dump(params))
    return shrink.main(["--params", str(file), *arguments])


def test_models_are_cut_or_rounded_and_made_once(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "smoke"
    assert call(params, tmp_path) == 0
    said = capsys.readouterr().out
    assert "narrow, cut 1:" in said and "coarse:" in said
    narrow, coarse = students.load(run / "06_narrow").model, students.load(run / "06_coarse").model
    assert narrow.config.intermediate_size == 96 and (run / "06_narrow_pruned").is_dir()
    weight = coarse.model.layers[1].mlp.up_proj.weight.detach()
    torch.testing.assert_close(weight, qat.quantised(weight), rtol=2**-10, atol=1e-7)
    made = {name: sha256(run / f"06_{name}") for name in params["models"]}

    def never(*arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(distill, "train", never)
    monkeypatch.setattr("lib.compression.iterate.distill", never)
    assert call(params, tmp_path) == 0
    assert {name: sha256(run / f"06_{name}") for name in params["models"]} == made


def test_one_of_them_alone(params: dict[str, Any], tmp_path: Path) -> None:
    assert call(params, tmp_path, "--only", "coarse") == 0
    assert not (tmp_path / "runs" / "smoke" / "06_narrow").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"assistant": ""}, "assistant: missing"),
        ({"key": ""}, "key: missing"),
        ({"models": {"same": {}}}, "models: same: neither cut nor rounded"),
        ({"models": {"odd": {"shape": {"chanels": 3}}}}, "unknown key 'chanels'"),
        ({"models": {"odd": {"training": {"qat": "q3"}}}}, "models: odd: qat: "),
        ({"run": "gpuu"}, "unknown profile 'gpuu'"),
    ],
)
def test_bad_parameters_are_named(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    assert call({**params, **change}, tmp_path) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "smoke").glob("06_*"))


def test_unknown_names_and_missing_data_are_named(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(params, tmp_path, "--only", "narow") == 1
    assert "no model 'narow'; known: coarse, narrow" in capsys.readouterr().err
    (tmp_path / "runs" / "smoke" / study_data.ACCEPTED).unlink()
    assert call(params, tmp_path) == 1
    assert "run notebooks 01 and 02" in capsys.readouterr().err
