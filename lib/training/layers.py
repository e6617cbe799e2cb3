"""How a model is made ready for a training, and made plain again: adapters, quantisation, compiled layers, attention.

- Adapters: Hu et al., *LoRA* (arXiv 2106.09685), by ``peft``.
- Quantisation-aware training with the straight-through estimator (Bengio et al., arXiv 1308.3432; Jacob et al., arXiv
  1712.05877, section 3): the loss is that of the quantised weights, the optimiser moves the exact ones. Quantised
  weights are a fixed point of llama.cpp's q4_0, so a file holds exactly what was trained.
- Flex attention (Dong et al., arXiv 2412.05496) skips the 128 by 128 blocks of a packed row's attention that are empty,
  which most are, since the requests of a row do not see each other.

>>> quantised(Tensor([[-8.0, 3.2, 7.6] + [0.0] * 29]))[0, :3].tolist()
[-8.0, 3.0, 7.0]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, LlamaForCausalLM

from lib.model.codec import IGNORED
from lib.model.gguf_read import BLOCK
from lib.training.packing import visible
from lib.training.params import Training, TrainingError

ALIGN = 256  # the width of a batch for compiled layers is a multiple of this, since each new width is compiled
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FLEX = "packed_flex"


class Prepared:
    """``model`` changed in place as a training's parameters say, until ``restore``."""

    def __init__(self, model: LlamaForCausalLM, params: Training) -> None:
        """Raises TrainingError for a model that cannot be quantised as asked."""
        self.model: Any = model.requires_grad_(True)
        self.adapted: Any = None
        if params.method == "lora":  # norms and the embedding are trained as they are
            config = LoraConfig(r=params.lora_rank, lora_alpha=2 * params.lora_rank, target_modules=ADAPTED)
            self.adapted = get_peft_model(model, config)
            for name, weight in model.named_parameters():
                weight.requires_grad_("lora_" in name or "norm" in name or "embed_tokens" in name)
        qat = getattr(params, "qat", "")
        modules = [*self.model.model.layers.modules()] if qat else []
        modules += [self.model.model.embed_tokens] if qat.endswith("embedding") else []
        self.coarse = [m.weight for m in modules if isinstance(m, nn.Linear | nn.Embedding)]
        if odd := [w.shape[1] for w in self.coarse if w.shape[1] % BLOCK]:
            raise TrainingError(f"qat: a matrix of {odd[0]} columns; q4_0 needs multiples of {BLOCK}: set ffn_width")
        accelerate_layers(model, getattr(params, "compile", ""))
        if params.update == "forward":  # fused attention has no forward-mode derivative
            self.model.set_attn_implementation("eager")

    @contextmanager
    def quantised(self) -> Iterator[None]:
        """Within it the weights are quantised as ``qat`` says; afterwards they are exact again, and gradients stay."""
        exact = self._quantise()
        try:
            yield
        finally:
            self._fill(exact)

    def _quantise(self) -> Tensor:
        """Quantises all weights at once, since a GPU waits for many small operations; returns them as they were."""
        if not self.coarse:
            return torch.empty(0)
        exact = torch.cat([weight.detach().view(-1, BLOCK) for weight in self.coarse])
        self._fill(quantised(exact))
        return exact

    def _fill(self, blocks: Tensor) -> None:
        sizes = [weight.numel() // BLOCK for weight in self.coarse]
        for weight, values in zip(self.coarse, blocks.split(sizes) if sizes else (), strict=True):
            weight.data.copy_(values.view_as(weight))

    def restore(self) -> None:
        """Merges adapters, quantises for good what was quantised in training, and takes all other changes back."""
        if self.adapted:
            self.adapted.merge_and_unload()
        self._quantise()
        accelerate_layers(self.model, "")


def quantised(weight: Tensor) -> Tensor:
    """``weight`` (rows, columns) as q4_0 holds it: of each block the largest is on level -8 of 16, fp32 in and out."""
    blocks = weight.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (largest / -8).half().float()
    levels = (blocks / scale).nan_to_num(0.0, 0.0, 0.0).round().clamp(-8, 7)
    return (levels * scale).view_as(weight)


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


def answer_logits(model: Any, inputs: dict[str, Any], bf16: bool = False) -> tuple[Tensor, Tensor]:
    """Logits for each answer token of a batch of rows, (answer tokens, vocabulary) in fp32, and those tokens.

    ``model``: a Llama, plain or wrapped by a trainer. Other positions get no logits. ``bf16``: the pass runs in it. The
    mask is kept in ``inputs`` for the next model that reads the batch.
    """
    following = inputs["labels"][:, 1:]
    answers = following != IGNORED
    llama = next(module for module in model.modules() if isinstance(module, LlamaForCausalLM))
    kept = f"{llama.config._attn_implementation} mask"
    if kept not in inputs:
        seen = visible(inputs["blocks"], inputs["segments"])
        inputs[kept] = attention_mask(llama, seen, torch.bfloat16 if bf16 else torch.float32)
    experts = getattr(llama, "experts", None)
    if experts:
        experts.route(inputs)
    chosen = llama.lm_head.register_forward_pre_hook(lambda _, given: given[0][:, :-1][answers])
    try:
        with torch.autocast(following.device.type, torch.bfloat16, enabled=bf16):
            ids, positions = inputs["input_ids"], inputs["position_ids"]
            logits = model(input_ids=ids, attention_mask=inputs[kept], position_ids=positions, use_cache=False).logits
    finally:
        chosen.remove()
        if experts:
            experts.use()
    return logits.float(), following[answers]


def of_answers(inputs: dict[str, Any], name: str) -> Tensor:
    """What a batch says under ``name``, (rows, tokens), of the tokens that ``answer_logits`` is about."""
    found: Tensor = inputs[name][:, 1:][inputs["labels"][:, 1:] != IGNORED]
    return found


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: BlockMask, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out.

    Under autocast queries and keys come in fp32, values in bf16; all are read in bf16.
    """
    copies = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(copies, 1), value.repeat_interleave(copies, 1)
    found = flex_attention(query.to(value.dtype), key.to(value.dtype), value, block_mask=attention_mask, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLEX, _attend)
