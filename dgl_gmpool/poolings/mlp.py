"""A network on every node, then a sum: the readout of dgllife's PAGTN, MGCN and SchNet."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int, unknown_name
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout
from dgl_gmpool.nn.segments import reduce

ACTIVATIONS: dict[str, type[nn.Module] | None] = {
    "none": None,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
}


class MLPReadout(Readout):
    """Two linear layers on every node, then the sum, mean or maximum over the nodes.

    As ``dgllife.model.MLPReadout``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    hidden_feats : int, optional
        Width of the hidden layer. Default D.
    out_feats : int, optional
        Width of the readout. Default D.
    activation : str or callable, optional
        After the hidden layer: ``"relu"`` (default), ``"tanh"``, ``"softplus"``,
        ``"leaky_relu"``, ``"none"`` or None, or a module.
    aggregate : str, optional
        ``"sum"`` (default), ``"mean"`` or ``"max"``.
    """

    def __init__(
        self,
        in_feats: int,
        *,
        hidden_feats: int | None = None,
        out_feats: int | None = None,
        activation: str | Callable[[Tensor], Tensor] | None = "relu",
        aggregate: str = "sum",
    ) -> None:
        super().__init__(in_feats)
        hidden = in_feats if hidden_feats is None else positive_int("hidden_feats", hidden_feats)
        out = in_feats if out_feats is None else positive_int("out_feats", out_feats)
        self.aggregate = check_choice("aggregate", aggregate, ("sum", "mean", "max"))
        self.in_project = nn.Linear(in_feats, hidden)
        if activation is None or isinstance(activation, str):
            name = "none" if activation is None else activation
            made = ACTIVATIONS[check_choice("activation", name, ACTIVATIONS)]
            activation = nn.Identity() if made is None else made()
        elif not callable(activation):
            raise unknown_name("activation", activation, ACTIVATIONS)
        self.activation = activation
        self.out_project = nn.Linear(hidden, out)

    @property
    def out_feats(self) -> int:
        return self.out_project.out_features

    def read(self, batch: GraphBatch) -> Reading:
        values = self.out_project(self.activation(self.in_project(batch.feat)))
        out, share = reduce(values, batch.segments, self.aggregate)
        return Reading(out, [share[:, None]])
