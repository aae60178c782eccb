"""Molecular property predictor: backbone, pooling levels, readout, feed-forward head."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, plain_value, positive_int, probability
from dgl_gmpool.models.backbones import EXCHANGE_PLACES, Backbone, reset_parameters
from dgl_gmpool.models.dmpnn import Exchange
from dgl_gmpool.models.inputs import check_finite, check_inputs, check_rows
from dgl_gmpool.models.levels import (
    WEIGHT_AS_FEATURE,
    check_levels,
    make_backbones,
    make_poolings,
)
from dgl_gmpool.models.lift_step import LiftStep
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.exchange import ExchangeStep, diffusion_shares
from dgl_gmpool.nn.locality import Conductance, Diffusion
from dgl_gmpool.nn.norm import RowNorm, row_norms
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.nn.readout import Readout
from dgl_gmpool.nn.structure import GraphStructure

#: Where the diffusion starts if a prior says which bonds conduct: what holds together is mixed by
#: then, whatever its size, and what is apart is not.
CONDUCTING_TIME = 64.0

#: What stands between readout and head.
READOUT_NORMS = ("none", "batch")


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
        ``"dmpnn"`` (default), ``"gcn"``, ``"mpnn"``, ``"attentivefp"``, ``"gin"`` (one level only,
        on codes: :class:`~dgl_gmpool.models.gin.GIN`), or a module that is called as
        ``module(graph, node_feats, edge_feats)``, returns node states and has ``out_feats`` (one
        level only).
    backbone_options : dict, optional
        Options of a named backbone, see :func:`~dgl_gmpool.models.backbones.get_backbone`; of
        ``"dmpnn"``: ``norm="batch"`` and ``residual=True``; of ``"gcn"``: ``edges=True``.
    readout : str, optional
        A name from :func:`dgl_gmpool.list_readouts`. Default ``"gmpool"``.
    readout_options : dict, optional
        Options of that readout.
    levels : int, optional
        Number of backbone-and-pooling levels. Default 1. ``decomposition="sqrtm"`` keeps all n
        nodes between two levels and joins each with each, which is slow.
    lift : bool, optional
        With two levels or more: lift what the last backbone makes of the groups back to the atoms,
        which keep their own states beside it (:class:`~dgl_gmpool.models.lift_step.LiftStep`), and
        read out the atoms. Default False: the readout sees the groups of the last level.
    hidden_feats : int, optional
        Width of the backbone's states. Default 200.
    num_steps : int, optional
        Message passing steps of each backbone. Default 3.
    dropout : float, optional
        Of backbone and head. Default 0.15.
    head_feats : int, optional
        Width of the head's hidden layer. Default 200.
    readout_norm : str, optional
        ``"batch"`` normalises the readout over the batch (:class:`~dgl_gmpool.nn.norm.RowNorm`)
        before the head, with better scores after few epochs; ``"none"`` (default) does not, as
        in the paper. What a readout has normalised itself is left as it is.
    global_feats : int, optional
        Number of extra features per molecule (such as solvent descriptors) that join the readout.
        Default 0.
    exchange : bool, optional
        Whether atoms exchange with their groups in the first backbone
        (:class:`~dgl_gmpool.GroupExchange`). Default None: where the readout is GMPool with local
        groups and its default ``aggregate``.
    exchange_after : str, optional
        ``"network"`` (default): once, after the network's last layer. ``"layer"``: after each of
        its layers (one diffusion for all), as in models of before 0.7.
    conductance_start : sequence of float, optional
        Where groups are local and there are edge features, bonds conduct by them
        (:class:`~dgl_gmpool.nn.locality.Conductance`): what each edge feature, and in the end a
        bond of an end atom, adds in the beginning; the diffusion then starts with a time of 64, for
        bonds that differ much. Default: nothing, all bonds start alike.

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

    #: Of modules that were pickled whole before 0.7.
    exchange_after: str = "layer"

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
        lift: bool = False,
        hidden_feats: int = 200,
        num_steps: int = 3,
        dropout: float = 0.15,
        head_feats: int = 200,
        readout_norm: str = "none",
        global_feats: int = 0,
        exchange: bool | None = None,
        exchange_after: str = "network",
        conductance_start: Sequence[float] | None = None,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(locals())
        super().__init__()
        self._frozen: list[nn.Module] = []
        _check_arguments(given)
        of_backbone = copy.deepcopy(dict(backbone_options or {}))
        options = copy.deepcopy(dict(readout_options or {}))
        self.node_in_feats = node_in_feats
        self.edge_in_feats = edge_in_feats
        self.n_tasks = n_tasks
        self.global_feats = global_feats
        start = None if conductance_start is None else [float(each) for each in conductance_start]
        self._config: dict[str, Any] = plain_value(
            {
                **{name: given[name] for name in given if name not in ("self", "__class__")},
                "readout_options": options,
                "conductance_start": start,
                "backbone_options": of_backbone,
            }
        )
        backbones = make_backbones(
            backbone,
            node_in_feats,
            edge_in_feats,
            levels=levels,
            options=of_backbone,
            hidden_feats=hidden_feats,
            num_steps=num_steps,
            dropout=dropout,
        )
        widths = [gnn.out_feats for gnn in backbones]
        poolings = make_poolings(readout, options, widths, lift=lift)
        #: From each level to the one before it; none without ``lift``.
        self.lift_steps = nn.ModuleList(
            LiftStep(above, below) for below, above in pairwise(widths if lift else [])
        )
        self.backbones = nn.ModuleList(backbones)
        self.poolings = nn.ModuleList(poolings)
        first, last = poolings[0], poolings[-1]
        self._readout_takes = set(inspect.signature(last.forward).parameters)
        local = getattr(first, "locality", None) is not None
        if exchange is None:
            exchange = local and bool(getattr(last, "normalised_feats", 0))
        #: The diffusion of the exchange: that of the groups where there are groups.
        self.exchange_locality = None if local or not exchange else Diffusion()
        self._exchange_of_groups = local and exchange
        if conductance_start is not None:
            of_atoms = [first, last] if lift else [first]
            diffusions = [getattr(pool, "locality", None) for pool in of_atoms]
            for each in (*diffusions, self.exchange_locality):
                if each is not None:
                    each.start.fill_(CONDUCTING_TIME)
        self.exchange_after = exchange_after
        steps = backbones[0].exchanges if exchange_after == "layer" else 1
        self.exchange_steps = nn.ModuleList(
            ExchangeStep(backbones[0].out_feats) for _ in range(steps if exchange else 0)
        )
        self.conductance = (
            Conductance(edge_in_feats, start=conductance_start)
            if edge_in_feats and (local or exchange)
            else None
        )
        width = last.out_feats
        #: Columns of the readout that are normalised here; the others are already.
        self._raw_feats = width - getattr(last, "normalised_feats", 0)
        self.norm = RowNorm(self._raw_feats) if readout_norm == "batch" else nn.Identity()
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

    def row_norms(self) -> list[RowNorm]:
        """The batch normalisations whose rows several processes share, in the order of a call.

        All of them are in every call, and no others: a process without rows calls them too.
        """
        found: list[RowNorm] = []
        for level, gnn in enumerate(self.backbones):
            steps = [] if level else list(self.exchange_steps)
            found += cast(Backbone, gnn).row_norms(steps, self.exchange_after)
            if level < len(self.backbones) - 1:
                # To coarsen takes the grouping matrix alone.
                found += row_norms(getattr(self.poolings[level], "grouping", self.poolings[level]))
        for part in (*reversed(self.lift_steps), self.poolings[-1], self.norm):
            found += row_norms(part)
        return found

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        reset_parameters(*self.children())

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of ``torch.nn.Module``; its error says so where atoms exchange at another place."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            several = any(name.startswith("exchange_steps.1.") for name in state_dict)
            if self.exchange_after == "layer" or not several:
                raise
            raise RuntimeError(
                "these weights are of a model whose atoms exchange after each layer, as in all of "
                "before 0.7: build it with exchange_after='layer'"
            ) from error

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # In models of 0.2.0 every level had a readout, and that of the last alone was used.
        for level, pool in enumerate(self.poolings[:-1]):
            unused = f"{prefix}poolings.{level}.group_readout."
            if getattr(pool, "group_readout", None) is None:
                for name in [name for name in state_dict if name.startswith(unused)]:
                    del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def freeze_backbone(self) -> None:
        """Train no longer what makes the atoms' states: networks, exchange, what bonds conduct.

        It stays in evaluation mode from now on: batch normalisations keep their statistics, and
        nothing is dropped.
        """
        parts: list[nn.Module | None] = [
            self.backbones,
            self.exchange_steps,
            self.conductance,
            self.exchange_locality,
            self.poolings[0].locality if self._exchange_of_groups else None,  # type: ignore[list-item]
        ]
        self._frozen = [part for part in parts if part is not None]
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> MoleculePredictor:
        """Training or evaluation mode, but for what is frozen."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

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
            Shape ``(B, global_feats)``; required if the model was built with any, refused if not.

        Returns
        -------
        Tensor
            Logits or standardised values. Shape ``(B, n_tasks)``.

        Raises
        ------
        TypeError, ValueError
            On integer, misshapen or, on a CPU, non-finite features, double ones for a model that is
            not, and on missing edge or global features.
        """
        vector = self.embed(graph, node_feats, edge_feats)
        raw, normalised = vector[:, : self._raw_feats], vector[:, self._raw_feats :]
        vector = self.norm(raw)
        if normalised.shape[1]:
            vector = torch.cat([vector, normalised], dim=1)
        if self.global_feats or global_feats is not None:
            if global_feats is not None and not isinstance(global_feats, Tensor):
                raise TypeError(f"global_feats is {type(global_feats).__name__}; give a tensor")
            expected = (vector.shape[0], self.global_feats)
            if global_feats is None or tuple(global_feats.shape) != expected:
                seen = None if global_feats is None else tuple(global_feats.shape)
                raise ValueError(
                    f"global_feats has shape {seen}; expected {expected}, as many as the model was "
                    f"made with (global_feats={self.global_feats})"
                )
            check_finite("global", global_feats, graph)
            vector = torch.cat([vector, global_feats.to(vector.dtype)], dim=1)
        return self.head(vector)

    def _check_features(
        self, graph: DGLGraph, node_feats: Tensor, edge_feats: Tensor | None
    ) -> Tensor | None:
        """dgllife's networks would fail on these deep inside, or keep them in their statistics.
        Molecules without any bond may come without edge features."""
        if not isinstance(self._config["backbone"], str):
            # It takes what it likes; what bonds conduct by is ours.
            if self.conductance is None or edge_feats is None:
                return edge_feats
            check_rows("edge", edge_feats, graph, self.edge_in_feats, self.conductance)
        else:
            network = self.conductance if self._config["backbone"] == "gin" else self.backbones[0]
            check_rows("node", node_feats, graph, self.node_in_feats, network)
            check_finite("node", node_feats, graph)
            if not self.backbones[0].takes_edges and self.conductance is None:
                return edge_feats
            edge_feats = check_inputs(
                graph,
                node_feats,
                edge_feats,
                node_in_feats=self.node_in_feats,
                edge_in_feats=self.edge_in_feats,
                network=network,
            )
        check_finite("edge", edge_feats, graph)
        return edge_feats

    def embed(
        self, graph: DGLGraph, node_feats: Tensor, edge_feats: Tensor | None = None
    ) -> Tensor:
        """The readout that the head sees. Shape ``(B, out_feats of the readout)``. Errors as
        :meth:`forward`."""
        edge_feats = self._check_features(graph, node_feats, edge_feats)
        edge_weight: Tensor | None = None
        structure = GraphStructure(graph, node_feats.device)
        structure.shared = True
        conductance = None
        if self.conductance is not None and edge_feats is not None:
            conductance = self.conductance(edge_feats, structure.at_end.to(edge_feats.dtype))
        exchange = self._exchange(structure, node_feats, conductance)
        below: list[tuple[GraphStructure, Tensor, Tensor | None, Tensor | None, PooledGraph]] = []
        for gnn, pool in zip(self.backbones[:-1], self.poolings[:-1]):
            node_feats, states = gnn(
                graph, node_feats, edge_feats, edge_weight, exchange, self.exchange_after
            )
            edges = edge_feats if states is None else states
            coarse = cast(Pooling, pool).coarsen(
                structure, node_feats, edges, edge_weight=edge_weight, conductance=conductance
            )
            below.append((structure, node_feats, edge_weight, conductance, coarse))
            graph, node_feats = coarse.graph, coarse.feat
            structure = GraphStructure(graph, node_feats.device)
            edge_feats = coarse.edge_feat
            edge_weight = coarse.conv_weight
            conductance = exchange = None
        node_feats, _ = self.backbones[-1](
            graph, node_feats, edge_feats, edge_weight, exchange, self.exchange_after
        )
        for step in reversed(self.lift_steps):
            structure, own, edge_weight, conductance, coarse = below.pop()
            node_feats, graph = step(own, coarse.lift(node_feats)), structure.graph
        given = {"edge_weight": edge_weight, "conductance": conductance}
        options = {
            name: value
            for name, value in given.items()
            if value is not None and name in self._readout_takes
        }
        last = self.poolings[-1]
        return last(structure if isinstance(last, Readout) else graph, node_feats, **options)

    def _exchange(
        self, structure: GraphStructure, node_feats: Tensor, conductance: Tensor | None
    ) -> Exchange | None:
        """What lets the atoms exchange in this call, or None."""
        locality = self.exchange_locality
        if self._exchange_of_groups:
            locality = cast(Diffusion, self.poolings[0].locality)
        if locality is None:
            return None
        if not node_feats.is_floating_point():  # codes, for a network of one's own
            node_feats = locality.log_time.new_zeros(structure.graph.num_nodes(), 1)
        batch = GraphBatch(
            structure,
            node_feats,
            width=node_feats.shape[1],
            dtype=locality.log_time.dtype,
            conductance=conductance,
        ).without_empty()
        shares = diffusion_shares(locality, batch, compute_dtype(node_feats.device))

        def exchange(step: int, values: Tensor) -> Tensor:
            return self.exchange_steps[step](values, batch.layout, shares)

        return exchange


def _check_arguments(given: Mapping[str, Any]) -> None:
    """Raise a TypeError or ValueError, before anything is built, for arguments of
    :class:`MoleculePredictor` that make no sense."""
    for name in ("backbone_options", "readout_options"):
        if given[name] is not None and not isinstance(given[name], Mapping):
            raise TypeError(f"{name} is {given[name]!r}; give a dict, name: value")
    backbone, levels, lift = given["backbone"], given["levels"], given["lift"]
    check_levels(levels, given["readout"], backbone, given["backbone_options"] or {})
    if not isinstance(lift, bool) or (lift and levels == 1):
        raise ValueError(
            f"lift is {lift!r} with levels={levels}; give True or False, and True only with "
            "levels=2 or more, which make groups to lift from"
        )
    for name in ("node_in_feats", "n_tasks", "hidden_feats", "num_steps", "head_feats"):
        positive_int(name, given[name])
    for name in ("edge_in_feats", "global_feats"):
        if given[name] != 0:
            positive_int(name, given[name])
    probability("dropout", given["dropout"])
    if given["exchange"] not in (None, True, False):
        raise ValueError(f"exchange is {given['exchange']!r}; give True, False or None")
    check_choice("exchange_after", given["exchange_after"], EXCHANGE_PLACES)
    check_choice("readout_norm", given["readout_norm"], READOUT_NORMS)
    if backbone in WEIGHT_AS_FEATURE and not given["edge_in_feats"]:
        raise ValueError(f"backbone {backbone!r} needs edge features; use 'dmpnn' or 'gcn'")
