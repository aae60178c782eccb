"""The planted benchmark: its graphs by loops, its measures against M made by hand, a quick run."""

from __future__ import annotations

import json
from itertools import pairwise

import dgl
import numpy as np
import pytest
import torch
from rdkit import Chem
from torch.nn import functional as F

from dgl_gmpool import GMPool
from dgl_gmpool.data.fragments import brics_fragments, ring_systems
from experiments.planted import counting, molecules, paying
from experiments.planted.__main__ import main
from experiments.planted.controls import GivenGroups, LocalityOnly, frozen
from experiments.planted.generators import (
    FAMILIES,
    KINDS,
    counting_graph,
    grid,
    two_kinds_in_rings,
    unicyclic,
)
from experiments.planted.measures import Found, compare, found_groups, pair_auc
from experiments.planted.networks import PlantedNetwork, fit, outputs
from experiments.planted.rows import Rows


def neighbours(graph):
    """Sets of neighbours, from the edge list."""
    found = [set() for _ in graph.group]
    for one, other in graph.edges.tolist():
        assert one != other
        assert other not in found[one]  # no edge twice
        found[one].add(other)
        found[other].add(one)
    return found


def reached(start, found, allowed):
    seen, front = {start}, [start]
    while front:
        for node in found[front.pop()]:
            if node in allowed and node not in seen:
                seen.add(node)
                front.append(node)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("distinct", [True, False])
def test_groups_are_connected_and_joined_to_a_tree(family, distinct):
    rng = np.random.default_rng(0)
    counts, extra = set(), 0
    for _ in range(40):
        graph = counting_graph(family, rng, distinct=distinct, noise=0.0)
        found, k = neighbours(graph), graph.num_groups
        members = [set(np.flatnonzero(graph.group == i).tolist()) for i in range(k)]
        for group in members:
            assert reached(min(group), found, group) == group
        assert reached(0, found, set(range(len(graph.group)))) == set(range(len(graph.group)))
        between = [1 for a, b in graph.edges if graph.group[a] != graph.group[b]]
        assert len(between) - (k - 1) in ((0, 1) if family == "mixed" else (0,))
        extra += len(between) - (k - 1)
        kind = [graph.feat[graph.group == i] for i in range(k)]
        assert all((rows == rows[0]).all() and rows[0].sum() == 1 for rows in kind)
        kinds = {int(rows[0].argmax()) for rows in kind}
        assert len(kinds) == k if distinct else kinds <= {0, 1, 2}
        assert graph.targets["k"] == k == graph.group.max() + 1
        counts.add(k)
    assert counts == {2, 3, 4, 5, 6}
    assert extra > 5 if family == "mixed" else extra == 0


def test_cliques_and_rings_are_what_they_are_called():
    rng = np.random.default_rng(1)
    for _ in range(30):
        graph = counting_graph("cliques", rng)
        found = neighbours(graph)
        for i in range(graph.num_groups):
            group = set(np.flatnonzero(graph.group == i).tolist())
            assert 4 <= len(group) <= 7
            assert all(group - {node} <= found[node] for node in group)
        graph = counting_graph("rings", rng)
        assert len(graph.group) == 24
        found = neighbours(graph)
        for i in range(graph.num_groups):
            group = np.flatnonzero(graph.group == i).tolist()
            assert len(group) >= 3
            assert all(b in found[a] for a, b in pairwise([*group, group[0]]))


def test_shapes_of_mixed():
    assert len(grid(3, 3)) == 12
    assert sorted(grid(2, 2)) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    for seed in range(20):
        edges = unicyclic(6, np.random.default_rng(seed))
        assert len(set(edges)) == 6
        graph = dgl.graph(tuple(zip(*edges)), num_nodes=6)
        assert graph.num_edges() == 6


def test_noise_and_control_are_independent_of_the_graph():
    rng = np.random.default_rng(2)
    graphs = [counting_graph("rings", rng, noise=0.5) for _ in range(400)]
    noise = np.concatenate([g.feat.ravel() for g in graphs])
    # A one-hot of 8 has the variance 7/64.
    assert noise.var() == pytest.approx(0.25 + 7 / 64, rel=0.05)
    k, control = np.array([[g.targets["k"], g.targets["control"]] for g in graphs]).T
    assert abs(np.corrcoef(k, control)[0, 1]) < 0.15
    assert set(control) == set(k) == {2, 3, 4, 5, 6}


