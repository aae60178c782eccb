"""The conditions, each written once."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import dgl_gmpool._dgl  # noqa: F401  # isort: skip  (before DGL)
import dgl
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.testing.comparing import (
    EQUAL,
    TOLERANCE,
    ConditionFailed,
    check_finite,
    check_same,
    complaint,
    detached,
    per_graph,
    picked,
)
from dgl_gmpool.testing.molecules import (
    BATCH,
    IN_FEATS,
    batch_members,
    batch_of,
    empty_graph,
    molecule,
    renumbered,
    with_self_loops,
    without_edges,
)
from dgl_gmpool.testing.subject import Condition, Subject, gradients_of, order_free

#: ``TOLERANCE`` for bfloat16, which keeps 8 significant bits.
BFLOAT16_TOLERANCE = 0.05


def _equal_modules(subject: Subject, pool: nn.Module, other: nn.Module, when: str) -> None:
    graph = dgl.batch(batch_members())
    check_same(subject.rows(other, graph), subject.rows(pool, graph), when, tolerance=EQUAL)


def _node_permutation(subject: Subject) -> None:
    """Renumbering the atoms of each molecule, symmetric ones included, changes nothing; the weights
    of the nodes, where a readout gives them, follow the nodes."""
    pool, graph = subject.start()
    graph.ndata["number"] = torch.arange(graph.num_nodes())
    expected, weights = subject.rows(pool, graph), subject.node_weights(pool, graph)
    for seed in range(3):
        other = dgl.batch([renumbered(each, seed) for each in dgl.unbatch(graph)])
        check_same(subject.rows(pool, other), expected, "after renumbering the atoms")
        followed = {name: rows[other.ndata["number"]] for name, rows in weights.items()}
        check_same(subject.node_weights(pool, other), followed, "after renumbering the atoms")


def _graph_order(subject: Subject) -> None:
    """The rows follow the graphs when those trade places in the batch."""
    pool = subject.make()
    graphs = batch_members()
    order = [5, 0, 7, 3, 2, 6, 1, 4]
    expected = picked(subject.rows(pool, dgl.batch(graphs)), order)
    check_same(
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
        check_same(per_graph(alone), picked(together, [index]), f"alone (graph {index})")


def _duplicated_batch(subject: Subject) -> None:
    """A batch that holds every graph twice gives every row twice."""
    pool = subject.make()
    graphs = batch_members()
    once = subject.rows(pool, dgl.batch(graphs))
    twice = subject.rows(pool, dgl.batch(graphs + graphs))
    check_same(per_graph(twice), picked(once, list(range(len(graphs))) * 2), "in a doubled batch")


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
    subject.rows(pool, dgl.batch([without_edges(graph) for graph in batch_members()]))


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
    check_same(picked(rows, others), per_graph(expected), "next to an empty graph")


def _self_loops(subject: Subject) -> None:
    """Graphs with a self-loop on every node, as the dgllife recipes make them."""
    subject.rows(subject.make(), dgl.batch([with_self_loops(graph) for graph in batch_members()]))


def _salts(subject: Subject) -> None:
    """Graphs of several connected parts."""
    pool = subject.make()
    subject.rows(pool, batch_of("sodium acetate", "aspirin", "argon and neon"))
    subject.rows(pool, dgl.batch([molecule("sodium acetate")]))


def _float64(subject: Subject) -> None:
    """``pool.double()`` works, answers in float64 and agrees with float32."""
    pool, graph = subject.start()
    expected = subject.rows(pool, graph)
    found = subject.rows(pool.double(), graph, graph.ndata["h"].double())
    for name, values in found.items():
        if values.is_floating_point() and values.dtype != torch.float64:
            raise ConditionFailed(f"{name} is {values.dtype} for float64 features")
    check_same(found, expected, "in float64", tolerance=10 * TOLERANCE)


def _bfloat16(subject: Subject) -> None:
    """Under bfloat16 autocast, from float32 and from bfloat16 features, the result stays near."""
    pool, graph = subject.start()
    # The features themselves are rounded first, so that only the pooling's own error is seen.
    feat = graph.ndata["h"].bfloat16()
    expected = subject.rows(pool, graph, feat.float())
    for features in (feat.float(), feat):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = subject.rows(pool, graph, features)
        keys = [name for name in found if found[name].is_floating_point()]
        check_same(
            {name: found[name] for name in keys},
            {name: expected[name] for name in keys},
            "under bfloat16 autocast",
            tolerance=BFLOAT16_TOLERANCE,
        )


def _id_types(subject: Subject) -> None:
    """int32 and int64 node ids give the same rows."""
    pool, graph = subject.start()
    short = subject.rows(pool, graph.int())
    check_same(subject.rows(pool, graph.long()), short, "with int64 ids", tolerance=EQUAL)


def _formats(subject: Subject) -> None:
    """A graph kept in CSC or CSR alone gives the same rows."""
    pool, graph = subject.start()
    rows = subject.rows(pool, graph)
    for name in ("csc", "csr"):
        found = subject.rows(pool, graph.formats(name))
        check_same(found, rows, f"kept as {name.upper()}", tolerance=EQUAL)


def _repeatable(subject: Subject) -> None:
    """In eval mode the same call gives the same bits."""
    pool, graph = subject.start()
    first = subject.rows(pool, graph)
    check_same(subject.rows(pool, graph), first, "when called again", tolerance=0)


def _training_mode(subject: Subject) -> None:
    """In training mode too values and gradients are finite, one row per graph."""
    pool = subject.make_pool(IN_FEATS).train()
    subject.rows(pool, dgl.batch([*batch_members(), molecule("methane")]))


def _checkpointing(subject: Subject) -> None:
    """Activation checkpointing, which computes again what was not kept, changes no gradient."""
    pool, graph = subject.start()

    def call(feat: Tensor) -> list[Tensor]:
        return list(subject.call(pool, graph, feat).values())

    def gradients(again: bool) -> dict[str, Tensor]:
        feat = graph.ndata["h"].clone().requires_grad_()
        pool.zero_grad()  # to None: the next backward pass makes new ones
        out = checkpoint(call, feat, use_reentrant=False) if again else call(feat)
        return gradients_of(out, feat, pool)

    check_same(gradients(again=True), gradients(again=False), "with checkpointing")


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
    pool, graph = subject.start()
    if subject.face == "readout":
        rows = subject.call(pool, graph)["readout"].detach()
        check_same({"rows": pickle.loads(pickle.dumps(rows))}, {"rows": rows}, "after pickle")
        return
    feat = graph.ndata["h"].clone().requires_grad_()
    coarsen: Callable[..., PooledGraph] = getattr(pool, "coarsen")  # noqa: B009 - for mypy
    coarse = coarsen(graph, feat, graph.edata["e"])
    counts = graph.batch_num_nodes()
    expected = detached(order_free(coarse, feat, counts))
    for when, other in (
        ("after pickle", pickle.loads(pickle.dumps(coarse))),
        ("as a deep copy", copy.deepcopy(coarse)),
        ("detached", coarse.detach()),
    ):
        check_same(detached(order_free(other, feat, counts)), expected, when, tolerance=EQUAL)


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
        with complaint(ValueError, naming=(remedy,)):
            run(graph, torch.zeros(2, IN_FEATS))


def _wrong_width(subject: Subject) -> None:
    """Features of another width, or too few rows: a ValueError that gives both numbers."""
    pool, graph = subject.start()
    with complaint(ValueError, naming=(str(IN_FEATS), str(IN_FEATS - 3))):
        subject.call(pool, graph, graph.ndata["h"][:, :-3])
    nodes = graph.num_nodes()
    with complaint(ValueError, naming=(str(nodes), str(nodes - 1))):
        subject.call(pool, graph, graph.ndata["h"][:-1])


def _integer_features(subject: Subject) -> None:
    """Integer features: a TypeError that says so, or a finite result."""
    pool, graph = subject.start()
    feat = graph.ndata["h"].round().long()
    try:
        out = subject.call(pool, graph, feat)
    except TypeError as error:
        if "int64" not in str(error):
            raise ConditionFailed(f"the TypeError does not name int64: {error}") from error
        return
    for name, values in out.items():
        check_finite(name, values)


def _not_a_number(subject: Subject) -> None:
    """A NaN or an infinity in one node: a ValueError that names its graph."""
    pool, graph = subject.start()
    ends = graph.batch_num_nodes().cumsum(0).tolist()
    # The last node of one graph and the first of another.
    for value, node, index in ((float("nan"), ends[5] - 1, 5), (float("inf"), ends[1], 2)):
        feat = graph.ndata["h"].clone()
        feat[node, 4] = value
        with complaint(ValueError, naming=(f"graph {index}",)):
            subject.call(pool, graph, feat)


def _scale(subject: Subject) -> None:
    """Features from 1e-8 to 1e6 give finite rows and gradients."""
    pool, graph = subject.start()
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
        expected = subject.rows(pool, dgl.batch([with_self_loops(graph) for graph in graphs]))
        check_same(subject.rows(pool, lost, None, counts), expected, "with batch_num_nodes given")
    else:
        subject.rows(pool, lost, None, counts)
    subject.rows(pool, lost)
    wrong = counts.clone()
    wrong[0] += 1
    with complaint(ValueError, naming=(str(int(wrong.sum())), str(int(counts.sum())))):
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
    Condition("sparse formats", _formats),
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
