"""What everything that reads a graph out shares: the call, the checks, the dtype, the losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.norm import statistics_kept
from dgl_gmpool.nn.structure import GraphStructure

_COLLECTED: ContextVar[dict[str, Tensor] | None] = ContextVar("losses", default=None)


@contextmanager
def collect_losses() -> Iterator[dict[str, Tensor]]:
    """Auxiliary losses of all readouts and poolings that are called inside the block, by name.

    They are scalars, weighted already; a trainer adds them to its own loss. What only looks
    (``groups``, ``spectrum``, ``grouping_matrices`` and the like) adds nothing. Calls under
    ``torch.no_grad`` add theirs, to be looked at, but for GMPool's ``fragment``: to predict needs
    no fragments.

    Examples
    --------
    >>> import dgl
    >>> from dgl_gmpool import get_readout
    >>> pool, g = get_readout("diffpool", in_feats=4), dgl.graph(([0, 1], [1, 0]))
    >>> with collect_losses() as losses:
    ...     out = pool(g, torch.randn(2, 4))
    >>> sorted(losses)
    ['DiffPool entropy', 'DiffPool link']
    >>> total = out.square().mean() + sum(losses.values())
    """
    losses: dict[str, Tensor] = {}
    token = _COLLECTED.set(losses)
    try:
        yield losses
    finally:
        _COLLECTED.reset(token)


def add_losses(owner: str, losses: dict[str, Tensor]) -> None:
    """Hand losses to the block of :func:`collect_losses` that is open, if one is."""
    collected = _COLLECTED.get()
    if collected is None:
        return
    for name, value in losses.items():
        key, number = f"{owner} {name}", 2
        while key in collected:  # a second level, or a second call
            key, number = f"{owner} {name} ({number})", number + 1
        collected[key] = value


@dataclass(frozen=True)
class Reading:
    """What a readout makes of a batch.

    Attributes
    ----------
    out : Tensor
        One vector per graph. Shape ``(B, out_feats)``.
    weights : list of Tensor
        What each node contributes, ``(N, 1)``: one tensor, or one for each round of attention.
    losses : dict of str to Tensor
        Auxiliary losses: weighted scalars.
    """

    out: Tensor
    weights: list[Tensor]
    losses: dict[str, Tensor] = field(default_factory=dict)


class Readout(nn.Module):
    """Base class of everything that reads graphs out. A subclass implements :meth:`read`.

    Computation is in the dtype of the parameters (at least float32 where there are none), whatever
    autocast is on; the result is in that of the features. A graph without nodes gives zeros: the
    batch that :meth:`read` gets has none.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    #: What ``repr`` says of it.
    shown: ClassVar[tuple[str, ...]] = ("in_feats", "out_feats")

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

    def read(self, batch: GraphBatch) -> Reading:
        """The readout of a batch in which every graph has nodes."""
        raise NotImplementedError

    def forward(
        self,
        graph: DGLGraph | GraphStructure,
        feat: Tensor,
        get_node_weight: bool = False,
        *,
        edge_weight: Tensor | None = None,
        conductance: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph.

        Parameters
        ----------
        graph : DGLGraph
            A graph or a batch of graphs. (Or a
            :class:`~dgl_gmpool.nn.structure.GraphStructure`, where several layers share what it
            holds.)
        feat : Tensor
            Node features. Shape ``(N, in_feats)``, floating point.
        get_node_weight : bool, optional
            Also return what each node contributes, as ``dgllife``'s AttentiveFP readout does.
        edge_weight : Tensor, optional
            The entries of A, one per edge, for poolings that look at edges. Shape ``(E,)``.
            Default: ones.
        conductance : Tensor, optional
            How well each edge conducts where groups are local. Shape ``(E,)``, >= 0. Default: the
            absolute value of ``edge_weight`` where that is given; without either, and not the same
            as ones, by the ways around the edge (:class:`~dgl_gmpool.nn.locality.Diffusion`).
        batch_num_nodes : Tensor, optional
            Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

        Returns
        -------
        Tensor
            Shape ``(B, out_feats)``; zeros for a graph without nodes. dtype of ``feat``.
        list of Tensor
            With ``get_node_weight``: one tensor ``(N, 1)`` (one for each round of attention, where
            there are rounds).

        Raises
        ------
        TypeError, ValueError
            On integer, misshapen or (on a CPU) non-finite features, and on batch information that
            does not fit the graph.
        """
        batch = self.batch(
            graph,
            feat,
            edge_weight=edge_weight,
            conductance=conductance,
            batch_num_nodes=batch_num_nodes,
        )
        with torch.autocast(feat.device.type, enabled=False):
            if len(batch.filled):
                reading = self.read(batch.without_empty())
            else:
                nothing = batch.feat.new_zeros(0, self.out_feats)
                reading = Reading(nothing, [batch.feat.new_zeros(0, 1)])
            out = reading.out
            if len(batch.filled) < len(batch):
                rows = batch.filled.to(out.device)
                out = out.new_zeros(len(batch), self.out_feats).index_copy(0, rows, out)
        add_losses(type(self).__name__, reading.losses)
        out = out.to(feat.dtype)
        if not get_node_weight:
            return out
        return out, [weight.to(feat.dtype) for weight in reading.weights]

    def batch(
        self, graph: DGLGraph | GraphStructure, feat: Tensor, **options: Tensor | None
    ) -> GraphBatch:
        """The arguments of :meth:`forward`, checked."""
        dtype = torch.float32
        if isinstance(feat, Tensor):
            own = (parameter.dtype for parameter in self.parameters())
            dtype = next(own, torch.promote_types(feat.dtype, torch.float32))
        return GraphBatch(graph, feat, width=self.in_feats, dtype=dtype, **options)

    @contextmanager
    def looking(self, feat: Tensor) -> Iterator[None]:
        """For calls that show what the module does, and must not change it."""
        with statistics_kept(self), torch.autocast(feat.device.type, enabled=False):
            yield

    def extra_repr(self) -> str:
        values = {name: getattr(self, name) for name in self.shown}
        # What is off is left out.
        held = {name: value for name, value in values.items() if value not in (None, False)}
        return ", ".join(f"{name}={value!r}" for name, value in held.items())
