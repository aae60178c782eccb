"""What every readout and pooling must survive, each condition written once.

Molecules have single atoms, equal atoms, no bonds, salts and rare failures of a featurizer that
leave a graph without nodes. A pooling that breaks on one of them breaks the whole training run.
:data:`CONDITIONS` lists what has to hold; the tests run it over every name of
:func:`dgl_gmpool.list_readouts`, and ``benchmarks/reliability.py`` over other packages too. Run it
over a pooling of your own:

>>> from dgl_gmpool import GMPool
>>> [c.name for c in CONDITIONS if c.failure(GMPool) is not None]
[]
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import dgl_gmpool._dgl  # noqa: F401  # isort: skip  (before DGL)
import dgl
import torch
from dgl import DGLGraph
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool._options import check_choice
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.readout import collect_losses

#: Width of the node features that the conditions use.
IN_FEATS = 16

#: Largest difference allowed in float32, relative to the largest value of the output, or 1.
TOLERANCE = 1e-5

#: What counts as equal where nothing was computed differently. Not 0: a pooling whose own calls
#: differ in the last bit fails "same call twice", and should fail nothing else for that.
EQUAL = 1e-6

#: ``TOLERANCE`` for bfloat16, which keeps 8 significant bits.
BFLOAT16_TOLERANCE = 0.05

#: Small molecules; the first eight are batched in most conditions.
MOLECULES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "benzene": "c1ccccc1",
    "neopentane": "CC(C)(C)C",
    "methanol": "CO",
    "biphenyl": "c1ccc(-c2ccccc2)cc1",
    "cubane": "C12C3C4C1C5C2C3C45",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ethanol": "CCO",
    "methane": "C",
    "ethane": "CC",
    "sodium acetate": "CC(=O)[O-].[Na+]",
    "argon and neon": "[Ar].[Ne]",
}

FACES = ("readout", "coarsen")

#: Makes a module from the width of the node features.
MakePool = Callable[[int], nn.Module]


class ConditionFailed(AssertionError):
    """A readout or pooling does not meet a condition; the message says how."""


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
            torch.manual_seed(0)
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


@dataclass(frozen=True)
class Subject:
    """A pooling under test: one face of it, boiled down to rows that can be compared."""

    make_pool: MakePool
    face: str

    def make(self) -> nn.Module:
        """A new module, ready to predict."""
        return self.make_pool(IN_FEATS).eval()

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
        return _order_free(coarse, feat, counts)

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
            _finite(name, values)
        for name, grad in _gradients(out.values(), feat, pool).items():
            _finite(name, grad)
        return {name: values.detach() for name, values in out.items()}


def _gradients(out: Iterable[Tensor], feat: Tensor, pool: nn.Module) -> dict[str, Tensor]:
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


def _order_free(coarse: PooledGraph, feat: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Numbers of a coarsened batch that do not change when coarse nodes trade places."""
    graph, pooled, weight = coarse.graph, coarse.feat, coarse.edge_weight
    sizes = graph.batch_num_nodes().to(torch.int64)
    owner = torch.repeat_interleave(sizes)
    source, destination = (ids.to(torch.int64) for ids in graph.edges())
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


# Conditions. ---------------------------------------------------------------------------------


def _node_permutation(subject: Subject) -> None:
    """Renumbering the atoms of each molecule, symmetric ones included, changes nothing."""
    pool = subject.make()
    graphs = batch_members()
    expected = subject.rows(pool, dgl.batch(graphs))
    for seed in range(3):
        renumbered = [_renumber(graph, seed) for graph in graphs]
        _same(subject.rows(pool, dgl.batch(renumbered)), expected, "after renumbering the atoms")


def _graph_order(subject: Subject) -> None:
    """The rows follow the graphs when those trade places in the batch."""
    pool = subject.make()
    graphs = batch_members()
    order = [5, 0, 7, 3, 2, 6, 1, 4]
    expected = _pick(subject.rows(pool, dgl.batch(graphs)), order)
    _same(
        subject.rows(pool, dgl.batch([graphs[i] for i in order])),
        expected,
        "in another order of the graphs",
    )


def _alone_and_batched(subject: Subject) -> None:
    """A graph's row does not depend on the company that it keeps."""
    pool = subject.make()
    graphs = batch_members()
    together = subject.rows(pool, dgl.batch(graphs))
    for index, graph in enumerate(graphs):
        alone = subject.rows(pool, dgl.batch([graph]))
        _same(_per_graph(alone), _pick(together, [index]), f"alone (graph {index})")