def test_targets_of_two_kinds_in_rings_by_loops():
    rng = np.random.default_rng(3)
    both = []
    for _ in range(60):
        graph = two_kinds_in_rings(rng)
        found, kind = neighbours(graph), graph.feat.argmax(1)
        assert len(kind) == 40
        count, largest = 0, 0
        for i in range(graph.num_groups):
            group = np.flatnonzero(graph.group == i).tolist()
            assert 6 <= len(group) <= 12
            assert all(b in found[a] for a, b in pairwise([*group, group[0]]))
            one = sum(int(kind[node] == 0) for node in group)
            other = sum(int(kind[node] == 1) for node in group)
            count += one > 0 and other > 0
            largest = max(largest, one * other)
        assert graph.targets == {"rings_with_both": count, "largest_product": largest}
        both.append(count)
    assert {0, 1, 2} <= set(both)


def test_graphs_have_both_directions_and_loops():
    graph = counting_graph("cliques", np.random.default_rng(4))
    made = graph.to_dgl()
    pairs = set(zip(*(ids.tolist() for ids in made.edges())))
    wanted = {(i, i) for i in range(len(graph.group))}
    for one, other in graph.edges.tolist():
        wanted |= {(one, other), (other, one)}
    assert pairs == wanted
    assert made.num_edges() == len(wanted)


def block(group):
    return (group[:, None] == group).astype(float)


def test_measures_of_groups_that_are_right():
    planted = [np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1])]
    found = [Found(block(g), 5 - g, len(set(g.tolist())), len(set(g.tolist()))) for g in planted]
    figures = compare(found, planted)
    assert figures == {
        "exact": 1.0, "mae": 0.0, "mean_count": 2.5, "mean_true": 2.5, "rho": pytest.approx(1.0),
        "auc": 1.0, "ari": 1.0, "soft_mae": 0.0, "soft_rho": pytest.approx(1.0),
    }  # fmt: skip


def test_measures_of_groups_that_are_wrong():
    planted = [np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])]
    inverted = [1 - block(g) for g in planted]
    found = [Found(m, np.zeros(4, int), 1, 1.5) for m in inverted]
    figures = compare(found, planted)
    assert figures["exact"] == 0.0
    assert figures["mae"] == 1.5
    assert figures["auc"] == 0.0
    assert figures["ari"] == 0.0
    assert figures["soft_mae"] == 1.0
    assert np.isnan(figures["rho"])  # K does not vary


def test_pair_auc_by_loops():
    rng = np.random.default_rng(5)
    group = rng.integers(3, size=9)
    matrix = rng.integers(4, size=(9, 9)).astype(float)  # ties
    matrix = matrix + matrix.T
    wins, pairs = 0.0, 0
    above = [(i, j) for i in range(9) for j in range(i)]
    for i, j in above:
        for k, m in above:
            if group[i] == group[j] and group[k] != group[m]:
                pairs += 1
                wins += (matrix[i, j] > matrix[k, m]) + 0.5 * (matrix[i, j] == matrix[k, m])
    assert pair_auc(matrix, group) == pytest.approx(wins / pairs)
    assert np.isnan(pair_auc(matrix, np.zeros(9)))
    assert np.isnan(pair_auc(matrix, np.arange(9)))


def two_graphs(width=4):
    rng = np.random.default_rng(6)
    graphs = [counting_graph("cliques", rng, noise=0.0).to_dgl() for _ in range(2)]
    batch = dgl.batch(graphs)
    batch.ndata["random"] = batch.ndata["group"] % 2
    return batch, torch.randn(batch.num_nodes(), width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("nodes", lambda graph: torch.arange(graph.num_nodes())),
        ("one", lambda graph: torch.zeros(graph.num_nodes())),
        ("random", lambda graph: graph.ndata["random"]),
        ("planted", lambda graph: graph.ndata["group"]),
    ],
)
def test_given_groups_are_the_groups(given, number):
    graph, feat = two_graphs()
    pool = GivenGroups(4, given=given)
    for each, found in zip(dgl.unbatch(graph), pool.grouping_matrices(graph, feat)):
        name = number(each)
        assert torch.equal(found, (name[:, None] == name).to(found.dtype))
    if given == "planted":
        assert compare(
            found_groups(pool, graph, feat),
            [g.ndata["group"].numpy() for g in dgl.unbatch(graph)],
        )["ari"] == 1.0  # fmt: skip


def test_an_unknown_way_to_give_groups_is_named():
    with pytest.raises(ValueError, match="planted"):
        GivenGroups(4, given="plant")


