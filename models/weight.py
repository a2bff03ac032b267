"""The gate's weight: additive attention over gate features, e = v . tanh(W h), of every stream.

Additive attention: Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate",
2015, appendix A.1.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gating import GATE as LATCH
from models.gating import INPUTS

HIDDEN = 16


class WeightModel(nn.Module):
    """The attention a stream deserves, as a raw logit: comparable between all streams of a process."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(INPUTS, HIDDEN)
        self.match = nn.Linear(HIDDEN, HIDDEN)
        self.v = nn.Linear(HIDDEN, 1)
        self._rank_by_latch()

    def forward(self, features: Tensor) -> Tensor:
        """Gate features f32 [n, 16] (models/gating.py, inputs) to logits f32 [n]."""
        matched: Tensor = torch.tanh(self.match(F.gelu(self.lift(features))))  # [n, HIDDEN]
        return F.linear(matched, self.v.weight, self.v.bias).reshape(-1)

    def _rank_by_latch(self) -> None:
        """Start as the gate ranks without training: unit 0 carries the latch, the others don't count yet."""
        with torch.no_grad():
            for layer in (self.lift, self.match):
                layer.weight[0].zero_()
                layer.bias[0].zero_()
            self.lift.weight[0, LATCH] = 1.0
            self.match.weight[0, 0] = 0.05  # the latch goes up to 50
            self.v.weight.zero_()
            self.v.weight[0, 0] = 1.0
            self.v.bias.zero_()
