"""Figures: which atom is which, which colour says what, and what is written."""

from __future__ import annotations

import builtins
import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from rdkit import Chem
from training_data import small_dataset, small_options

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.data import make_splits
from dgl_gmpool.nn.square_root import cholesky_root
from dgl_gmpool.training import TrainingConfig, build_model, train_run
from experiments.figures import (
    ForcedRuns,
    GroupCounts,
    clusters_figure,
    distribution_figure,
    few_and_many,
    find_forced_runs,
    functional_groups,
    graphs_of,
    group_counts,
    grouped_molecule,
    grouping_figure,
    load_fold,
    methods_figure,
    molecule_parts,
    plan_forced_runs,
    save_figure,
)
from experiments.figures.representatives import groups_of_atoms, representatives
from experiments.figures.style import FURTHER, GROUP_COLOURS, SINGLE, group_colours
from experiments.table2 import FoldScore, write_scores

RECIPE = Path(__file__).resolve().parent.parent / "experiments" / "figures" / "__main__.py"
# Para-chlorobenzoic ester with a nitrile: elements in an order that canonical ranks do not keep.
PARA = "N#CCOC(=O)c1ccc(Cl)cc1"


def predictor(seed: int = 0, **options) -> MoleculePredictor:
    """Cauchy without training, its weights scaled so that atoms differ."""
    torch.manual_seed(seed)
    model = MoleculePredictor(
        74,
        12,
        readout="gmpool",
        readout_options={"similarity": "cauchy", **options},
        hidden_feats=16,
        head_feats=8,
    )
    with torch.no_grad():
        model.poolings[0].grouping.weight.fill_(4.0)
    return model


# Groups of atoms ------------------------------------------------------------------------------


def test_disjoint_groups_are_found_whatever_the_order_of_the_atoms():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.permutation(np.arange(1, 8))[: rng.integers(1, 6)]  # all different
        truth = np.repeat(np.argsort(np.argsort(-sizes)), sizes)
        shuffled = truth[rng.permutation(len(truth))]
        matrix = (shuffled[:, None] == shuffled[None, :]).astype(float)
        assert groups_of_atoms(matrix, len(sizes)).tolist() == shuffled.tolist()


def test_every_representative_is_in_a_group_of_its_own():
    rng = np.random.default_rng(1)
    for _ in range(50):
        x = rng.normal(size=(rng.integers(3, 15), 3))
        matrix = 1 / (1 + ((x[:, None] - x[None]) ** 2).sum(-1))  # soft: overlapping groups
        count = int(rng.integers(1, len(x)))
        pivots = representatives(matrix, count)
        groups = groups_of_atoms(matrix, count)
        assert len(pivots) == count
        assert len(set(groups[pivots])) == count == len(set(groups))


def test_representatives_are_the_pivots_of_the_decomposition():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 4))
    matrix = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1))
    for count in (1, 3, 7):
        pivots = representatives(matrix, count)
        root, _, _ = cholesky_root(torch.from_numpy(matrix)[None], num_clusters=count)
        block = root[0].numpy()[pivots]
        # The rows of the pivots are the Cholesky factor: lower triangular, positive diagonal.
        assert np.abs(np.triu(block, 1)).max(initial=0) < 1e-9
        assert (np.diag(block) > 0).all()


def test_groups_of_special_matrices():
    assert groups_of_atoms(np.zeros((3, 3)), 2).tolist() == [0, 0, 0]
    assert groups_of_atoms(np.ones((1, 1)), 1).tolist() == [0]
    indefinite = np.array([[0.4, 0.9, 0.4], [0.9, 0.4, 0.9], [0.4, 0.9, 0.4]])
    assert groups_of_atoms(indefinite, 1).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="not symmetric"):
        groups_of_atoms(np.array([[1.0, 0.2], [0.7, 1.0]]), 2)
    with pytest.raises(ValueError, match="square and finite"):
        groups_of_atoms(np.full((2, 2), np.nan), 2)


# Atoms and their order ------------------------------------------------------------------------


def test_rows_of_the_matrix_are_the_atoms_of_the_smiles():
    # With locality the two are alike too, but each is nearer to its own neighbours.
    found = grouped_molecule(predictor(locality="none"), PARA)
    mol = Chem.MolFromSmiles(PARA)
    expected = [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in mol.GetAtoms()]
    assert found.labels == expected
    assert found.matrix.shape == (len(expected), len(expected))
    # Atoms that symmetry makes equal have equal rows; which they are is known from the SMILES.
    ortho, meta = (7, 12), (8, 11)
    for first, second in (ortho, meta):
        assert [n.GetIdx() for n in mol.GetAtomWithIdx(first).GetNeighbors()] != []
        others = [i for i in range(len(expected)) if i not in (first, second)]
        np.testing.assert_allclose(
            found.matrix[first, others], found.matrix[second, others], atol=1e-9
        )
        assert found.groups[first] == found.groups[second]
        assert found.matrix[first, second] == pytest.approx(1, abs=1e-9)
    # And no two other atoms are equal, so rows in the order of the nodes would not pass.
    same = np.argwhere(np.triu(found.matrix > 1 - 1e-9, 1))
    assert {tuple(pair) for pair in same.tolist()} == {ortho, meta}


