"""How a model is made ready for a training, and made plain again: adapters, quantisation, compiled layers, attention.

Adapters: Hu et al., *LoRA* (arXiv 2106.09685), by ``peft``. A packed row holds requests that do not see each other, so
most 128 by 128 blocks of its attention are empty; flex attention (Dong et al., arXiv 2412.05496) skips them.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, LlamaForCausalLM

from lib.training.params import Training, TrainingError
from lib.training.qat import Quantiser

ALIGN = 256  # the width of a batch for compiled layers is a multiple of this, since each new width is compiled
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FLEX = "packed_flex"


class Prepared:
    """``model`` changed in place as a training's parameters say, until ``restore``."""

    def __init__(self, model: LlamaForCausalLM, params: Training) -> None:
        """Raises TrainingError for a model that cannot be quantised as asked."""
        self.model: Any = model.requires_grad_(True)
        self.adapted = _adapt(model, params.lora_rank) if params.method == "lora" else None
        try:
            self.quantiser = Quantiser(model, getattr(params, "qat", ""))
        except ValueError as error:
            raise TrainingError(str(error)) from error
        accelerate_layers(model, getattr(params, "compile", ""))

    def restore(self) -> None:
        """Merges adapters, quantises for good what was quantised in training, and takes all other changes back."""
        if self.adapted:
            self.adapted.merge_and_unload()
        self.quantiser.quantise()
        accelerate_layers(self.model, "")


def _adapt(model: LlamaForCausalLM, rank: int) -> Any:
    """Adds adapters to ``model`` in place; norms and the embedding are trained as they are. Returns peft's model."""
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED))
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name or "norm" in name or "embed_tokens" in name)
    return adapted


def accelerate_layers(model: Any, compile: str) -> None:
    """Sets the attention that is fastest here, and compiles layers ("layers") or layers and attention ("flex").

    On a CPU plain attention is faster than torch's fused one. cuDNN is left out, since it plans anew for every shape.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    plain = "sdpa" if torch.cuda.is_available() else "eager"
    model.set_attn_implementation(FLEX if compile == "flex" else plain)
    for layer in model.model.layers:
        layer.__dict__.pop("forward", None)
        if compile:
            layer.forward = torch.compile(layer.forward)


def attention_mask(model: Any, seen: Tensor, dtype: torch.dtype) -> Any:
    """A bool mask (rows, 1, tokens, tokens) as the model's attention reads it."""
    attention = model.config._attn_implementation
    if attention == FLEX:
        rows, _, width, _ = seen.shape
        return create_block_mask(lambda b, h, q, k: seen[b, 0, q, k], rows, None, width, width, str(seen.device))
    if attention != "eager":
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: BlockMask, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out.

    Under autocast queries and keys come in fp32 from their rotation and values in bf16; all are read in that.
    """
    copies = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(copies, 1), value.repeat_interleave(copies, 1)
    found = flex_attention(query.to(value.dtype), key.to(value.dtype), value, block_mask=attention_mask, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLEX, _attend)