def _duplicated_batch(subject: Subject) -> None:
    """A batch that holds every graph twice gives every row twice."""
    pool = subject.make()
    graphs = batch_members()
    once = subject.rows(pool, dgl.batch(graphs))
    twice = subject.rows(pool, dgl.batch(graphs + graphs))
    _same(_per_graph(twice), _pick(once, list(range(len(graphs))) * 2), "in a doubled batch")


def _one_node(subject: Subject) -> None:
    """Graphs of one node, alone and next to others, give finite rows and gradients."""
    pool = subject.make()
    subject.rows(pool, dgl.batch([molecule("methane")]))
    subject.rows(pool, batch_of("methane", "aspirin", "methane"))


def _two_equal_nodes(subject: Subject) -> None:
    """Two nodes with the same features: where a distance's square root has no derivative."""
    pool = subject.make()
    graph = batch_of("ethane", "aspirin")
    feat = graph.ndata["h"].clone()
    feat[1] = feat[0]
    subject.rows(pool, graph, feat)
    subject.rows(pool, dgl.batch([molecule("ethane")]), feat[:2])


def _constant_features(subject: Subject) -> None:
    """All nodes of the batch have the same features, or all features are zero."""
    pool = subject.make()
    graph = batch_of("aspirin", "benzene", "methane")
    subject.rows(pool, graph, torch.full_like(graph.ndata["h"], 0.5))
    subject.rows(pool, graph, torch.zeros_like(graph.ndata["h"]))


def _edgeless_graph(subject: Subject) -> None:
    """One graph of the batch has several nodes and no edge."""
    subject.rows(subject.make(), batch_of("aspirin", "argon and neon", "benzene"))


def _no_edge_at_all(subject: Subject) -> None:
    """No graph of the batch has an edge."""
    pool = subject.make()
    subject.rows(pool, batch_of("argon and neon", "methane"))
    subject.rows(pool, dgl.batch([_without_edges(graph) for graph in batch_members()]))


def _empty_first(subject: Subject) -> None:
    """The first graph of the batch has no nodes; every other row is as it was."""
    _with_empty(subject, 0)


def _empty_in_the_middle(subject: Subject) -> None:
    """A graph in the middle of the batch has no nodes; every other row is as it was."""
    _with_empty(subject, 3)


def _empty_last(subject: Subject) -> None:
    """The last graph of the batch has no nodes; every other row is as it was."""
    _with_empty(subject, len(BATCH))


def _nothing_but_empty(subject: Subject) -> None:
    """No graph of the batch has a node."""
    subject.rows(subject.make(), dgl.batch([empty_graph(), empty_graph()]))


def _with_empty(subject: Subject, place: int) -> None:
    pool = subject.make()
    graphs = batch_members()
    expected = subject.rows(pool, dgl.batch(graphs))
    with_empty = [*graphs[:place], empty_graph(), *graphs[place:]]
    rows = subject.rows(pool, dgl.batch(with_empty))
    others = [index for index in range(len(with_empty)) if index != place]
    _same(_pick(rows, others), _per_graph(expected), "next to an empty graph")


def _self_loops(subject: Subject) -> None:
    """Graphs with a self-loop on every node, as the dgllife recipes make them."""
    subject.rows(subject.make(), dgl.batch([_with_self_loops(graph) for graph in batch_members()]))


def _salts(subject: Subject) -> None:
    """Graphs of several connected parts."""
    pool = subject.make()
    subject.rows(pool, batch_of("sodium acetate", "aspirin", "argon and neon"))
    subject.rows(pool, dgl.batch([molecule("sodium acetate")]))


def _float64(subject: Subject) -> None:
    """``pool.double()`` works, answers in float64 and agrees with float32."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    expected = subject.rows(pool, graph)
    found = subject.rows(pool.double(), graph, graph.ndata["h"].double())
    for name, values in found.items():
        if values.is_floating_point() and values.dtype != torch.float64:
            raise ConditionFailed(f"{name} is {values.dtype} for float64 features")
    _same(found, expected, "in float64", tolerance=10 * TOLERANCE)


def _bfloat16(subject: Subject) -> None:
    """Under bfloat16 autocast, from float32 and from bfloat16 features, the result stays near."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    # The features themselves are rounded first, so that only the pooling's own error is seen.
    feat = graph.ndata["h"].bfloat16()
    expected = subject.rows(pool, graph, feat.float())
    for features in (feat.float(), feat):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = subject.rows(pool, graph, features)
        keys = [name for name in found if found[name].is_floating_point()]
        _same(
            {name: found[name] for name in keys},
            {name: expected[name] for name in keys},
            "under bfloat16 autocast",
            tolerance=BFLOAT16_TOLERANCE,
        )


