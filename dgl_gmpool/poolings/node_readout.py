"""What the readouts of DGL and dgllife share here: checks, dtypes, empty graphs, node weights."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.graph_batch import check_features, node_counts
from dgl_gmpool.nn.segments import Segments


class NodeReadout(nn.Module):
    """Base class of readouts that need nothing but node features and node counts.

    A subclass computes in :meth:`read`. Its parameters keep the names they have in DGL or dgllife,
    so a state_dict of the original loads. Computation is in the dtype of the parameters (float32
    at least, whatever autocast is on), the result in that of the features. A graph without nodes
    gives zeros; the originals give NaN, an error, or what their bias makes of nothing.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__()
        self.in_feats = positive_int("in_feats", in_feats)

    @property
    def out_feats(self) -> int:
        """Width of the readout."""
        return self.in_feats

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        for module in reversed(list(self.modules())):
            reset = getattr(module, "reset_parameters", None)
            if module is not self and callable(reset):
                reset()

    def read(self, feat: Tensor, segments: Segments) -> tuple[Tensor, list[Tensor]]:
        """The readout ``(B, out_feats)`` and the node weights, ``(N, 1)`` each."""
        raise NotImplementedError

    def forward(
        self,
        graph: DGLGraph,
        feat: Tensor,
        get_node_weight: bool = False,
        *,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph.

        Parameters
        ----------
        graph : DGLGraph
            A graph or a batch of graphs.
        feat : Tensor
            Node features. Shape ``(N, in_feats)``, floating point.
        get_node_weight : bool, optional
            Also return the weights that the readout gives to nodes.
        batch_num_nodes : Tensor, optional
            Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

        Returns
        -------
        Tensor
            Shape ``(B, out_feats)``; zeros for a graph without nodes. dtype of ``feat``.
        list of Tensor
            With ``get_node_weight``: ``(N, 1)`` for each round of attention; one where there are
            no rounds.

        Raises
        ------
        TypeError, ValueError
            On integer, misshapen or non-finite features, and on batch information that does not
            fit the graph.
        """
        check_features(feat, self.in_feats, graph, batch_num_nodes)
        # Where the graph is, not the features: which graphs are empty is asked of no GPU then.
        counts = node_counts(graph, feat, batch_num_nodes)
        filled = (counts > 0).nonzero()[:, 0]
        with torch.autocast(feat.device.type, enabled=False):
            # Empty graphs are left out, so that no readout has to know about them.
            segments = Segments(counts[filled].to(feat.device), feat.shape[0])
            if len(segments):
                found, weights = self.read(feat.to(self._dtype(feat)), segments)
            else:
                found, weights = feat.new_zeros(0, self.out_feats), [feat.new_zeros(0, 1)]
            out = found.new_zeros(len(counts), self.out_feats)
            out = out.index_copy(0, filled.to(feat.device), found)
        out = out.to(feat.dtype)
        if not get_node_weight:
            return out
        return out, [weight.to(feat.dtype) for weight in weights]

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, out_feats={self.out_feats}"

    def _dtype(self, feat: Tensor) -> torch.dtype:
        for parameter in self.parameters():
            return parameter.dtype
        return torch.promote_types(feat.dtype, torch.float32)
