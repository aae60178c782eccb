"""Other ways to exchange than the default's, for ``python -m experiments.exchange --variants``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.exchange import ExchangeStep
from dgl_gmpool.nn.locality import Diffusion
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.structure import GraphStructure


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
    model._exchange = partial(_exchange_of_two_times, model)  # type: ignore[method-assign]


def _exchange_of_two_times(
    model: MoleculePredictor,
    structure: GraphStructure,
    node_feats: Tensor,
    conductance: Tensor | None,
) -> Callable[[int, Tensor], Tensor]:
    locality = cast(Diffusion, model.poolings[0].locality)
    batch = GraphBatch(
        structure,
        node_feats,
        width=node_feats.shape[1],
        dtype=locality.log_time.dtype,
        conductance=conductance,
    ).without_empty()
    shares = []
    for heat in locality(batch, compute_dtype(node_feats.device)):
        size = heat.half.sum(-1, keepdim=True)
        half = heat.half / size.clamp(min=torch.finfo(size.dtype).tiny ** 0.5)
        shares.append((half.to(node_feats.dtype), heat.early.to(node_feats.dtype)))

    def exchange(step: int, values: Tensor) -> Tensor:
        return cast(Tensor, model.exchange_steps[step](values, batch.layout, shares))

    return exchange


#: What each does to the network of the arm ``default``.
VARIANTS: dict[str, Callable[[MoleculePredictor], None]] = {
    "after_the_last": after_the_last,
    "before_the_last": before_the_last,
    "two_times": two_times,
}
