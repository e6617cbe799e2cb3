"""A student for a GPU server: weights and activations of 8 bits in the format that vLLM and transformers load.

Every matrix but the token embedding, which is also the output layer, keeps one byte a weight with a scale for each of
its rows; activations are rounded while the server computes, with a scale for each token, so that nothing needs to be
calibrated:

- ``fp8``: floating point of 8 bits (E4M3) on both sides (Micikevicius et al., *FP8 Formats for Deep Learning*, arXiv
  2209.05433, section 3); GPUs from Nvidia's Ada and Hopper on compute with it;
- ``int8``: whole numbers on both sides, scales by row and token as in Dettmers et al., *LLM.int8()* (arXiv 2208.07339,
  section 2.1, there called vector-wise), without its outliers in 16 bits; older GPUs compute with it too.

The folder is written with ``compressed-tensors``, the library of formats under llm-compressor. transformers reloads it;
without a GPU it computes with rounded numbers in fp32 or bf16 (``load``), which tells what the rounding costs.

``python -m lib.compression.compressed_tensors --model FOLDER_OR_GGUF --out FOLDER --scheme fp8``

>>> write(Path("runs/gpu/05_student"), Path("student-fp8"), "fp8")                    # doctest: +SKIP
>>> load(Path("student-fp8")).model.model.layers[0].mlp.up_proj.weight_scale.shape    # doctest: +SKIP
torch.Size([1536, 1])
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationStatus,
    apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams

from lib.model import student as students
from lib.model.student import Student

SCHEMES = {"fp8": "FP8_DYNAMIC", "int8": "W8A8"}
"""What compressed-tensors calls them."""
KEPT = "lm_head"
"""Stays in bf16: it is the embedding."""


class ServedError(ValueError):
    """A folder for a server that cannot be written or loaded; the message names it and the remedy."""


def write(source: Path, folder: Path, scheme: str = "fp8") -> Path:
    """Writes the student at ``source`` (folder or GGUF), rounded by ``scheme``, to ``folder``, replacing what is there.

    Raises ServedError for an unknown scheme, weights that are no numbers, or a ``source`` that is rounded already;
    StudentError or GgufError for one that cannot be read.
    """
    if scheme not in SCHEMES:
        raise ServedError(f"unknown scheme '{scheme}': use {' or '.join(SCHEMES)}")
    if is_served(source):
        raise ServedError(f"{source}: rounded for a server already: give the student that was trained, or its GGUF")
    if source.resolve() == folder.resolve():
        raise ServedError(f"{folder}: the same as the model: give another folder for the outcome")
    student = students.load(source)
    for name, weights in student.model.named_parameters():
        if not torch.isfinite(weights).all():
            raise ServedError(f"{source}: '{name}' has values that are no numbers: train the model again")
    _round(student.model, scheme)
    return _save(student, folder)


def _round(model: Any, scheme: str) -> None:
    """Attaches the scheme to all matrices but the embedding, with a scale for each row, from its largest weight."""
    model.to(torch.bfloat16)
    found = preset_name_to_scheme(SCHEMES[scheme], ["Linear"])
    config = QuantizationConfig(config_groups={"group_0": found}, ignore=[KEPT])
    apply_quantization_config(model, config, show_progress=False)
    for layer in model.modules():
        if hasattr(layer, "quantization_scheme"):
            weight = layer.weight.data
            least, most = weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True)
            scale, zero = calculate_qparams(least, most, layer.quantization_scheme.weights)
            layer.weight_scale.data = scale.to(layer.weight_scale)
            layer.weight_zero_point.data = zero.to(layer.weight_zero_point)
            layer.quantization_status = QuantizationStatus.FROZEN


def _save(student: Student, folder: Path) -> Path:
    """As lib.model.student.save does, with the scheme in config.json, where vLLM and transformers look for it."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    compressor = ModelCompressor.from_pretrained_model(student.model)
    compressor.compress_model(student.model)
    students.write(student, part)
    compressor.update_config(str(part))
    shutil.rmtree(folder, ignore_errors=True)
    return part.replace(folder)


def is_served(folder: Path) -> bool:
    """Whether a folder holds a model that ``write`` made, or one of that format."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (config.get("quantization_config") or {}).get("quant_method") == "compressed-tensors"


def load(folder: Path) -> Student:
    """The student as a server computes it, weights and activations rounded. Raises ServedError or StudentError."""
    if not is_served(folder):
        raise ServedError(
            f"{folder}: no model for a server: write one with python -m lib.compression.compressed_tensors"
        )
    return students.load(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.compression.compressed_tensors", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="a student's folder or GGUF")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--scheme", choices=SCHEMES, default="fp8")
    options = parser.parse_args(arguments)
    try:
        folder = write(options.model, options.out, options.scheme)
    except ValueError as error:
        print(f"served: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
