"""Flat arrays: a batch cut from them is dgl.batch of the graphs one by one, to the bit."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import SMILES, small_dataset, small_options

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool._names import FRAGMENT
from dgl_gmpool.data.distinct_rows import DistinctRows, smallest
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.graph_list import GraphList
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.training.batches import collate
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.model import build_model, raw_outputs

#: More atoms than a byte can number.
LONG = "C" * 300
MOLECULES = [*SMILES, LONG, "*C", "[U]"]
CPU = torch.device("cpu")


def assert_same(one: dgl.DGLGraph, other: dgl.DGLGraph) -> None:
    assert one.idtype == other.idtype == torch.int32
    assert one.formats() == other.formats()
    pairs = [*zip(one.edges(), other.edges())]
    for of in ("batch_num_nodes", "batch_num_edges"):
        pairs.append((getattr(one, of)(), getattr(other, of)()))
    for mine, theirs in ((one.ndata, other.ndata), (one.edata, other.edata)):
        assert set(mine) == set(theirs)
        pairs += [(mine[name], theirs[name]) for name in mine]
    for a, b in pairs:
        assert (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device)
        assert torch.equal(a, b)


@pytest.fixture(scope="module", params=["canonical", "attentivefp"])
def flat_and_graphs(request):
    """The flat arrays, and the same molecules by DGL-LifeSci alone."""
    utils = import_dgllife("utils")
    prefix = {"canonical": "Canonical", "attentivefp": "AttentiveFP"}[request.param]
    bonds = getattr(utils, f"{prefix}BondFeaturizer")("e")
    graphs = []
    for smiles in MOLECULES:
        graph = utils.smiles_to_bigraph(
            smiles,
            node_featurizer=getattr(utils, f"{prefix}AtomFeaturizer")("h"),
            edge_featurizer=bonds if len(smiles) > 1 and "." not in smiles else None,
        )
        if graph.num_edges() == 0:
            graph.edata["e"] = torch.zeros(0, bonds.feat_size())
        graphs.append(graph)
    flat, failed = featurize_smiles(MOLECULES, request.param)
    assert not failed
    return flat, graphs


@settings(max_examples=60, deadline=None)
@given(which=st.lists(st.integers(0, len(MOLECULES) - 1), min_size=1, max_size=12))
def test_a_batch_is_that_of_the_graphs_one_by_one(flat_and_graphs, which):
    flat, graphs = flat_and_graphs
    wanted = dgl.batch([graphs[i] for i in which])
    assert_same(flat.batch(which), wanted)
    assert_same(GraphList(flat)[np.array(which)].batch(), wanted)
    assert_same(dgl.batch(flat.graphs(which)), wanted)


def test_features_are_equal_to_the_bit_in_a_byte_or_two(flat_and_graphs):
    flat, graphs = flat_and_graphs
    assert flat.node_feats.tobytes() == torch.cat([g.ndata["h"] for g in graphs]).numpy().tobytes()
    assert flat.edge_feats.tobytes() == torch.cat([g.edata["e"] for g in graphs]).numpy().tobytes()
    a_node, an_edge = flat.node_kinds.itemsize, flat.edge_kinds.itemsize
    assert (a_node, an_edge, flat.src.itemsize) == (1, 1, 2)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(MOLECULES)), max_size=4))
def test_parts_join_to_the_whole(cuts):
    ends = [0, *sorted(cuts), len(MOLECULES)]
    parts = [featurize_smiles(MOLECULES[a:b], "canonical")[0] for a, b in zip(ends, ends[1:])]
    whole, _ = featurize_smiles(MOLECULES, "canonical")
    assert FlatGraphs.join(parts).checksum() == whole.checksum()


def test_graphs_of_anyone_come_back_as_they_were():
    graphs = []
    for nodes, edges in ((3, 4), (1, 0), (2, 1)):
        ends = torch.randint(nodes, (2, edges))
        graph = dgl.graph((ends[0], ends[1]), num_nodes=nodes, idtype=torch.int32)
        graph.ndata["h"] = torch.randn(nodes, 5)
        graph.ndata[FRAGMENT] = torch.arange(nodes) + 300
        graph.edata["e"] = torch.randn(edges, 2)
        graphs.append(graph)
    graphs[0].ndata["h"][0] = torch.tensor([0.0, -0.0, float("nan"), float("inf"), 1e-45])
    flat = FlatGraphs.from_dgl(graphs, 5, 2)
    for graph, back in zip(graphs, GraphList(flat)):
        assert graph.ndata["h"].numpy().tobytes() == back.ndata["h"].numpy().tobytes()
        graph.ndata["h"] = back.ndata["h"] = torch.zeros(graph.num_nodes(), 1)
        assert_same(back, graph)


def test_no_graph_shares_memory_with_the_arrays():
    flat, _ = featurize_smiles(["CCO", "CCO"], "canonical")
    before = flat.checksum()
    for graph in (flat.batch([0, 1]), flat.graphs([0])[0]):
        graph.ndata["h"].add_(1)
        graph.edata["e"].add_(1)
    assert flat.checksum() == before


def test_a_list_of_graphs_is_made_when_it_is_asked_for():
    dataset = small_dataset()
    graphs = dataset.graphs
    assert len(graphs) == len(SMILES)
    assert [g.num_nodes() for g in graphs[3:6]] == graphs.node_counts[3:6].tolist()
    assert graphs[-1].num_nodes() == graphs[len(SMILES) - 1].num_nodes()
    assert_same(graphs[[4, 2]].batch(), dgl.batch([graphs[4], graphs[2]]))
    with pytest.raises(IndexError):
        graphs[len(SMILES)]


def test_a_model_gives_the_same_bits_for_either_kind_of_list():
    dataset = small_dataset()
    config = TrainingConfig(**small_options())
    model = build_model(config, node_in_feats=dataset.node_in_feats, edge_in_feats=12)
    lazy = raw_outputs(model, dataset.graphs, batch_size=7)
    assert lazy.tobytes() == raw_outputs(model, list(dataset.graphs), batch_size=7).tobytes()


def test_fragments_travel_with_the_batch():
    dataset = with_fragments(small_dataset())
    batch = collate(dataset.graphs[[20, 5, 20]], edge_in_feats=12, device=CPU).graph
    wanted = dgl.batch([dataset.graphs[20], dataset.graphs[5], dataset.graphs[20]])
    assert_same(batch, wanted)
    assert batch.ndata[FRAGMENT].dtype == torch.int64


def test_rows_and_numbers_keep_their_bits():
    rows = DistinctRows(1)
    values = np.array([[0.0], [-0.0], [np.nan], [0.0]], np.float32)
    assert rows.add(values).tolist() == [0, 1, 2, 0]
    assert rows.table()[rows.add(values)].tobytes() == values.tobytes()
    assert DistinctRows(3).table().shape == (0, 3)
    for most, dtype in ((0, "uint8"), (255, "uint8"), (256, "int16"), (40_000, "int32"),
                        (2**40, "int64")):  # fmt: skip
        found = smallest(np.array([0, most]))
        assert (found.dtype, found.tolist()) == (np.dtype(dtype), [0, most])
    assert smallest(np.zeros(0, np.int64)).dtype == np.uint8