def test_locality_only_and_features_multiply_to_m():
    graph, feat = two_graphs()
    pool = GMPool(4).eval()
    whole, features, locality = (
        molecules.half_of(pool, what).grouping_matrices(graph, feat) for what in molecules.MATRICES
    )
    for m, a, b in zip(whole, features, locality):
        torch.testing.assert_close(m, a * b)
        assert (b < 0.999).any()
    assert isinstance(molecules.half_of(pool, "locality"), LocalityOnly)


def test_frozen_m_has_nothing_to_learn():
    graph, feat = two_graphs()
    pool = frozen(4)
    learned = {name for name, each in pool.named_parameters() if each.requires_grad}
    assert learned == {n for n, _ in pool.named_parameters() if n.startswith("group_readout")}
    assert pool(graph, feat).requires_grad


@pytest.mark.parametrize(
    ("residual", "exchange", "times"), [(True, "layer", 2), (True, "network", 1), (False, None, 0)]
)
def test_the_network_gives_each_graph_its_row(residual, exchange, times):
    torch.manual_seed(0)
    graphs = dgl.unbatch(two_graphs()[0])
    model = PlantedNetwork(KINDS, 3, GMPool, layers=2, residual=residual, exchange=exchange).eval()
    assert len(model.exchanges) == times
    whole = model(dgl.batch(graphs))
    assert whole.shape == (2, 3)
    torch.testing.assert_close(whole, torch.cat([model(graph) for graph in graphs]))