def test_the_order_of_the_smiles_does_not_change_the_grouping():
    model = predictor()
    mol = Chem.MolFromSmiles(PARA)
    rng = np.random.default_rng(0)
    first = grouped_molecule(model, PARA)
    for _ in range(5):
        order = rng.permutation(mol.GetNumAtoms()).tolist()
        text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        again = grouped_molecule(model, text)
        place = Chem.MolFromSmiles(text).GetSubstructMatch(mol)  # of each atom of PARA
        assert [again.symbols[i] for i in place] == list(first.symbols)
        np.testing.assert_allclose(again.matrix[np.ix_(place, place)], first.matrix, atol=1e-6)
        assert again.num_clusters == first.num_clusters


def test_display_order_puts_groups_together_largest_first():
    found = grouped_molecule(predictor(), PARA)
    ordered = found.groups[found.order]
    assert (np.diff(ordered) >= 0).all()
    assert (np.diff(found.sizes) <= 0).all()
    assert sorted(found.order) == list(range(found.num_atoms))
    assert len(found.sizes) == found.num_clusters > 1


def test_counts_of_many_molecules_are_those_of_each():
    model = predictor(decomposition="cholesky").train()
    smiles = [PARA, "CCO", "c1ccccc1", "O"]
    found = group_counts(model, graphs_of(smiles), batch_size=2)
    assert model.training  # as it was
    for row, text in enumerate(smiles):
        one = grouped_molecule(model, text)
        assert found.num_clusters[row] == one.num_clusters
        assert found.effective_rank[row] == pytest.approx(one.effective_rank, abs=1e-5)
    assert found.num_clusters[2] == found.num_clusters[3] == 1  # benzene's atoms are one group


def test_molecules_to_show():
    counts = GroupCounts(np.array([3, 1, 2, 6, 20]), np.array([2.0, 1.0, 1.5, 4.0, 9.0]))
    assert few_and_many(counts, [20, 20, 20, 20, 40]) == (2, 3)
    assert few_and_many(counts, [20, 20, 20, 20, 40], max_atoms=40) == (2, 4)
    alone = GroupCounts(np.array([1, 1]), np.array([1.2, 1.1]))
    assert few_and_many(alone, [20, 20]) == (1, 0)
    with pytest.raises(ValueError, match="28 atoms or fewer"):
        few_and_many(alone, [30, 30])


def test_a_model_without_grouping_matrix_is_named():
    model = MoleculePredictor(74, 12, readout="mean", hidden_feats=8)
    with pytest.raises(ValueError, match="'mean' makes no grouping matrix"):
        grouped_molecule(model, "CCO")
    with pytest.raises(ValueError, match="refused by RDKit"):
        grouped_molecule(predictor(), "C1CC")


# Parts of molecules ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "count"),
    [
        ("CCCCC", 0),
        ("c1ccccc1", 0),
        ("CCO", 1),
        ("CC(=O)O", 1),
        ("Oc1ccccc1Cl", 2),
        ("NC(=O)CCOC", 2),
        ("C1CO1", 1),
        ("C=CCC#N", 2),
        ("COCOC", 1),
        ("c1ccncc1", 1),
        ("FC(F)(F)C", 3),
        ("O=[N+]([O-])c1ccccc1", 1),
    ],
)
def test_functional_groups(smiles, count):
    mol = Chem.MolFromSmiles(smiles)
    groups = functional_groups(mol)
    assert len(groups) == count
    atoms = [atom for group in groups for atom in group]
    assert len(atoms) == len(set(atoms))


# Pictures -------------------------------------------------------------------------------------


def test_colours_of_groups():
    colours = group_colours([9, 1, 5, *[2] * 8])
    several = [c for c, size in zip(colours, [9, 1, 5, *[2] * 8]) if size > 1]
    assert colours[1] == SINGLE
    assert several[: len(GROUP_COLOURS)] == list(GROUP_COLOURS)
    assert several[len(GROUP_COLOURS) :] == [FURTHER] * (len(several) - len(GROUP_COLOURS))
    assert len({*GROUP_COLOURS, SINGLE, FURTHER}) == len(GROUP_COLOURS) + 2


