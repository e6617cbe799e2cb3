"""A student for a GPU server: weights and activations of 8 bits, in the format that vLLM and transformers load.

    python -m lib.compression.compressed_tensors --model FOLDER_OR_GGUF --out FOLDER --scheme fp8

Each row of a matrix has a scale; activations get one a token while the server computes, so nothing is calibrated.
``fp8`` is E4M3 (Micikevicius et al., arXiv 2209.05433), for GPUs from Ada and Hopper on; ``int8`` as in *LLM.int8()*
(Dettmers et al., arXiv 2208.07339, section 2.1) without its outliers in 16 bits.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors import quantization as ct
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization.utils import calculate_qparams

from lib.core.files import replacing
from lib.model import student as students

SCHEMES = {"fp8": "FP8_DYNAMIC", "int8": "W8A8"}


def write(source: Path, folder: Path, scheme: str = "fp8") -> Path:
    """Writes the student at ``source`` (folder or GGUF), quantised by a scheme of SCHEMES, in place of ``folder``.

    Raises ValueError for weights that are not finite, or a ``source`` that is quantised already or the same as
    ``folder``; StudentError or GgufError for one that cannot be read.
    """
    if source.resolve() == folder.resolve():
        raise ValueError(f"{folder}: the same as the model: give another folder for the result")
    student = students.load(source)
    if getattr(student.model.config, "quantization_config", None):
        raise ValueError(f"{source}: quantised already: give the student that was trained, or its GGUF")
    if bad := [name for name, weights in student.model.named_parameters() if not torch.isfinite(weights).all()]:
        raise ValueError(f"{source}: '{bad[0]}' has values that are not finite: train the model again")
    model: Any = student.model
    _quantise(model.to(torch.bfloat16), scheme)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    with replacing(folder) as part:
        part.mkdir()
        students.write(student, part)
        compressor.update_config(str(part))
    return folder


def _quantise(model: Any, scheme: str) -> None:
    """Attaches the scheme to all matrices but the embedding, which is also the output layer."""
    groups = {"group_0": ct.preset_name_to_scheme(SCHEMES[scheme], ["Linear"])}
    config = ct.QuantizationConfig(config_groups=groups, ignore=["lm_head"])
    ct.apply_quantization_config(model, config, show_progress=False)
    for layer in model.modules():
        if hasattr(layer, "quantization_scheme"):
            weight = layer.weight.data
            least, most = weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True)
            scale, zero = calculate_qparams(least, most, layer.quantization_scheme.weights)
            layer.weight_scale.data = scale.to(layer.weight_scale)
            layer.weight_zero_point.data = zero.to(layer.weight_zero_point)
            layer.quantization_status = ct.QuantizationStatus.FROZEN


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.compression.compressed_tensors")
    parser.add_argument("--model", type=Path, required=True, help="a student's folder or GGUF")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--scheme", choices=SCHEMES, default="fp8")
    options = parser.parse_args(arguments)
    try:
        folder = write(options.model, options.out, options.scheme)
    except ValueError as error:
        print(f"compressed_tensors: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
