"""Set Transformer as a readout."""

from __future__ import annotations

from dgl import DGLGraph
from dgl.nn.pytorch import SetTransformerDecoder, SetTransformerEncoder
from torch import Tensor

from dgl_gmpool._options import positive_int, probability
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout
from dgl_gmpool.nn.structure import GraphStructure


class SetTransformerReadout(Readout):
    """Self-attention among the nodes of a graph, then attention from k learned seeds.

    Lee et al., "Set Transformer" (2019): ``dgl.nn.SetTransformerEncoder`` followed by
    ``dgl.nn.SetTransformerDecoder``. Every node attends to every other, so it is the most expensive
    readout here, and it has no single weight per node.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width k D.
    k : int, optional
        Number of seeds, at least 2 (with one, its attention would not be trained). Default 2.
    n_heads : int, optional
        Attention heads, each of width D / n_heads rounded up. Default 4.
    n_layers : int, optional
        Layers of the encoder and of the decoder. Default 1.
    dropout : float, optional
        Default 0.
    """

    def __init__(
        self,
        in_feats: int,
        *,
        k: int = 2,
        n_heads: int = 4,
        n_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_feats)
        self.k = positive_int("k", k)
        if k < 2:
            raise ValueError(
                "k is 1; give 2 or more seeds, one alone leaves its attention untrained"
            )
        positive_int("n_heads", n_heads)
        positive_int("n_layers", n_layers)
        probability("dropout", dropout)
        head = -(-in_feats // n_heads)
        sizes = dict(d_ff=2 * in_feats, n_layers=n_layers, dropouth=dropout, dropouta=dropout)
        self.encoder = SetTransformerEncoder(in_feats, n_heads, head, **sizes)
        self.decoder = SetTransformerDecoder(in_feats, n_heads, head, k=k, **sizes)
        # DGL draws only some of its parameters here; this way a reset gives the same distribution.
        self.reset_parameters()

    @property
    def out_feats(self) -> int:
        return self.k * self.in_feats

    def forward(
        self,
        graph: DGLGraph | GraphStructure,
        feat: Tensor,
        get_node_weight: bool = False,
        **options: Tensor | None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph; as for the other readouts, but without node weights."""
        if get_node_weight:
            raise ValueError(
                "set_transformer mixes nodes before it pools them, so no node has a weight of its "
                "own; take attention, set2set, gmpool or ngmpool to see node weights"
            )
        return super().forward(graph, feat, False, **options)

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        sizes = _BatchSizes(segments.counts)
        return Reading(self.decoder(sizes, self.encoder(sizes, feat)), [])


class _BatchSizes:
    """All that DGL's set transformer asks of a graph."""

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts
        self.batch_size = counts.shape[0]

    def batch_num_nodes(self) -> Tensor:
        return self._counts