@pytest.mark.slow
def test_drawn_atoms_have_the_colour_of_their_group_and_the_matrix_its_labels(tmp_path):
    colors = pytest.importorskip("matplotlib.colors")
    found = grouped_molecule(predictor(), PARA)
    figure = grouping_figure([("one", found), ("two", found)])
    matrix = next(axes for axes in figure.axes if axes.get_images())
    labels = [found.labels[atom] for atom in found.order]
    assert [text.get_text() for text in matrix.get_yticklabels()] == labels
    assert [text.get_text() for text in matrix.get_xticklabels()] == labels
    shown = matrix.get_images()[0].get_array()
    np.testing.assert_array_equal(shown, found.matrix[np.ix_(found.order, found.order)])
    assert matrix.get_images()[0].get_clim() == (0, 1)

    drawing = next(axes for axes in figure.axes if any(line.get_gid() for line in axes.lines))
    discs = {line.get_gid(): line for line in drawing.lines if line.get_gid()}
    assert len(discs) == found.num_atoms
    colour_of: dict[int, set[str]] = {}
    for atom, group in enumerate(found.groups.tolist()):
        colour = colors.to_hex(discs[f"atom-{atom}"].get_color()).upper()
        colour_of.setdefault(group, set()).add(colour)
    expected = group_colours(found.sizes)
    assert colour_of == {group: {expected[group]} for group in range(len(expected))}
    # A disc lies where the bonds of its atom end: bonded atoms are one bond length apart.
    place = {int(gid[5:]): line.get_xydata()[0] for gid, line in discs.items()}
    mol = Chem.MolFromSmiles(PARA)
    pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    lengths = [np.linalg.norm(place[i] - place[j]) for i, j in pairs]
    assert max(lengths) < 1.2 * min(lengths)