def _id_types(subject: Subject) -> None:
    """int32 and int64 node ids give the same rows."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    short = subject.rows(pool, graph.int())
    _same(subject.rows(pool, graph.long()), short, "with int64 ids", tolerance=EQUAL)


def _repeatable(subject: Subject) -> None:
    """In eval mode the same call gives the same bits."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    first = subject.rows(pool, graph)
    _same(subject.rows(pool, graph), first, "when called again", tolerance=0)


def _training_mode(subject: Subject) -> None:
    """In training mode too values and gradients are finite, one row per graph."""
    pool = subject.make_pool(IN_FEATS).train()
    subject.rows(pool, dgl.batch([*batch_members(), molecule("methane")]))


def _checkpointing(subject: Subject) -> None:
    """Activation checkpointing, which computes again what was not kept, changes no gradient."""
    pool = subject.make()
    graph = dgl.batch(batch_members())

    def call(feat: Tensor) -> list[Tensor]:
        return list(subject.call(pool, graph, feat).values())

    def gradients(again: bool) -> dict[str, Tensor]:
        feat = graph.ndata["h"].clone().requires_grad_()
        pool.zero_grad()  # to None: the next backward pass makes new ones
        out = checkpoint(call, feat, use_reentrant=False) if again else call(feat)
        return _gradients(out, feat, pool)

    _same(gradients(again=True), gradients(again=False), "with checkpointing")


