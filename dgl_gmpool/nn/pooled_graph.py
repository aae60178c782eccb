"""The result of a pooling: the coarsened batch, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.checks import check_floating
from dgl_gmpool.nn.coarsen import lift, normalise_edge_weight
from dgl_gmpool.nn.counting import Spectrum
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.structure import edge_ends


class Origin(Protocol):
    """How coarse nodes follow from the original ones."""

    def lift(self, feat: Tensor, inverse: bool) -> Tensor:
        """Coarse features ``(sum K_b, D)`` on the original nodes, ``(N, D)``."""

    def spectrum(self) -> Spectrum:
        """The number of clusters of each graph, and more."""


@dataclass(frozen=True)
class AssignmentOrigin:
    """X' = S' X with one assignment matrix S per graph."""

    assignment: Assignment
    layout: RaggedLayout
    coarse: RaggedLayout
    #: Of the figures of the spectrum.
    dtype: torch.dtype

    def lift(self, feat: Tensor, inverse: bool) -> Tensor:
        return lift(self.layout, self.coarse, self.assignment.blocks, feat, inverse=inverse)

    def spectrum(self) -> Spectrum:
        return self.assignment.spectrum(self.layout, self.dtype, self.layout.position.device)


@dataclass(frozen=True, repr=False, eq=False)
class PooledGraph:
    """A coarsened batch of graphs (eq. 13-15), the same for every pooling.

    It can be copied, pickled and moved; what is copied or pickled has no gradients.

    Attributes
    ----------
    graph : DGLGraph
        The coarse graphs as one batch, with ``batch_num_nodes`` and ``batch_num_edges`` set. One
        edge for every entry of A' that is not negligible, self-loops (edges inside a group)
        included. Id type and device are those of the input.
    feat : Tensor
        X' = S' X. Shape ``(sum K_b, D)``.
    edge_weight : Tensor
        The entries of A' = S' A S, one per edge. Shape ``(E',)``.
    edge_feat : Tensor or None
        The entries of E' = S' E S, one row per edge. Shape ``(E', De)``.
    conv_weight : Tensor
        What to hand a ``dgl.nn`` layer: the entries of A', in absolute values and symmetrically
        normalised, all positive. Shape ``(E',)``.
    num_clusters : Tensor
        Number of clusters of each graph, see :class:`~dgl_gmpool.nn.counting.Spectrum`. Shape
        ``(B,)``, int64. This and the next three are computed when first read, without gradients:
        they may take eigenvalues.
    soft_count : Tensor
        sum_i 1 / (M 1)_i, see :class:`~dgl_gmpool.nn.counting.Spectrum`. Shape ``(B,)``.
    effective_rank : Tensor
        exp(entropy of the normalised eigenvalues of M, or of S S'). Shape ``(B,)``.
    negative_share : Tensor
        Share of the spectrum of the grouping matrix that was negative and had to be cut off to
        take a root; 0 for poolings without a grouping matrix. Shape ``(B,)``.
    losses : dict of str to Tensor
        Auxiliary losses of the pooling, weighted scalars; often empty.
    """

    graph: DGLGraph
    feat: Tensor
    edge_weight: Tensor
    edge_feat: Tensor | None
    origin: Origin
    losses: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def conv_weight(self) -> Tensor:
        weight = normalise_edge_weight(self.graph, self.edge_weight.abs())
        # What underflows is still an edge, and layers refuse a weight of 0.
        return weight.clamp(min=torch.finfo(weight.dtype).tiny)

    @property
    def num_clusters(self) -> Tensor:
        return self._spectrum.num_clusters

    @property
    def soft_count(self) -> Tensor:
        return self._spectrum.soft_count

    @property
    def effective_rank(self) -> Tensor:
        return self._spectrum.effective_rank

    @property
    def negative_share(self) -> Tensor:
        return self._spectrum.negative_share

    @cached_property
    def _spectrum(self) -> Spectrum:
        with torch.no_grad():
            return self.origin.spectrum()

    def lift(self, feat: Tensor, *, inverse: bool = False) -> Tensor:
        """Coarse features back on the original nodes, S X'.

        Parameters
        ----------
        feat : Tensor
            One row per coarse node. Shape ``(sum K_b, D)``, any D.
        inverse : bool, optional
            Lift by the pseudo-inverse of S' instead, S (S' S)^+ X': what is constant in each group
            comes back as it was, but for what S all but loses; see
            :func:`~dgl_gmpool.nn.coarsen.lift`. Default False.

        Returns
        -------
        Tensor
            Shape ``(N, D)``, dtype of ``feat``.

        Raises
        ------
        TypeError
            If ``feat`` is no floating-point tensor: integers would cut S down to zeros and ones.
        ValueError
            If it does not have one row per coarse node.
        """
        check_floating("feat", feat)
        if feat.dim() != 2 or feat.shape[0] != self.graph.num_nodes():
            raise ValueError(
                f"feat has shape {tuple(feat.shape)}; expected one row for each of the "
                f"{self.graph.num_nodes()} coarse nodes"
            )
        return self.origin.lift(feat, inverse)

    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """Padded to the largest graph, for networks in the style of DiffPool.

        Returns
        -------
        Tensor
            X'. Shape ``(B, K, D)``; zeros in padding.
        Tensor
            Which rows are coarse nodes. Shape ``(B, K)``, bool.
        Tensor
            A'. Shape ``(B, K, K)``.
        """
        device = self.feat.device
        counts = self.graph.batch_num_nodes().to(device, torch.int64)
        most = int(counts.max()) if len(counts) else 0
        mask = torch.arange(most, device=device) < counts[:, None]
        place = mask.flatten().nonzero().squeeze(1)
        flat = self.feat.new_zeros(len(counts) * most, self.feat.shape[1])
        feat = flat.index_copy(0, place, self.feat).unflatten(0, (len(counts), most))
        source, destination = (ids.to(device, torch.int64) for ids in edge_ends(self.graph))
        cells = place[source] * most + place[destination] % max(most, 1)
        entries = self.edge_weight.new_zeros(len(counts) * most * most)
        entries = entries.index_add(0, cells, self.edge_weight)
        return feat, mask, entries.view(len(counts), most, most)

    def detach(self) -> PooledGraph:
        """The same without gradients."""
        return self._map(lambda tensor: tensor.detach())

    def to(self, device: torch.device | str) -> PooledGraph:
        """The same with its tensors on another device; the graph stays where it is if DGL has no
        build for that device, which our modules do not mind.

        Raises
        ------
        TypeError
            If ``device`` is none, such as a dtype: the tensors have that of the features that were
            pooled, and indices are among them.
        """
        if not isinstance(device, (torch.device, str, int)):
            raise TypeError(
                f"device is {device!r}; give a device, such as 'cpu'. Another dtype follows from "
                "features of it: coarsen those"
            )
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> PooledGraph:
        return replace(
            self, **{each.name: _mapped(getattr(self, each.name), change) for each in fields(self)}
        )

    def __getstate__(self) -> dict[str, Any]:
        # Tensors inside an autograd graph can be neither copied nor pickled.
        plain = self.detach()
        return {each.name: getattr(plain, each.name) for each in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> PooledGraph:
        plain = self.detach()
        graph = self.graph.clone()
        graph.__dict__.update(
            {k: v for k, v in self.graph.__dict__.items() if k.startswith("pooled_")}
        )
        return replace(plain._map(lambda tensor: tensor.clone()), graph=graph)

    def __copy__(self) -> PooledGraph:
        return replace(self)

    def __repr__(self) -> str:
        edge_feat = None if self.edge_feat is None else list(self.edge_feat.shape)
        return (
            f"PooledGraph(graphs={self.graph.batch_size}, nodes={self.graph.num_nodes()}, "
            f"edges={self.graph.num_edges()}, feat={list(self.feat.shape)}, "
            f"edge_feat={edge_feat}, num_clusters={self.num_clusters.tolist()})"
        )


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Every tensor in lists, dicts and dataclasses changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(each, change) for each in value)
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        changed = {
            name: _mapped(getattr(value, name), change) for name in value.__dataclass_fields__
        }
        return replace(value, **changed)
    return value
