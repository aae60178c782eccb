"""Other ways to exchange than after each layer, for ``experiments.exchange --variants``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.exchange import ExchangeStep, diffusion_shares
from dgl_gmpool.nn.locality import Diffusion
from dgl_gmpool.nn.ragged import RaggedLayout


class _NoStep(nn.Module):
    """Stands where atoms do not exchange."""

    def forward(self, feat: Tensor, layout: RaggedLayout, shares: list[Tensor]) -> Tensor:
        return feat


class TwoTimesStep(ExchangeStep):
    """An exchange with two heads: half of its channels go by half the time, half by a quarter."""

    def forward(self, feat: Tensor, layout: RaggedLayout, shares: list[Any]) -> Tensor:
        back = []
        for (half, early), block in zip(shares, layout.blocks(self.to_groups(feat))):
            parts = zip((half, early), block.chunk(2, dim=-1))
            back.append(torch.cat([P @ torch.relu(P @ part) for P, part in parts], dim=-1))
        return feat + self.norm(self.to_nodes(layout.rows(back)))


def after_the_last(model: MoleculePredictor) -> None:
    """Exchange once, behind the last layer."""
    for step in range(len(model.exchange_steps) - 1):
        model.exchange_steps[step] = _NoStep()


def before_the_last(model: MoleculePredictor) -> None:
    """Exchange between layers, and not behind the last."""
    model.exchange_steps[-1] = _NoStep()


def two_times(model: MoleculePredictor) -> None:
    """Two heads, of half and of a quarter of the time, in every exchange."""
    for at, step in enumerate(model.exchange_steps):
        heads = TwoTimesStep(cast(ExchangeStep, step).to_groups.in_features)
        heads.load_state_dict(step.state_dict())
        model.exchange_steps[at] = heads
    model._exchange = partial(_with_two_shares, model._exchange)  # type: ignore[method-assign]


def _with_two_shares(exchange: Callable[..., Any], *given: Any) -> Any:
    """The model's own way to exchange, by the shares of two times."""
    with patch("dgl_gmpool.models.predictor.diffusion_shares", _two_shares):
        return exchange(*given)


def _two_shares(
    locality: Diffusion, batch: GraphBatch, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor]]:
    halves = diffusion_shares(locality, batch, dtype)
    # The diffusion of a batch is made once.
    return [(half, heat.early.to(half.dtype)) for half, heat in zip(halves, locality(batch, dtype))]


#: What each does to the network of the arm ``after_layers``.
VARIANTS: dict[str, Callable[[MoleculePredictor], None]] = {
    "after_the_last": after_the_last,
    "before_the_last": before_the_last,
    "two_times": two_times,
}
