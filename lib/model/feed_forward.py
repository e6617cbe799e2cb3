"""Feed-forward layers that are not each layer's own: shared by neighbouring layers, or divided into experts.

- Shared (Thawakar et al., *MobiLlama*, arXiv 2402.16840, where all layers share one): the layers of a group of
  ``config.ffn_group`` have one module, so that storage and gradients are one, too. Files hold each tensor once.
- Experts (Cai et al., *Read-ME*, arXiv 2410.19123): an expert is some of each layer's units, and may have units that
  others have. One router decides for all layers, before the pass. It differs from the paper in that it decides once for
  a request and not for every token; what is read before the request runs under one mask, so that its keys and values
  can be kept for others; and it adds numbers that each token of the request has, where theirs is a small transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib.model.codec import IGNORED

FILE = "experts.safetensors"
PARTS = ("gate_proj", "up_proj", "down_proj")


def share(model: Any, group: int) -> None:
    """Each ``group`` neighbouring layers of ``model`` get the feed-forward layer of the first of them; 1: nothing."""
    if group == 1:
        return
    layers, tied = model.model.layers, dict(model._tied_weights_keys)
    for i, layer in enumerate(layers):
        if owner := i % group:
            layer.mlp = layers[i - owner].mlp
            names = {at: f"model.layers.{at}.mlp" for at in (i, i - owner)}
            tied |= {f"{names[i]}.{part}.weight": f"{names[i - owner]}.{part}.weight" for part in PARTS}
    model._tied_weights_keys, model.config.ffn_group = tied, group


class Experts(nn.Module):
    """A model's experts, which ``attach`` makes ``model.experts``; ``chosen``: the mask of every token, or of each."""

    masks: Tensor
    table: Tensor

    def __init__(self, masks: Tensor, table: Tensor) -> None:
        """``masks``: which units run, bool (1 + experts, layers, units), the first before the request.

        ``table``: what each token of a request adds to the router's logits, (vocabulary, experts).
        """
        super().__init__()
        self.register_buffer("masks", masks, persistent=False)
        self.register_buffer("table", table, persistent=False)
        self.chosen: int | Tensor = 0

    def attach(self, model: Any) -> None:
        for number, layer in enumerate(model.model.layers):
            layer.mlp.down_proj.register_forward_pre_hook(partial(self._cut, number))
        model.experts = self.to(model.device)

    def _cut(self, number: int, module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0] * self.masks[:, number][self.chosen],)

    @property
    def width(self) -> int:
        """How many units of a layer run."""
        return int(self.masks[0, 0].sum())

    def expert(self, request: Sequence[int]) -> int:
        """The mask for the token ids of a request, from 1 on."""
        return 1 + int(self.table[list(request)].sum(0).argmax())

    def use(self, request: Sequence[int] = ()) -> None:
        """All that is read from now on belongs to a request of these token ids; without any, stands before one."""
        self.chosen = self.expert(request) if request else 0

    def route(self, batch: dict[str, Any]) -> None:
        """Chooses for each token of a batch of packed rows (lib/training/packing.py), by the request it belongs to."""
        ids, segments = batch["input_ids"], batch["segments"]
        rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        places = torch.stack([rows, batch["blocks"], segments], -1).flatten(0, 1)
        found, own = places.unique(dim=0, return_inverse=True)
        asked = ((segments > 0) & (batch["labels"] == IGNORED)).flatten()
        sums = self.table.new_zeros(len(found), self.table.shape[1])
        sums.index_add_(0, own[asked], self.table[ids.flatten()[asked]])
        self.chosen = torch.where(segments > 0, 1 + sums.argmax(-1)[own].view_as(ids), 0)

    def save(self, folder: Path) -> None:
        save_file({"masks": self.masks.cpu(), "table": self.table.cpu()}, folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises OSError or SafetensorError."""
        return cls(**load_file(folder / FILE))


class Weights(NamedTuple):
    """How many a model has, ``stored`` once each, and how many are ``active`` for a token, shared ones repeatedly."""

    stored: int
    active: int

    @classmethod
    def of(cls, model: Any) -> Self:
        """Units whose output is multiplied by zero alone do not count: files can leave them out."""
        mlps = [layer.mlp for layer in model.model.layers]
        units = {mlp: int((mlp.down_proj.weight != 0).any(0).sum()) for mlp in mlps}
        rest = sum(p.numel() for p in model.parameters()) - sum(p.numel() for mlp in units for p in mlp.parameters())
        experts = getattr(model, "experts", None)
        run = [experts.width if experts else units[mlp] for mlp in mlps]
        unit = len(PARTS) * model.config.hidden_size
        return cls(rest + unit * sum(units.values()), rest + unit * sum(run))
