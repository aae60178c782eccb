"""The network around the pooling, and its training: the same for every row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dgl
import torch
from dgl.nn.pytorch import GraphConv
from torch import Tensor, nn

from dgl_gmpool import GroupExchange
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.readout import collect_losses


@dataclass(frozen=True)
class Budget:
    """What a training may cost.

    Attributes
    ----------
    train, test : int
        Number of graphs.
    epochs, batch_size : int
    lr : float
        Of Adam; of its highest point where ``one_cycle``.
    one_cycle : bool
        Whether the learning rate rises and falls (Smith and Topin, 2018).
    """

    train: int
    test: int
    epochs: int
    lr: float
    batch_size: int = 32
    one_cycle: bool = False


class PlantedNetwork(nn.Module):
    """``dgl.nn.GraphConv`` layers, a pooling as readout, a head of two layers.

    Parameters
    ----------
    in_feats, out_feats : int
    pooling : callable
        ``pooling(width)`` makes the readout.
    layers : int
        Number of convolutions.
    hidden : int, optional
        Width of all that is between.
    residual : bool, optional
        Normalise, rectify and add up the states of each layer, and normalise the readout.
        Otherwise convolutions have a ReLU between them, and nothing else.
    exchange : str, optional
        Put a :class:`~dgl_gmpool.GroupExchange` after every ``"layer"``, or after the
        ``"network"``. Default: none.
    """

    def __init__(
        self,
        in_feats: int,
        out_feats: int,
        pooling: Callable[[int], nn.Module],
        *,
        layers: int,
        hidden: int = 32,
        residual: bool = False,
        exchange: str | None = None,
    ) -> None:
        super().__init__()
        widths = [in_feats] + [hidden] * layers
        self.convolutions = nn.ModuleList(map(GraphConv, widths[:-1], widths[1:]))
        self.norms = nn.ModuleList(RowNorm(hidden) for _ in range(layers if residual else 0))
        places = {None: (), "layer": range(layers), "network": (layers - 1,)}[exchange]
        self.exchanges = nn.ModuleDict({str(place): GroupExchange(hidden) for place in places})
        self.pool = pooling(hidden)
        width = int(self.pool.out_feats)  # type: ignore[arg-type]
        self.head = nn.Sequential(
            RowNorm(width) if residual else nn.Identity(),
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, out_feats),
        )

    def states(self, graph: dgl.DGLGraph) -> Tensor:
        """The node features that the pooling sees, ``(N, hidden)``."""
        feat = graph.ndata["h"]
        for index, layer in enumerate(self.convolutions):
            if not self.norms:
                feat = layer(graph, feat.relu() if index else feat)
            else:
                new = self.norms[index](layer(graph, feat)).relu()
                feat = feat + new if index else new
            if str(index) in self.exchanges:
                feat = self.exchanges[str(index)](graph, feat)
        return feat

    def forward(self, graph: dgl.DGLGraph) -> Tensor:
        """``(B, out_feats)``."""
        return self.head(self.pool(graph, self.states(graph)))


def batches(graphs: Sequence[dgl.DGLGraph], size: int) -> Iterator[dgl.DGLGraph]:
    """The graphs in order, batched."""
    for start in range(0, len(graphs), size):
        yield dgl.batch(graphs[start : start + size])


def fit(
    model: nn.Module,
    graphs: Sequence[dgl.DGLGraph],
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    budget: Budget,
) -> None:
    """Train with Adam on the loss and on the auxiliary losses of the pooling; ends in eval mode.

    The order of the batches is drawn from torch's generator: seed it before.
    """
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(parameters, budget.lr)
    steps = -(-len(graphs) // budget.batch_size) * budget.epochs
    schedule = None
    if budget.one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.lr, steps)
    model.train()
    for _ in range(budget.epochs):
        for rows in torch.randperm(len(graphs)).split(budget.batch_size):
            batch = dgl.batch([graphs[row] for row in rows.tolist()])
            with collect_losses() as extra:
                out = model(batch)
            total = loss(out, targets[rows]) + sum(extra.values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    model.eval()


@torch.no_grad()
def outputs(model: nn.Module, graphs: Sequence[dgl.DGLGraph], batch_size: int) -> Tensor:
    """``(graphs, out_feats)``."""
    return torch.cat([model(batch) for batch in batches(graphs, batch_size)])
