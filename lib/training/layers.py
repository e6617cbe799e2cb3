"""How a student's layers are trained: some frozen, some adapted, some compiled, and the way back to a plain model.

Frozen lower layers run without recording gradients, so that they cost only their forward pass; the tied embedding
is then trained through the output alone. Adapters: Hu et al., *LoRA* (arXiv 2106.09685), put in place by ``peft``.

>>> prepare(model, SftParams.read({"max_steps": 1, "freeze_below": 18}))               # doctest: +SKIP
>>> sum(p.requires_grad for p in model.parameters())                                   # doctest: +SKIP
110
>>> restore(model)                                                                     # doctest: +SKIP
"""

from __future__ import annotations

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import LlamaForCausalLM

from lib.training import compiled_layers, qat
from lib.training.params import Training, TrainingError

ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def prepare(model: LlamaForCausalLM, params: Training) -> None:
    """Freezes and adapts ``model`` in place; on a CPU, plain attention is a third faster than torch's fused one.

    Attention is not left to cuDNN, here and for the rest of the process: it plans anew for every shape, and rows have
    many.

    Raises TrainingError for a model that cannot be rounded as asked.
    """
    model.requires_grad_(True)
    torch.backends.cuda.enable_cudnn_sdp(False)
    model.set_attn_implementation("sdpa" if torch.cuda.is_available() else "eager")
    if params.method == "lora":
        _adapt(model, params)
    try:
        qat.install(model, params.rounded)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    compiled_layers.install(model, params.compile)
    for layer in model.model.layers[: params.freeze_below]:
        layer.requires_grad_(False)
        layer.forward = torch.no_grad()(layer.forward)


def _adapt(model: LlamaForCausalLM, params: Training) -> None:
    """Adapters in the layers above the frozen ones; norms and the embedding are trained as they are."""
    layers = list(range(params.freeze_below, model.config.num_hidden_layers))
    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,  # type: ignore[arg-type]
        target_modules=ADAPTED,
        layers_to_transform=layers,
        layers_pattern="layers",
    )
    inject_adapter_in_model(config, model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name or "norm" in name or "embed_tokens" in name)


def restore(model: LlamaForCausalLM) -> None:
    """Merges adapters into the weights, rounds what was to be, and takes every other change of ``prepare`` back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    for layer in model.model.layers:
        layer.__dict__.pop("forward", None)
    qat.finish(model)
    compiled_layers.remove(model)
    for changed in ("peft_config", "forward"):
        model.__dict__.pop(changed, None)
    model.set_attn_implementation("sdpa")
    model.requires_grad_(True).eval()