@pytest.mark.slow
def test_both_files_are_written_alike_each_time(tmp_path):
    pytest.importorskip("matplotlib")
    found = grouped_molecule(predictor(), "CCO")
    for folder in ("first", "second"):
        png, svg = save_figure(grouping_figure([("x", found)]), tmp_path / folder, "name")
        assert png.read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    for name in ("name.png", "name.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert sorted(file.name for file in (tmp_path / "first").iterdir()) == ["name.png", "name.svg"]
    with pytest.raises(ValueError, match="without folder and extension"):
        save_figure(grouping_figure([("x", found)]), tmp_path, "name.png")


def test_drawing_changes_no_global_state():
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    grouping_figure([("x", grouped_molecule(predictor(), "CCO"))])
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__
    found = grouped_molecule(predictor(), "CCO")

    def without(name, *arguments):
        if name.split(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *arguments)

    monkeypatch.setattr("importlib.import_module", lambda name: without(name))
    with pytest.raises(ImportError, match=re.escape("pip install dgl-gmpool[figures]")):
        grouping_figure([("x", found)])


def scores(**means) -> list[FoldScore]:
    rng = np.random.default_rng(0)
    tests = rng.normal(0, 0.001, (2, 3))
    return [
        FoldScore("d", method, seed, fold, "rmse", None, mean + tests[seed, fold], 10)
        for method, mean in means.items()
        for seed in range(2)
        for fold in range(3)
    ]


def test_methods_are_sorted_and_winners_are_filled():
    pytest.importorskip("matplotlib")
    rows = scores(worse=0.9, mean=0.7, gmpool=0.5)
    rows.append(FoldScore("d", "worse", 2, 0, "rmse", None, float("nan"), 10))
    figure = methods_figure(rows, labels={"gmpool": "GMPool"})
    left, right = figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["GMPool", "mean", "worse (1 of 7 failed)"]
    dots = [line for line in right.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(
        [28.57, -28.57], abs=0.1
    )  # %, positive: better
    assert dots[0].get_markerfacecolor() != "white"
    assert len(methods_figure(scores(sum=1.0, gmpool=0.5)).axes) == 1  # no baseline
    with pytest.raises(ValueError, match="one data set and metric"):
        methods_figure([*rows, FoldScore("e", "mean", 0, 0, "rmse", None, 1.0, 10)])
    with pytest.raises(ValueError, match="no scores"):
        methods_figure([])


def test_distribution_says_when_there_is_no_correlation():
    pytest.importorskip("matplotlib")
    smiles = ["CCO", "c1ccccc1O", "CC(=O)Oc1ccccc1C(=O)O", "CCCC"]
    parts = molecule_parts(smiles)
    assert parts.rings.tolist() == [0, 1, 1, 0]
    counts = GroupCounts(np.array([2, 2, 2, 2]), parts.atoms.astype(float))
    titles = [axes.get_title() for axes in distribution_figure(counts, parts).axes]
    assert titles[0] == titles[1] == titles[2] == "rank correlation not defined: all equal"
    assert titles[3] == "rank correlation +1.00"
    with pytest.raises(ValueError, match="same molecules"):
        distribution_figure(counts, molecule_parts(smiles[:2]))


# Runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Adaptive, and two forced numbers, trained for two epochs; a run without grouping beside."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = small_dataset()
    splits = make_splits(dataset.table, seed=0, folds=2)
    plain = TrainingConfig(**small_options(readout_options={"similarity": "cauchy"}))
    for config in (
        *plan_forced_runs([plain], [2, 1]),
        TrainingConfig(**small_options(readout="mean")),
    ):
        train_run(dataset, splits, config, folder / config.run_name, progress=False)
    return folder


def test_the_untrained_model_is_the_one_that_training_started_from(runs):
    adaptive = find_forced_runs(runs).adaptive[0]
    models = load_fold(adaptive.folder, fold=1)
    again = build_model(models.config, node_in_feats=78, edge_in_feats=12, fold=1)
    for (name, before), after in zip(models.before.named_parameters(), models.after.parameters()):
        torch.testing.assert_close(before, again.get_parameter(name))
        # These molecules are one group each, of which a mean and a maximum teach M nothing.
        if not name.startswith(("poolings", "conductance")):
            assert not torch.equal(before, after), name
    valid = [fold["valid"]["rmse"] for fold in adaptive.metrics["folds"]]
    assert load_fold(adaptive.folder).fold == int(np.argmin(valid))
    rows = (adaptive.folder / "test_predictions.csv").read_text().splitlines()[1:]
    assert list(models.test_smiles) == [row.split(",")[1] for row in rows]
    with pytest.raises(ValueError, match="no fold 7"):
        load_fold(adaptive.folder, fold=7)
    with pytest.raises(ValueError, match="makes no grouping matrix"):
        load_fold(next(runs.glob("mean*")))


def test_forced_runs_are_found_by_number(runs, tmp_path):
    pytest.importorskip("matplotlib")
    found = find_forced_runs(runs)
    assert list(found.forced) == [1, 2]
    assert len(found.adaptive) == 1
    axes = clusters_figure(found).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "adaptive"]
    for place, run in zip(axes.get_xticks(), [found.forced[1][0], found.forced[2][0]]):
        heights = [y for line in axes.lines for x, y in line.get_xydata() if x == place]
        assert np.mean(run.fold_scores()) in heights
    with pytest.raises(ValueError, match="no run with num_clusters"):
        clusters_figure(ForcedRuns({}, found.adaptive))
    with pytest.raises(ValueError, match="no finished run of gmpool"):
        find_forced_runs(tmp_path)


def test_runs_of_two_settings_are_not_mixed(runs, tmp_path):
    for run in runs.glob("gmpool*"):
        (tmp_path / run.name).symlink_to(run)
    other = tmp_path / "other"
    source = next(runs.glob("gmpool*num_clusters=2*"))
    other.mkdir()
    for file in source.iterdir():
        if file.name != "config.json":
            (other / file.name).symlink_to(file)
    config = json.loads((source / "config.json").read_text())
    config["training"]["lr"] = 0.5
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="differ in lr"):
        find_forced_runs(tmp_path)


def test_plans_of_forced_runs():
    plain = TrainingConfig(readout="gmpool")
    with pytest.raises(ValueError, match="given twice"):
        plan_forced_runs([plain], [2, 2])
    with pytest.raises(ValueError, match="integer >= 1"):
        plan_forced_runs([plain], [0])
    with pytest.raises(ValueError, match="name gmpool"):
        plan_forced_runs([TrainingConfig(readout="mean")], [2])


def recipe(arguments: list[str]) -> int:
    spec = importlib.util.spec_from_file_location("recipe_figures", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return run_script(module.main, arguments, program="python -m experiments.figures", resume="")


@pytest.mark.slow
def test_one_command_makes_every_figure(runs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_scores(tmp_path / "scores.csv", scores(mean=0.7, gmpool=0.6))
    pictures = tmp_path / "pictures"
    code = recipe(
        ["--runs", str(runs), "--scores", str(tmp_path / "scores.csv"), "--output", str(pictures)]
    )
    out = capsys.readouterr()
    assert code == 0, out.err
    names = ["clusters", "distribution", "grouping", "methods_d"]
    assert sorted(f.name for f in pictures.iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    )
    assert "Before training" in out.out


def test_the_recipe_says_what_is_missing(runs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        recipe(["--output", str(tmp_path)])
    assert "give --runs, --model or --scores" in capsys.readouterr().err
    assert recipe(["--model", str(runs / "nothing"), "--output", str(tmp_path)]) == 2
    with pytest.raises(SystemExit):
        recipe(["--runs", str(runs), "--train"])
    assert "--train needs --tsv" in capsys.readouterr().err
