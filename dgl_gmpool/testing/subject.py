"""A pooling as the conditions see it, and one thing that must hold of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dgl_gmpool._dgl  # noqa: F401  # isort: skip  (before DGL)
import dgl
import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.readout import Readout, collect_losses
from dgl_gmpool.nn.structure import edge_ends
from dgl_gmpool.testing.comparing import ConditionFailed, check_finite
from dgl_gmpool.testing.molecules import IN_FEATS, batch_members

FACES = ("readout", "coarsen")

#: Makes a module from the width of the node features.
MakePool = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Subject:
    """A pooling under test: one face of it, boiled down to rows that can be compared."""

    make_pool: MakePool
    face: str

    def make(self) -> nn.Module:
        """A new module, ready to predict."""
        return self.make_pool(IN_FEATS).eval()

    def start(self) -> tuple[nn.Module, DGLGraph]:
        """A new module, and the batch of molecules."""
        return self.make(), dgl.batch(batch_members())

    def call(
        self,
        pool: nn.Module,
        graph: DGLGraph,
        feat: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the face returns, as ``(B, ...)`` tensors that do not depend on coarse order, and
        auxiliary losses, which are scalars."""
        feat = graph.ndata["h"] if feat is None else feat
        options = {} if batch_num_nodes is None else {"batch_num_nodes": batch_num_nodes}
        if self.face == "readout":
            with collect_losses() as losses:
                out = pool(graph, feat, **options)
            if not isinstance(out, Tensor) or out.dim() != 2:
                raise ConditionFailed(f"the readout is no matrix but {type(out).__name__}")
            return {"readout": out, **_losses(losses)}
        edge_feat = graph.edata["e"]
        if feat.is_floating_point():
            edge_feat = edge_feat.to(feat.dtype)
        coarsen: Callable[..., PooledGraph] = getattr(pool, "coarsen")  # noqa: B009 - for mypy
        coarse = coarsen(graph, feat, edge_feat, **options)
        counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
        return order_free(coarse, feat, counts)

    @torch.no_grad()
    def node_weights(self, pool: nn.Module, graph: DGLGraph) -> dict[str, Tensor]:
        """What each node contributes, ``(N, 1)`` tensors, where the readout says so."""
        if self.face != "readout" or not isinstance(pool, Readout):
            return {}
        try:
            _, weights = pool(graph, graph.ndata["h"], get_node_weight=True)
        except ValueError:  # a readout without such weights refuses
            return {}
        return {f"node weights {index}": each for index, each in enumerate(weights)}

    def rows(
        self,
        pool: nn.Module,
        graph: DGLGraph,
        feat: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """As :meth:`call`, after checking that values and gradients are finite, a row per graph."""
        feat = (graph.ndata["h"] if feat is None else feat).detach().clone().requires_grad_()
        pool.zero_grad()
        out = self.call(pool, graph, feat, batch_num_nodes)
        counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
        for name, values in out.items():
            if values.dim() and values.shape[0] != len(counts):
                raise ConditionFailed(f"{name}: {values.shape[0]} rows for {len(counts)} graphs")
            check_finite(name, values)
        for name, grad in gradients_of(out.values(), feat, pool).items():
            check_finite(name, grad)
        return {name: values.detach() for name, values in out.items()}


def gradients_of(out: Iterable[Tensor], feat: Tensor, pool: nn.Module) -> dict[str, Tensor]:
    """Gradients of features and parameters, after a backward pass from all of these."""
    losses = [values.float().square().sum() for values in out if values.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()
    leaves = {"feat": feat, **dict(pool.named_parameters())}
    return {
        f"gradient of {name}": leaf.grad
        for name, leaf in leaves.items()
        if losses and leaf.grad is not None
    }


def order_free(coarse: PooledGraph, feat: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Numbers of a coarsened batch that do not change when coarse nodes trade places."""
    graph, pooled, weight = coarse.graph, coarse.feat, coarse.edge_weight
    sizes = graph.batch_num_nodes().to(torch.int64)
    owner = torch.repeat_interleave(sizes)
    source, destination = (ids.to(torch.int64) for ids in edge_ends(graph))
    edge_owner = torch.repeat_interleave(graph.batch_num_edges().to(torch.int64))
    if len(owner) != pooled.shape[0] or len(edge_owner) != weight.shape[0]:
        raise ConditionFailed("the coarse graph's batch information does not fit its features")
    if not (owner[source] == edge_owner).all() or not (owner[destination] == edge_owner).all():
        raise ConditionFailed("a coarse edge joins two graphs of the batch")

    def total(values: Tensor, owner: Tensor) -> Tensor:
        out = values.new_zeros((len(sizes), *values.shape[1:]))
        return out.index_add(0, owner, values)

    weight = weight[:, None]
    node_owner = torch.repeat_interleave(counts.to(torch.int64))
    carried = coarse.lift(pooled)
    if coarse.edge_feat is None:
        raise ConditionFailed("edge_feat is None though edge features were given")
    if carried.shape != feat.shape:
        raise ConditionFailed(f"lift gives {tuple(carried.shape)} for {tuple(feat.shape)}")
    out = {
        "sum of X'": total(pooled, owner),
        "sum of X'^2": total(pooled.square(), owner),
        "sum of A'": total(weight, edge_owner),
        "sum of A'^2": total(weight.square(), edge_owner),
        "sum of A' X'": total(weight * pooled[destination], edge_owner),
        "sum of E'": total(coarse.edge_feat, edge_owner),
        "lifted": total(carried, node_owner),
        "number of clusters": coarse.num_clusters,
        "soft count": coarse.soft_count,
        "effective rank": coarse.effective_rank,
    }
    return {**out, **_losses(coarse.losses)}


def _losses(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"loss {name}": value for name, value in losses.items()}


@dataclass(frozen=True)
class Condition:
    """One thing that must hold.

    Attributes
    ----------
    name : str
        A few words.
    check : callable
        ``check(subject)`` raises where it does not hold.
    """

    name: str
    check: Callable[[Subject], None]

    @property
    def description(self) -> str:
        """What must hold, in one or two sentences."""
        return " ".join((self.check.__doc__ or "").split())

    def run(self, make_pool: MakePool, face: str = "readout") -> None:
        """Check one face of a pooling.

        Parameters
        ----------
        make_pool : callable
            ``make_pool(in_feats)`` returns a new ``torch.nn.Module``, called as
            ``module(graph, feat)``; for the ``"coarsen"`` face it has ``coarsen`` as well.
        face : str, optional
            ``"readout"`` (default) or ``"coarsen"``.

        Raises
        ------
        ConditionFailed
            If the condition does not hold. Whatever else the module raises, passes through.
        """
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone: what is forked above is what is seeded.
            torch.default_generator.manual_seed(0)
            self.check(Subject(make_pool, check_choice("face", face, FACES)))

    def failure(self, make_pool: MakePool, face: str = "readout") -> str | None:
        """As :meth:`run`, but returns the reason of the failure, or None."""
        try:
            self.run(make_pool, face)
        except ConditionFailed as failed:
            return str(failed)
        except Exception as error:
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[0] if lines else ''}"
        return None
