"""One model in several processes: the same weights, the gradient of the whole batch."""

from __future__ import annotations

import inspect
from functools import cache, partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.nn.readout import collect_losses
from dgl_gmpool.training.batches import Batch
from dgl_gmpool.training.distributed import PATIENCE, World

# Buffers are averaged once an epoch instead. Newer versions of torch have a new name for this.
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_NO_SYNC: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers": False
}


class SharedModel(nn.Module):
    """A model whose call returns all that the loss is made of, also for a batch without rows.

    ``DistributedDataParallel`` finds the parameters in use through what a call returns, and some
    of a pooling's parameters act on its auxiliary losses only. A process without rows (there are
    more processes than rows in a last batch) has nothing to compute but must take part in the sum
    of the gradients, and in the readout's normalisation over all rows: its result hangs on
    ``stand_in``, which is no parameter of the model.

    Parameters
    ----------
    model : MoleculePredictor
    """

    def __init__(self, model: MoleculePredictor) -> None:
        super().__init__()
        self.model = model
        # Unused in every other call, so that DistributedDataParallel, told to look for unused
        # parameters, never warns that there are none.
        self.stand_in = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs ``(rows, n_tasks)`` and the auxiliary losses."""
        if batch is None:
            nothing = self.stand_in.expand(0, self.model.n_tasks)
            for norm in self.model.row_norms():
                rows = norm(self.stand_in.expand(0, norm.num_features))
                nothing = nothing + rows.sum()
            return nothing, {}
        with collect_losses() as losses:
            out = self.model(*batch)
        return out, losses


def share_model(model: MoleculePredictor, world: World, device: torch.device) -> nn.Module:
    """``SharedModel(model)``, with gradients averaged over the processes, and the readout
    normalised over the rows of all of them. Collective."""
    shared = SharedModel(model).to(device)
    if world.size == 1:
        return shared
    with world.answering():
        for norm in model.row_norms():
            norm.total = partial(_Total.apply, _statistics_group())
        return DistributedDataParallel(
            shared,
            # Molecules without bonds leave some weights unused. It also keeps the gradients in
            # one order from the first step on, so a resumed run adds them up in the same order.
            find_unused_parameters=True,
            process_group=_gradient_group(device.type),
            **_NO_SYNC,
        )


def release_model(model: MoleculePredictor) -> None:
    """The model alone again, after :func:`share_model`."""
    for norm in model.row_norms():
        norm.total = None


class _Total(torch.autograd.Function):
    """Sum over the processes of a group that talks through the CPU; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, group: Any, part: Tensor) -> Tensor:
        ctx.group = group
        return _sum_over(part, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, _Total.apply(ctx.group, grad)


def _sum_over(part: Tensor, group: Any) -> Tensor:
    whole = part.detach().cpu().clone()
    dist.all_reduce(whole, group=group)
    return whole.to(part.device)


def average_buffers(model: nn.Module, world: World) -> None:
    """Mean of the processes' floating-point buffers (a batch norm's statistics). Collective."""
    buffers = [each for each in model.buffers() if each.is_floating_point()]
    if world.size == 1 or not buffers:
        return
    # One message for all of them.
    flat = torch.cat([each.detach().cpu().double().flatten() for each in buffers])
    with world.answering():
        dist.all_reduce(flat)
    sizes = [each.numel() for each in buffers]
    for buffer, mean in zip(buffers, (flat / world.size).split(sizes)):
        buffer.copy_(mean.view(buffer.shape))


@cache
def _gradient_group(device_type: str) -> Any:
    """The default group talks through the CPU; gradients on a GPU stay there."""
    return dist.new_group(backend="nccl", timeout=PATIENCE) if device_type == "cuda" else None


@cache
def _statistics_group() -> Any:
    """A group of its own: gradients travel at the same time, in an order that may differ."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