def _state_dict(subject: Subject) -> None:
    """A state_dict, read back with weights_only=True, makes an equal second module."""
    pool, other = subject.make(), subject.make()
    buffer = io.BytesIO()
    torch.save(pool.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    _equal_modules(subject, pool, other, "after load_state_dict")


def _deepcopy(subject: Subject) -> None:
    """A deep copy equals the module, also after a backward pass."""
    pool = subject.make()
    subject.rows(pool, dgl.batch(batch_members()))
    _equal_modules(subject, pool, copy.deepcopy(pool), "as a deep copy")


def _pickled(subject: Subject) -> None:
    """``pickle`` and ``torch.save`` of the whole module give back an equal module."""
    pool = subject.make()
    _equal_modules(subject, pool, pickle.loads(pickle.dumps(pool)), "after pickle")
    buffer = io.BytesIO()
    torch.save(pool, buffer)
    buffer.seek(0)
    _equal_modules(subject, pool, torch.load(buffer, weights_only=False), "after torch.save")


def _pickled_result(subject: Subject) -> None:
    """A coarse graph survives ``pickle`` and deep copies, gradients aside; a readout's rows do."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    if subject.face == "readout":
        rows = subject.call(pool, graph)["readout"].detach()
        _same({"rows": pickle.loads(pickle.dumps(rows))}, {"rows": rows}, "after pickle")
        return
    feat = graph.ndata["h"].clone().requires_grad_()
    coarsen: Callable[..., PooledGraph] = getattr(pool, "coarsen")  # noqa: B009 - for mypy
    coarse = coarsen(graph, feat, graph.edata["e"])
    counts = graph.batch_num_nodes()
    expected = _detached(_order_free(coarse, feat, counts))
    for when, other in (
        ("after pickle", pickle.loads(pickle.dumps(coarse))),
        ("as a deep copy", copy.deepcopy(coarse)),
        ("detached", coarse.detach()),
    ):
        _same(_detached(_order_free(other, feat, counts)), expected, when, tolerance=EQUAL)


def _several_types(subject: Subject) -> None:
    """A heterograph and a block (message flow graph): a ValueError that says what to do."""
    pool = subject.make()
    ends = ([0, 1], [1, 0])
    several = dgl.heterograph({("a", "to", "a"): ends, ("b", "to", "b"): ends})
    for graph, remedy in (
        (several, "to_homogeneous"),
        (dgl.to_block(dgl.graph(ends)), "block_to_graph"),
    ):
        run: Callable[..., object] = (
            pool if subject.face == "readout" else getattr(pool, "coarsen")  # noqa: B009
        )
        with _complaint(ValueError, naming=(remedy,)):
            run(graph, torch.zeros(2, IN_FEATS))


def _wrong_width(subject: Subject) -> None:
    """Features of another width, or too few rows: a ValueError that gives both numbers."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    with _complaint(ValueError, naming=(str(IN_FEATS), str(IN_FEATS - 3))):
        subject.call(pool, graph, graph.ndata["h"][:, :-3])
    nodes = graph.num_nodes()
    with _complaint(ValueError, naming=(str(nodes), str(nodes - 1))):
        subject.call(pool, graph, graph.ndata["h"][:-1])


def _integer_features(subject: Subject) -> None:
    """Integer features: a TypeError that says so, or a finite result."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    feat = graph.ndata["h"].round().long()
    try:
        out = subject.call(pool, graph, feat)
    except TypeError as error:
        if "int64" not in str(error):
            raise ConditionFailed(f"the TypeError does not name int64: {error}") from error
        return
    for name, values in out.items():
        _finite(name, values)


def _not_a_number(subject: Subject) -> None:
    """A NaN or an infinity in one node: a ValueError that names its graph."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    ends = graph.batch_num_nodes().cumsum(0).tolist()
    # The last node of one graph and the first of another.
    for value, node, index in ((float("nan"), ends[5] - 1, 5), (float("inf"), ends[1], 2)):
        feat = graph.ndata["h"].clone()
        feat[node, 4] = value
        with _complaint(ValueError, naming=(f"graph {index}",)):
            subject.call(pool, graph, feat)


def _scale(subject: Subject) -> None:
    """Features from 1e-8 to 1e6 give finite rows and gradients."""
    pool = subject.make()
    graph = dgl.batch(batch_members())
    for scale in (1e-8, 1e-4, 1e3, 1e6):
        subject.rows(pool, graph, graph.ndata["h"] * scale)


def _batch_information(subject: Subject) -> None:
    """dgl.add_self_loop turns a batch into one graph: batch_num_nodes= repairs that, and counts
    that do not fit raise a ValueError with both totals."""
    pool = subject.make()
    graphs = batch_members()
    counts = torch.tensor([graph.num_nodes() for graph in graphs])
    lost = dgl.add_self_loop(dgl.batch(graphs))
    if subject.face == "readout":
        expected = subject.rows(pool, dgl.batch([_with_self_loops(graph) for graph in graphs]))
        _same(subject.rows(pool, lost, None, counts), expected, "with batch_num_nodes given")
    else:
        subject.rows(pool, lost, None, counts)
    subject.rows(pool, lost)
    wrong = counts.clone()
    wrong[0] += 1
    with _complaint(ValueError, naming=(str(int(wrong.sum())), str(int(counts.sum())))):
        subject.call(pool, lost, None, wrong)


#: Every condition, in the order of the printed matrix.
CONDITIONS: tuple[Condition, ...] = (
    Condition("node permutation", _node_permutation),
    Condition("order of graphs", _graph_order),
    Condition("alone and batched", _alone_and_batched),
    Condition("duplicated batch", _duplicated_batch),
    Condition("one node", _one_node),
    Condition("two equal nodes", _two_equal_nodes),
    Condition("constant features", _constant_features),
    Condition("no edge in one graph", _edgeless_graph),
    Condition("no edge at all", _no_edge_at_all),
    Condition("empty graph first", _empty_first),
    Condition("empty graph in the middle", _empty_in_the_middle),
    Condition("empty graph last", _empty_last),
    Condition("nothing but empty graphs", _nothing_but_empty),
    Condition("self-loops", _self_loops),
    Condition("salts", _salts),
    Condition("float64", _float64),
    Condition("bfloat16 autocast", _bfloat16),
    Condition("int32 and int64 ids", _id_types),
    Condition("same call twice", _repeatable),
    Condition("training mode", _training_mode),
    Condition("checkpointing", _checkpointing),
    Condition("state_dict", _state_dict),
    Condition("deepcopy", _deepcopy),
    Condition("pickle", _pickled),
    Condition("features 1e-8 to 1e6", _scale),
    Condition("wrong feature width", _wrong_width),
    Condition("integer features", _integer_features),
    Condition("NaN features", _not_a_number),
    Condition("batch information lost", _batch_information),
    Condition("result copied", _pickled_result),
    Condition("several types of nodes", _several_types),
)


# Molecules. ----------------------------------------------------------------------------------

#: Names of the molecules in the usual batch.
BATCH = tuple(MOLECULES)[:8]


@cache
def _featurized(name: str) -> DGLGraph:
    from rdkit import rdBase

    utils = import_dgllife("utils")
    with rdBase.BlockLogs():  # dgllife's featurizer uses an outdated RDKit call
        graph = utils.smiles_to_bigraph(
            MOLECULES[name],
            node_featurizer=utils.CanonicalAtomFeaturizer(),
            edge_featurizer=utils.CanonicalBondFeaturizer(),
        )
    # Two rounds of neighbour sums tell atoms apart as a graph network would: equal features
    # exactly where the molecule is symmetric. A fixed random matrix makes them dense and narrow.
    feat = graph.ndata.pop("h").double()
    source, destination = (ids.long() for ids in graph.edges())
    for _ in range(2):
        feat = feat + 0.5 * torch.zeros_like(feat).index_add(0, destination, feat[source])
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(feat.shape[1], IN_FEATS, generator=generator, dtype=feat.dtype)
    graph.ndata["h"] = (feat @ mixing / feat.shape[1] ** 0.5).float()
    if "e" not in graph.edata:
        graph.edata["e"] = torch.zeros(0, utils.CanonicalBondFeaturizer().feat_size())
    return graph


def molecule(name: str) -> DGLGraph:
    """One of :data:`MOLECULES` as a graph: ``ndata["h"]`` ``(n, IN_FEATS)``, ``edata["e"]``."""
    return _featurized(name).clone()


def batch_members() -> list[DGLGraph]:
    """The graphs of the usual batch."""
    return [molecule(name) for name in BATCH]


def batch_of(*names: str) -> DGLGraph:
    """Some of :data:`MOLECULES` as one batch."""
    return dgl.batch([molecule(name) for name in names])


def empty_graph() -> DGLGraph:
    """A graph without nodes."""
    graph = dgl.graph(([], []), num_nodes=0, idtype=torch.int32)
    graph.ndata["h"] = torch.zeros(0, IN_FEATS)
    graph.edata["e"] = torch.zeros(0, _featurized("ethane").edata["e"].shape[1])
    return graph


def _renumber(graph: DGLGraph, seed: int) -> DGLGraph:
    """The same molecule with its atoms, and its bonds, in another order."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randperm(graph.num_nodes(), generator=generator)
    order = torch.randperm(graph.num_edges(), generator=generator)
    source, destination = (place[ids.long()][order].int() for ids in graph.edges())
    out = dgl.graph((source, destination), num_nodes=graph.num_nodes(), idtype=torch.int32)
    out.ndata["h"] = torch.empty_like(graph.ndata["h"]).index_copy(0, place, graph.ndata["h"])
    out.edata["e"] = graph.edata["e"][order]
    return out


def _with_self_loops(graph: DGLGraph) -> DGLGraph:
    return dgl.add_self_loop(graph)


def _without_edges(graph: DGLGraph) -> DGLGraph:
    return dgl.remove_edges(graph, torch.arange(graph.num_edges(), dtype=torch.int32))


# Comparing. ----------------------------------------------------------------------------------

Rows = dict[str, Tensor]


def _finite(name: str, values: Tensor) -> None:
    if not torch.isfinite(values).all():
        count = int((~torch.isfinite(values)).sum())
        raise ConditionFailed(f"{name}: {count} of {values.numel()} values are not finite")


def _per_graph(rows: Rows) -> Rows:
    """Without what is one number for the whole batch: losses."""
    return {name: values for name, values in rows.items() if values.dim()}


def _detached(rows: Rows) -> Rows:
    return {name: values.detach() for name, values in rows.items()}


def _pick(rows: Rows, graphs: Sequence[int]) -> Rows:
    return {name: values[list(graphs)] for name, values in _per_graph(rows).items()}


def _same(found: Rows, expected: Rows, when: str, tolerance: float = TOLERANCE) -> None:
    for name, values in expected.items():
        if name not in found:
            raise ConditionFailed(f"{name} is missing {when}")
        if found[name].shape != values.shape:
            raise ConditionFailed(
                f"{name} has shape {tuple(found[name].shape)} {when}, not {tuple(values.shape)}"
            )
        if values.numel() == 0:
            continue
        scale = max(1.0, float(values.double().abs().max()))
        difference = float((found[name].double() - values.double()).abs().max()) / scale
        if not difference <= tolerance:
            raise ConditionFailed(f"{name} differs by {difference:.1e} of its scale {when}")


def _equal_modules(subject: Subject, pool: nn.Module, other: nn.Module, when: str) -> None:
    graph = dgl.batch(batch_members())
    _same(subject.rows(other, graph), subject.rows(pool, graph), when, tolerance=EQUAL)


@contextmanager
def _complaint(
    kind: type[Exception] | tuple[type[Exception], ...], *, naming: Sequence[str]
) -> Iterator[None]:
    """Expect an error of this kind whose message holds all of these."""
    try:
        yield
    except kind as error:
        missing = [each for each in naming if each not in str(error)]
        if missing:
            raise ConditionFailed(f"the error does not say {missing}: {error}") from error
        return
    except Exception as error:
        raise ConditionFailed(f"{type(error).__name__} from deep inside: {error}") from error
    raise ConditionFailed(f"no error, though one that names {list(naming)} was due")