def test_data_are_the_same_for_every_method_and_another_for_every_seed():
    one, again, other = (
        counting.graphs_of("rings", "repeating", 0.2, seed, counting.QUICK)[0][0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(one.ndata["h"], again.ndata["h"])
    assert not torch.equal(one.ndata["h"], other.ndata["h"])


@pytest.mark.parametrize("method", counting.METHODS)
def test_every_pooling_is_counted(method):
    job = next(job for job in counting.jobs(1, quick=True) if job["method"] == method)
    found = counting.run(job)
    for when in ("before", "after"):
        assert 0 <= found[when]["exact"] <= 1
        assert found[when]["mean_count"] >= 1
        assert 0 <= found[when]["auc"] <= 1
        assert -0.5 <= found[when]["ari"] <= 1
    local = not method.endswith((", none", ".paper", "BN-Pool", "DiffPool"))
    local &= "eigen" not in method
    assert (found["time"] is not None) == local


@pytest.mark.parametrize("method", paying.METHODS)
def test_every_network_learns_and_takes_graphs_alone_or_together(method):
    graphs, targets = paying.graphs_of(0, paying.QUICK)
    target = targets["rings_with_both"][:, None]
    torch.manual_seed(0)
    model = paying.METHODS[method]()
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    fit(model, graphs[:12], target[:12], F.mse_loss, paying.QUICK)
    still = {name for name, now in model.named_parameters() if torch.equal(now, before[name])}
    first, *_, last = before
    assert not still & {first, last}
    out = outputs(model, graphs, 6)
    assert out.shape == (len(graphs), 1)
    torch.testing.assert_close(out, outputs(model, graphs, 1), rtol=1e-4, atol=1e-5)


def test_a_quick_run_is_complete_and_continued(tmp_path, capsys, monkeypatch):
    chosen = {"GMPool": GMPool, "BN-Pool": counting.METHODS["BN-Pool"]}
    monkeypatch.setattr(counting, "METHODS", chosen)
    monkeypatch.setattr(
        paying, "METHODS", {n: paying.METHODS[n] for n in ("GMPool", paying.CONTROL)}
    )
    monkeypatch.setattr(counting, "FAMILIES", {"rings": FAMILIES["rings"]})
    arguments = ["--output", str(tmp_path), "--quick", "--seeds", "1"]
    assert main([*arguments, "--part", "paying", "molecules"]) == 0
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == 4 + 2
    assert "[4/4] paying" in capsys.readouterr().out

    # A second call adds the part that is missing, and trains nothing again.
    monkeypatch.setattr(paying, "run", None)
    monkeypatch.setattr(molecules, "run", None)
    assert main(arguments) == 0
    after = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert after[:6] == lines
    assert len(after) == 6 + 2 * 8 + 2
    table = (tmp_path / "table.md").read_text()
    assert "| GMPool |" in table
    assert "few small graphs" in table
    record = json.loads((tmp_path / "table.json").read_text())
    assert len(record["rows"]) == len(after)
    for row in record["rows"]:
        if row["job"]["part"] == "counting":
            assert 0 <= row["result"]["after"]["exact"] <= 1


def test_a_table_is_written_without_training_and_a_misspelt_method_is_refused(tmp_path, capsys):
    row = {"job": {"part": "paying", "method": "GMPool", "target": "largest_product", "seed": 0}}
    row |= {"commit": "abc", "seconds": 1.0, "result": {"r2": 0.5, "time": None}}
    row["job"]["quick"] = False
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["--output", str(tmp_path), "--report"]) == 0
    text = (tmp_path / "table.json").read_text()
    assert json.loads(text)["rows"] == [row]
    assert str(tmp_path) not in text
    with pytest.raises(ValueError, match=r"GMPol.*GMPool"):
        main(["--output", str(tmp_path), "--method", "GMPol"])


def test_an_interrupted_run_keeps_what_ended(tmp_path):
    path = tmp_path / "rows.jsonl"

    def train(job):
        if job["seed"] == 2:
            raise KeyboardInterrupt
        return {"r2": job["seed"], "nothing": float("nan")}

    jobs = [{"part": "paying", "seed": seed} for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        Rows(path).run(jobs, train)
    kept = Rows(path)
    assert [row["result"] for row in kept.of(jobs)] == [
        {"r2": 0, "nothing": None},
        {"r2": 1, "nothing": None},
    ]
    asked = []
    kept.run(jobs, lambda job: asked.append(job["seed"]) or {"r2": 9})
    assert asked == [2, 3]


def test_a_damaged_row_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"job": {"part": "paying"}, "result": {}}\n{"job": \n')
    with pytest.raises(ValueError, match="line 2"):
        Rows(path)


def test_molecules_that_need_a_file_say_which():
    with pytest.raises(ValueError, match="--tox21"):
        molecules.load("tox21", None)


@pytest.mark.parametrize(
    ("smiles", "fragments", "rings"),
    [
        ("", [], []),
        ("C", [0], [0]),
        ("CCO", [0, 0, 0], [0, 1, 2]),
        ("c1ccccc1-c1ccccc1", [0] * 6 + [1] * 6, [0] * 6 + [1] * 6),
        ("c1ccc2ccccc2c1", [0] * 10, [0] * 10),  # fused
        ("C1CCC2(C1)CC2", [0] * 7, [0] * 7),  # spiro
        ("[Na+].CC(=O)[O-]", [0, 1, 1, 1, 1], [0, 1, 2, 3, 4]),
        # amide, ether and aromatic ring: N-methyl-4-ethoxybenzamide
        ("CNC(=O)c1ccc(OCC)cc1", None, [0, 1, 2, 3, 4, 4, 4, 4, 5, 6, 7, 4, 4]),
    ],
)
def test_fragments_and_ring_systems(smiles, fragments, rings):
    mol = Chem.MolFromSmiles(smiles)
    assert ring_systems(mol).tolist() == rings
    if fragments is not None:
        assert brics_fragments(mol).tolist() == fragments
    assert brics_fragments(mol).dtype == ring_systems(mol).dtype == np.int64


@pytest.mark.parametrize(
    "smiles", ["CNC(=O)c1ccc(OCC)cc1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "O=S(=O)(c1ccccc1)N1CCOCC1"]
)
def test_brics_fragments_are_those_that_rdkit_cuts(smiles):
    from rdkit.Chem import BRICS

    mol = Chem.MolFromSmiles(smiles)
    pieces = Chem.GetMolFrags(BRICS.BreakBRICSBonds(mol))
    wanted = {frozenset(i for i in piece if i < mol.GetNumAtoms()) for piece in pieces}
    number = brics_fragments(mol)
    assert {frozenset(np.flatnonzero(number == i).tolist()) for i in set(number.tolist())} == wanted


def test_fragments_follow_the_nodes_of_the_graph():
    graphs, targets, kind = molecules.graphs_of(molecules.OFFLINE, None, 5, 0)
    assert kind == "regression"
    assert targets.shape == (5, 1)
    for graph in graphs:
        source, destination = (ids.long() for ids in graph.edges())
        number, ring = graph.ndata["fragment"], graph.ndata["ring"]
        # Atoms of one ring are in one fragment, and bonds of a ring in one ring system.
        in_ring = graph.edata["e"][:, 5] > 0
        assert torch.equal(ring[source] == ring[destination], in_ring)
        assert (number[source] == number[destination])[in_ring].all()
        # A tree of fragments: as many bonds are cut as there are fragments, minus one.
        cut = int((number[source] != number[destination]).sum()) // 2
        assert cut == len(set(number.tolist())) - 1
