"""Top-K pooling (gPool) of Graph U-Nets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.poolings.selection import SelectionPooling


class TopKPool(SelectionPooling):
    r"""Keep the nodes whose features point most along a learned direction p.

    .. math:: s = X p / \lVert p \rVert, \quad X' = (X \odot \tanh s)_I, \quad A' = A_{I, I}

    with I the nodes of the highest s. Gao and Ji, "Graph U-Nets" (2019). Ranks, ties, faces and
    options: :class:`~dgl_gmpool.poolings.SelectionPooling`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        How many nodes to keep, and all that tie with the last of them. Default 10.
    ratio : float, optional
        Share of the nodes to keep, in (0, 1], instead of a fixed number.
    aggregate : str, optional
        How the readout reduces the nodes kept. Default ``"mean"``.

    Examples
    --------
    >>> import dgl
    >>> pool = TopKPool(2, num_clusters=1, aggregate="sum")
    >>> with torch.no_grad():
    ...     _ = pool.weight.copy_(torch.tensor([[2., 0.]]))
    >>> pool(dgl.graph(([0], [1])), torch.tensor([[50., 3.], [20., 4.]])).tolist()
    [[50.0, 3.0]]
    """

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        ratio: float | None = None,
        aggregate: str = "mean",
    ) -> None:
        super().__init__(in_feats, num_clusters=num_clusters, ratio=ratio, aggregate=aggregate)
        self.weight = nn.Parameter(torch.empty(1, in_feats))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw p uniformly."""
        bound = self.in_feats**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def score(self, batch: GraphBatch) -> Tensor:
        norm = self.weight.norm().clamp(min=torch.finfo(self.weight.dtype).tiny)
        return batch.feat @ (self.weight / norm)[0]
