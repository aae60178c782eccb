"""Molecular property predictor: backbone, pooling levels, readout, feed-forward head."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int, probability
from dgl_gmpool.models.backbones import Backbone, get_backbone, reset_parameters
from dgl_gmpool.models.readout_norm import ReadoutNorm
from dgl_gmpool.nn.dense_pooling import DensePooling
from dgl_gmpool.nn.edge_weight import normalise_edge_weight
from dgl_gmpool.registry import get_readout, readout_entry


class MoleculePredictor(nn.Module):
    """From a batch of molecular graphs to one row of predictions per molecule.

    As in the paper's "hierarchical layers", each level is a graph neural network followed by a
    pooling. ``levels=1``: backbone, then the pooling as a readout. ``levels=2``: backbone,
    coarsening, a second backbone on the coarse graph, then the readout; and so on. Backbones see
    the coarse edge weights A' symmetrically normalised, or their steps would multiply by the
    number of bonds in a group. A feed-forward head of one hidden layer makes the predictions.

    Parameters
    ----------
    node_in_feats, edge_in_feats : int
        Widths of the node and edge features.
    n_tasks : int, optional
        Number of predictions per molecule. Default 1.
    backbone : str or torch.nn.Module, optional
        ``"dmpnn"`` (default), ``"gcn"``, ``"mpnn"``, ``"attentivefp"``, or a module that is called
        as ``module(graph, node_feats, edge_feats)``, returns node states and has ``out_feats``
        (one level only).
    readout : str, optional
        A name from :func:`dgl_gmpool.list_readouts`. Default ``"gmpool"``.
    readout_options : dict, optional
        Options of that readout.
    levels : int, optional
        Number of backbone-and-pooling levels. Default 1. GMPool's own default,
        ``decomposition="sqrtm"``, keeps all n nodes between two levels and joins each with each;
        ``"cholesky"`` keeps one per group, and is many times faster there.
    hidden_feats : int, optional
        Width of the backbone's states. Default 200.
    num_steps : int, optional
        Message passing steps of each backbone. Default 3.
    dropout : float, optional
        Of backbone and head. Default 0.15.
    head_feats : int, optional
        Width of the head's hidden layer. Default 200.
    readout_norm : str, optional
        ``"batch"`` normalises the readout over the batch (:class:`~dgl_gmpool.nn.ReadoutNorm`)
        before the head, with better scores after few epochs; ``"none"`` (default) does not, as
        in the paper.
    global_feats : int, optional
        Number of extra features per molecule (such as solvent descriptors) that join the readout.
        Default 0.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.batch([dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), dgl.graph(([0, 1], [1, 0]))])
    >>> model = MoleculePredictor(8, 4, n_tasks=3, readout="gmpool", levels=2, hidden_feats=16)
    >>> model(g, torch.randn(5, 8), torch.randn(6, 4)).shape
    torch.Size([2, 3])
    >>> model.config["levels"]
    2
    """

    def __init__(
        self,
        node_in_feats: int,
        edge_in_feats: int,
        n_tasks: int = 1,
        *,
        backbone: str | nn.Module = "dmpnn",
        readout: str = "gmpool",
        readout_options: dict[str, Any] | None = None,
        levels: int = 1,
        hidden_feats: int = 200,
        num_steps: int = 3,
        dropout: float = 0.15,
        head_feats: int = 200,
        readout_norm: str = "none",
        global_feats: int = 0,
    ) -> None:
        super().__init__()
        if readout_options is not None and not isinstance(readout_options, Mapping):
            raise TypeError(f"readout_options is {readout_options!r}; give a dict, name: value")
        options = copy.deepcopy(dict(readout_options or {}))
        check_levels(levels, readout, backbone)
        for name, value in (
            ("node_in_feats", node_in_feats),
            ("n_tasks", n_tasks),
            ("hidden_feats", hidden_feats),
            ("num_steps", num_steps),
            ("head_feats", head_feats),
        ):
            positive_int(name, value)
        for name, value in (("edge_in_feats", edge_in_feats), ("global_feats", global_feats)):
            if value != 0:
                positive_int(name, value)
        probability("dropout", dropout)
        check_choice("readout_norm", readout_norm, READOUT_NORMS)
        if backbone in WEIGHT_AS_FEATURE and not edge_in_feats:
            raise ValueError(f"backbone {backbone!r} needs edge features; use 'dmpnn' or 'gcn'")
        self.node_in_feats = node_in_feats
        self.edge_in_feats = edge_in_feats
        self.n_tasks = n_tasks
        self.global_feats = global_feats
        self._config = dict(
            node_in_feats=node_in_feats,
            edge_in_feats=edge_in_feats,
            n_tasks=n_tasks,
            backbone=backbone,
            readout=readout,
            readout_options=options,
            levels=levels,
            hidden_feats=hidden_feats,
            num_steps=num_steps,
            dropout=dropout,
            head_feats=head_feats,
            readout_norm=readout_norm,
            global_feats=global_feats,
        )
        backbones: list[Backbone] = []
        nodes, edges = node_in_feats, edge_in_feats
        for level in range(levels):
            if isinstance(backbone, nn.Module):
                gnn = _wrap(backbone)
            else:
                # From the second level on, edges carry weights.
                gnn = get_backbone(
                    backbone,
                    node_in_feats=nodes,
                    edge_in_feats=edges + (level > 0 and backbone in WEIGHT_AS_FEATURE),
                    hidden_feats=hidden_feats,
                    num_steps=num_steps,
                    dropout=dropout,
                )
            backbones.append(gnn)
            nodes = gnn.out_feats
            edges = gnn.edge_out_feats or edges
        poolings: list[Any] = [
            get_readout(readout, in_feats=gnn.out_feats, **options) for gnn in backbones
        ]
        self.backbones = nn.ModuleList(backbones)
        self.poolings = nn.ModuleList(poolings)
        takes = inspect.signature(poolings[-1].forward).parameters
        self._readout_takes_weight = "edge_weight" in takes
        width = poolings[-1].out_feats
        self.norm = ReadoutNorm(width) if readout_norm == "batch" else nn.Identity()
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width + global_feats, head_feats),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(head_feats, n_tasks),
        )

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON: ``MoleculePredictor(**model.config)``."""
        if isinstance(self._config["backbone"], nn.Module):
            raise ValueError(
                "the backbone is your own module, which a configuration cannot name; rebuild the "
                "model in code and load its state_dict"
            )
        return copy.deepcopy(self._config)

    @property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the poolings in the last call, weighted scalars; a trainer adds them
        to its own. Empty for plain readouts, and for GMPool and NGMPool without a rank_weight."""
        return {
            f"level {level}, {name}": value
            for level, pool in enumerate(self.poolings, start=1)
            for name, value in getattr(pool, "losses", {}).items()
        }

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        reset_parameters(self)

    def keep_tasks(self, n_tasks: int) -> None:
        """Predict the first ``n_tasks`` only, with the same numbers as before.

        For outputs that were there for training alone, behind the others. The last layer is a new
        one afterwards: an optimizer made before does not know it.

        Raises
        ------
        ValueError
            There are not so many.
        """
        if positive_int("n_tasks", n_tasks) > self.n_tasks:
            raise ValueError(
                f"n_tasks is {n_tasks}; the model predicts {self.n_tasks}, give at most that"
            )
        if n_tasks == self.n_tasks:
            return
        before = cast(nn.Linear, self.head[-1])
        last = nn.utils.skip_init(
            nn.Linear,
            before.in_features,
            n_tasks,
            device=before.weight.device,
            dtype=before.weight.dtype,
        )
        with torch.no_grad():
            last.weight.copy_(before.weight[:n_tasks])
            last.bias.copy_(before.bias[:n_tasks])
        self.head[-1] = last
        self.n_tasks = self._config["n_tasks"] = n_tasks

    def forward(
        self,
        graph: DGLGraph,
        node_feats: Tensor,
        edge_feats: Tensor | None = None,
        global_feats: Tensor | None = None,
    ) -> Tensor:
        """Predictions.

        Parameters
        ----------
        graph : DGLGraph
            A batch of molecules.
        node_feats : Tensor
            Shape ``(N, node_in_feats)``.
        edge_feats : Tensor, optional
            Shape ``(E, edge_in_feats)``.
        global_feats : Tensor, optional
            Shape ``(B, global_feats)``; required if the model was built with any.

        Returns
        -------
        Tensor
            Logits or standardised values. Shape ``(B, n_tasks)``.

        Raises
        ------
        TypeError, ValueError
            On integer or misshapen features, and on missing edge or global features.
        """
        if isinstance(self._config["backbone"], str):
            edge_feats = self._check_features(graph, node_feats, edge_feats)
        vector = self.norm(self.embed(graph, node_feats, edge_feats))
        if self.global_feats:
            expected = (vector.shape[0], self.global_feats)
            if global_feats is None or tuple(global_feats.shape) != expected:
                seen = None if global_feats is None else tuple(global_feats.shape)
                raise ValueError(f"global_feats has shape {seen}; expected {expected}")
            vector = torch.cat([vector, global_feats.to(vector.dtype)], dim=1)
        return self.head(vector)

    def _check_features(
        self, graph: DGLGraph, node_feats: Tensor, edge_feats: Tensor | None
    ) -> Tensor | None:
        """dgllife's networks would fail on these deep inside. Molecules without any bond may come
        without edge features."""
        given = [("node_feats", node_feats, graph.num_nodes(), self.node_in_feats)]
        if self.backbones[0].takes_edges:
            width = self.edge_in_feats
            if edge_feats is None and (graph.num_edges() == 0 or width == 0):
                edge_feats = node_feats.new_zeros(graph.num_edges(), width)
            if edge_feats is None:
                raise ValueError(
                    f"edge_feats is missing; pass one row of {width} for each of the "
                    f"{graph.num_edges()} edges"
                )
            given.append(("edge_feats", edge_feats, graph.num_edges(), width))
        for name, values, rows, width in given:
            if not values.is_floating_point():
                raise TypeError(f"{name} is {values.dtype}; give a floating-point tensor")
            if values.shape != (rows, width):
                raise ValueError(
                    f"{name} has shape {tuple(values.shape)}; expected {(rows, width)}: one row "
                    f"per {name[:4]}, as wide as the model was made ({name[:4]}_in_feats={width})"
                )
        return edge_feats

    def embed(
        self, graph: DGLGraph, node_feats: Tensor, edge_feats: Tensor | None = None
    ) -> Tensor:
        """The readout that the head sees. Shape ``(B, out_feats of the readout)``."""
        edge_weight = None
        for gnn, pool in zip(self.backbones[:-1], self.poolings[:-1]):
            node_feats, states = gnn(graph, node_feats, edge_feats, edge_weight)
            edges = edge_feats if states is None else states
            coarse = cast(DensePooling, pool).coarsen(
                graph, node_feats, edges, edge_weight=edge_weight
            )
            graph, node_feats = coarse.graph, coarse.feat
            edge_feats = coarse.edge_feat
            edge_weight = normalise_edge_weight(graph, coarse.edge_weight)
        node_feats, _ = self.backbones[-1](graph, node_feats, edge_feats, edge_weight)
        last = self.poolings[-1]
        if edge_weight is not None and self._readout_takes_weight:
            return last(graph, node_feats, edge_weight=edge_weight)
        return last(graph, node_feats)


#: What stands between readout and head.
READOUT_NORMS = ("none", "batch")

#: Backbones that take a coarse graph's edge weights as one more edge feature.
WEIGHT_AS_FEATURE = ("mpnn", "attentivefp")


def check_levels(levels: int, readout: str, backbone: str | nn.Module = "dmpnn") -> None:
    """Raise a ValueError, before anything is built, where these levels make no sense."""
    positive_int("levels", levels)
    entry = readout_entry(readout)
    if levels == 1:
        return
    if not entry.coarsens:
        raise ValueError(
            f"levels={levels} needs a pooling that coarsens graphs, and readout {readout!r} does "
            "not; use levels=1, or readout='gmpool'"
        )
    if entry.single_level:
        raise ValueError(
            f"levels={levels}, but {readout!r} is defined for a single level only: two pooling "
            "operators do not commute, so their product no longer reduces to grouping matrices, "
            "and activations between levels do not commute with pooling (section 'Pooling without "
            "Decomposing The Grouping Matrix' of the paper). Use levels=1, or readout='gmpool'"
        )
    if not isinstance(backbone, str):
        raise ValueError(
            f"levels={levels} builds one backbone per level; name it instead of passing a module"
        )
    if backbone == "gcn":
        raise ValueError(
            "dgllife's GCN takes neither edge weights nor edge features, so it cannot see how "
            "strongly coarse nodes are joined; use backbone='dmpnn', 'mpnn' or 'attentivefp' with "
            f"levels={levels}"
        )


def _wrap(gnn: nn.Module) -> Backbone:
    if isinstance(gnn, Backbone):
        return gnn
    width = getattr(gnn, "out_feats", None)
    if not isinstance(width, int):
        raise ValueError(
            f"backbone {type(gnn).__name__} has no integer out_feats; set it to the width of its "
            "node states, or wrap it: Backbone(gnn, out_feats=..., takes_edges=...)"
        )
    return Backbone(gnn, width)
