"""The rows beside ours: random forest and chemprop, on the same rows as our models."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from training_data import small_dataset, with_targets

import experiments.table2.chemprop_rival as chemprop_rival
from dgl_gmpool.data import MoleculeDataset, MoleculeTable, SelectionReport, featurize
from dgl_gmpool.training import TrainingError
from dgl_gmpool.training.batches import count_batches, derived_seed
from dgl_gmpool.training.forest import morgan_fingerprints
from dgl_gmpool.training.task import Standardizer
from experiments.table2.chemprop_rival import fit_chemprop
from experiments.table2.forest import fit_forest
from experiments.table2.rival_fold import RivalFold

TRAIN, VALID, TEST = list(range(20)), list(range(20, 29)), [35, 29, 34, 30, 33]
SMALL = {"epochs": 2, "batch_size": 8, "hidden": 8, "ffn_hidden": 8}


def forest(dataset, train=TRAIN, valid=VALID, test=TEST, **options) -> RivalFold:
    return fit_forest(dataset, train, valid, test, **{"seed": 0, "trees": 20, **options})


def chemprop(dataset, train=TRAIN, valid=VALID, test=TEST, **options) -> RivalFold:
    pytest.importorskip("chemprop")
    return fit_chemprop(dataset, train, valid, test, **{"seed": 0, **SMALL, **options})


RIVALS = pytest.mark.parametrize("fit", [forest, chemprop])


def assert_equal(a: RivalFold, b: RivalFold) -> None:
    np.testing.assert_array_equal(a.valid, b.valid)
    np.testing.assert_array_equal(a.test, b.test)
    assert (a.best_epoch, a.epochs, a.parameters) == (b.best_epoch, b.epochs, b.parameters)


def substituted_chains(kind: str) -> MoleculeDataset:
    """Chains with and without chlorine at one end, which the target is about."""
    ends, tails = ("Cl", "ClC(C)", "O", "N", "C", "S"), ("C(=O)O", "C#N")
    smiles = [f"{end}{'C' * n}{tail}" for n, end, tail in product(range(2, 8), ends, tails)]
    chlorine = np.array([["Cl" in s] for s in smiles], np.float32)
    return featurize(
        MoleculeTable(
            name="chains",
            kind=kind,
            task_names=("chlorine",),
            ids=tuple(map(str, range(len(smiles)))),
            smiles=tuple(smiles),
            canonical=tuple(smiles),
            groups=tuple(smiles),
            targets=chlorine if kind == "classification" else 100 + 20 * chlorine,
            global_feats=None,
            report=SelectionReport("chains", (("rows", len(smiles)),)),
        ),
        progress=False,
    )


@RIVALS
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_seed_gives_the_same_bits_and_leaves_the_random_states(fit, kind):
    dataset = small_dataset(kind, tasks=2, global_feats=True)
    first = fit(dataset)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert_equal(first, fit(dataset))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert not np.array_equal(first.test, fit(dataset, seed=1).test)
    assert first.valid.shape == (len(VALID), 2)
    assert first.test.shape == (len(TEST), 2)
    assert first.valid.dtype == first.test.dtype == np.float64
    assert first.seconds > 0
    if kind == "classification":
        assert (np.concatenate([first.valid, first.test]) >= 0).all()
        assert (np.concatenate([first.valid, first.test]) <= 1).all()


@RIVALS
def test_rows_come_back_in_the_order_asked_for(fit):
    dataset = small_dataset(tasks=2, global_feats=True)
    a = fit(dataset)
    # 9 validation rows against batches of 8: chemprop's own loader would leave one out.
    b = fit(dataset, valid=VALID[::-1], test=sorted(TEST))
    np.testing.assert_allclose(b.valid[::-1], a.valid, rtol=1e-5)
    np.testing.assert_allclose(b.test, a.test[np.argsort(TEST)], rtol=1e-5)
    assert len(np.unique(a.test[:, 0])) == len(TEST)


@RIVALS
def test_test_targets_are_not_looked_at(fit):
    dataset = small_dataset(tasks=2)
    targets = dataset.table.targets.copy()
    targets[TEST] = 1e6
    assert_equal(fit(dataset), fit(with_targets(dataset, targets)))


@RIVALS
def test_missing_labels_teach_nothing(fit):
    dataset = small_dataset("classification", tasks=1)
    unmeasured = [3, 8, 11]
    targets = dataset.table.targets.copy()
    targets[unmeasured] = np.nan
    gone = with_targets(dataset, targets)
    if fit is forest:
        rest = [row for row in TRAIN if row not in unmeasured]
        assert_equal(fit(gone), fit(dataset, train=rest))
    else:
        # What stands in an unmeasured cell cannot matter, so only the training can: a set whose
        # second task is nearly unmeasured still gives finite predictions for both.
        two = np.hstack([targets, np.where(np.arange(36)[:, None] < 2, targets, np.nan)])
        targets = two.astype(np.float32)
        table = replace(dataset.table, task_names=("a", "b"), targets=targets, kinds=(), classes=())
        assert np.isfinite(fit(replace(dataset, table=table)).test).all()


@RIVALS
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_structure_is_learnt_in_the_unit_of_the_target(fit, kind):
    dataset = substituted_chains(kind)
    rows = np.random.default_rng(0).permutation(len(dataset))
    train, valid, test = rows[:36], rows[36:54], rows[54:]
    options = {"hidden": 32, "ffn_hidden": 32, "dropout": 0.0, "aggregation": "sum"}
    schedule = {"epochs": 25, "max_lr": 0.03, "final_lr": 0.003}
    fold = fit(dataset, train, valid, test, **({} if fit is forest else {**options, **schedule}))
    for side, predicted in ((valid, fold.valid), (test, fold.test)):
        wanted = dataset.table.targets[side]
        if kind == "classification":
            assert roc_auc_score(wanted, predicted) > 0.9
        else:
            assert np.sqrt(np.mean((wanted - predicted) ** 2)) < 0.5 * wanted.std()


@RIVALS
def test_global_features_are_used(fit):
    dataset = small_dataset(global_feats=True)
    solvent = dataset.table.global_feats
    dataset = with_targets(dataset, 10 * solvent[:, :1])
    options = {"max_features": 1.0} if fit is forest else {"epochs": 25, "max_lr": 0.03}
    fold = fit(dataset, **options)
    wanted = dataset.table.targets[VALID]
    assert np.corrcoef(fold.valid[:, 0], wanted[:, 0])[0, 1] > 0.8
    # The same molecules in another solvent get another value.
    moved = replace(dataset.table, global_feats=solvent.copy())
    moved.global_feats[TEST] += 6
    other = fit(replace(dataset, table=moved), **options)
    np.testing.assert_array_equal(other.valid, fold.valid)
    assert not np.allclose(other.test, fold.test)


@RIVALS
@pytest.mark.parametrize(
    ("sides", "error", "said"),
    [
        ({"train": []}, ValueError, "train has the shape"),
        ({"test": [36]}, ValueError, "row 36.*0 to 35"),
        ({"valid": [-1]}, ValueError, "row -1"),
        ({"valid": [5]}, ValueError, "row 5 is named more than once"),
        ({"test": [0.5]}, TypeError, "float64"),
    ],
)
def test_rows_that_are_no_fold_are_refused(fit, sides, error, said):
    with pytest.raises(error, match=said):
        fit(small_dataset(), **sides)


@RIVALS
def test_a_task_without_a_measured_training_row_is_named(fit):
    dataset = small_dataset(tasks=2)
    targets = dataset.table.targets.copy()
    targets[TRAIN, 1] = np.nan
    with pytest.raises(ValueError, match="20 training rows has a measured task1"):
        fit(with_targets(dataset, targets))


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_a_forest_that_saw_one_class_predicts_it(only):
    dataset = small_dataset("classification")
    targets = dataset.table.targets.copy()
    targets[TRAIN] = only
    assert (forest(with_targets(dataset, targets)).test == only).all()


def test_forests_of_several_tasks_are_independent():
    dataset = small_dataset(tasks=3)
    targets = dataset.table.targets.copy()
    targets[:, 1] *= -3
    a, b = forest(dataset), forest(with_targets(dataset, targets))
    np.testing.assert_array_equal(a.test[:, [0, 2]], b.test[:, [0, 2]])
    assert not np.allclose(a.test[:, 1], b.test[:, 1])


def test_fingerprints_count_up_to_255_and_keep_the_order():
    smiles = ["C" * 400, "CCO", "OCC", "C"]
    counts = morgan_fingerprints(smiles, counts=True)
    bits = morgan_fingerprints(smiles)
    assert counts[0].max() == 255
    np.testing.assert_array_equal(counts > 0, bits > 0)
    np.testing.assert_array_equal(bits[1], bits[2])
    assert not bits.flags.writeable
    with pytest.raises(ValueError, match="refused by RDKit"):
        morgan_fingerprints(["CCO", "c1cccc1"])


def script_scores(monkeypatch, metric: str, values: list[float]) -> None:
    """Let the validation scores be ``values``, epoch after epoch."""
    real, told = chemprop_rival.scores, iter([0.5, *values])  # the first is asked before training
    monkeypatch.setattr(chemprop_rival, "scores", lambda *args: {**real(*args), metric: next(told)})


@pytest.mark.parametrize(
    ("kind", "global_feats"),
    [("classification", False), ("regression", False), ("regression", True)],
)
def test_chemprop_is_trained_as_chemprop_trains_itself(kind, global_feats, monkeypatch, tmp_path):
    """Weights, loss, optimiser and schedule against chemprop's own data, model and trainer.

    Without dropout, and with the rows in one order, both do the same sums; cells are missing.
    """
    pytest.importorskip("chemprop")
    from chemprop import data, models, nn
    from lightning import pytorch as pl

    monkeypatch.chdir(tmp_path)
    dataset = small_dataset(kind, tasks=2, global_feats=global_feats)
    table, epochs = dataset.table, 4
    metric, values = ("rmse", [3.0, 2.0, 1.0, 5.0])
    if kind == "classification":
        metric, values = ("roc_auc", [0.5, 0.6, 0.7, 0.4])
    monkeypatch.setattr(chemprop_rival, "shuffled", lambda rows, seed: torch.as_tensor(rows))
    # The third epoch is declared the best: its weights have to come back, not the last ones.
    script_scores(monkeypatch, metric, values)
    ours = chemprop(dataset, epochs=epochs, dropout=0.0, max_lr=0.02)
    assert (ours.best_epoch, ours.epochs) == (3, epochs)
    assert list(tmp_path.iterdir()) == []

    def points(rows):
        feats = table.global_feats
        return data.MoleculeDataset(
            [
                data.MoleculeDatapoint.from_smi(
                    table.smiles[row],
                    table.targets[row].astype(float),
                    x_d=None if feats is None else feats[row].copy(),
                )
                for row in rows
            ]
        )

    train, test = points(TRAIN), points(TEST)
    x_scaler = train.normalize_inputs("X_d")
    if kind == "classification":
        predictor, unscale = nn.BinaryClassificationFFN, None
    else:
        scaler = train.normalize_targets()
        predictor, unscale = nn.RegressionFFN, nn.UnscaleTransform.from_standard_scaler(scaler)
    torch.manual_seed(derived_seed(0))
    model = models.MPNN(
        nn.BondMessagePassing(d_h=8),
        nn.MeanAggregation(),
        predictor(
            n_tasks=2,
            input_dim=10 if global_feats else 8,
            hidden_dim=8,
            output_transform=unscale,
        ),
        X_d_transform=nn.ScaleTransform.from_standard_scaler(x_scaler) if global_feats else None,
        max_lr=0.02,
    )
    assert sum(w.numel() for w in model.parameters()) == ours.parameters
    assert count_batches(len(TRAIN), 8) == 3
    epoch_outputs = []

    class Predict(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            module.eval()
            batch = data.collate_batch([test[i] for i in range(len(test))])
            with torch.no_grad():
                epoch_outputs.append(module(batch.bmg, batch.V_d, batch.X_d).numpy())
            module.train()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and logging
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Predict()],
        )
        trainer.fit(model, data.build_dataloader(train, batch_size=8, shuffle=False))
    np.testing.assert_allclose(ours.test, epoch_outputs[2], rtol=1e-4, atol=1e-4)
    assert not np.allclose(ours.test, epoch_outputs[3], rtol=1e-3, atol=1e-3)


def test_chemprop_featurises_a_data_set_once():
    dataset = small_dataset()
    chemprop(dataset)
    before = chemprop_rival._molgraphs.cache_info().misses
    chemprop(dataset, train=TEST, test=TRAIN)
    assert chemprop_rival._molgraphs.cache_info().misses == before
    graphs = chemprop_rival._molgraphs(tuple(dataset.table.smiles))
    assert [len(g.V) for g in graphs] == [g.num_nodes() for g in dataset.graphs]
    assert [len(g.E) for g in graphs] == [g.num_edges() for g in dataset.graphs]


def test_chemprop_takes_batches_without_bonds():
    dataset = small_dataset()
    fold = chemprop(dataset, train=[0, 1, *TRAIN[3:]], batch_size=2)
    assert np.isfinite(fold.test).all()
    alone = chemprop(dataset, test=[0], valid=[1, 2], train=TRAIN[3:])
    assert alone.test.shape == (1, 1)


@pytest.mark.parametrize("aggregation", ["mean", "sum", "norm"])
def test_chemprop_options_reach_the_model(aggregation):
    dataset = small_dataset()
    plain = chemprop(dataset, aggregation=aggregation)
    more = chemprop(dataset, aggregation=aggregation, ffn_layers=2, batch_norm=True)
    assert more.parameters - plain.parameters == (8 * 8 + 8) + 2 * 8
    for options in ({"depth": 2}, {"dropout": 0.4}, {"warmup_epochs": 1}, {"init_lr": 1e-3}):
        other = chemprop(dataset, aggregation=aggregation, **options)
        assert not np.array_equal(other.test, plain.test), options


def test_chemprop_stops_after_epochs_without_a_new_best(monkeypatch):
    pytest.importorskip("chemprop")
    script_scores(monkeypatch, "rmse", [1.0, 2.0, 3.0, 0.5])
    fold = chemprop(small_dataset(), epochs=50, patience=2)
    assert (fold.best_epoch, fold.epochs) == (1, 3)


def test_chemprop_that_diverges_says_so():
    with pytest.raises(TrainingError, match="smaller max_lr than 1e"):
        chemprop(small_dataset(), epochs=8, max_lr=1e30)


def test_validation_rows_that_cannot_be_scored_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "chemprop", None)
    dataset = small_dataset("classification")
    targets = dataset.table.targets.copy()
    targets[VALID] = 1
    with pytest.raises(ValueError, match="9 validation rows"):
        fit_chemprop(with_targets(dataset, targets), TRAIN, VALID, TEST, seed=0, epochs=1)


def test_without_chemprop_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "chemprop", None)
    with pytest.raises(ImportError, match=r"(?s)pip install chemprop.*leave the row"):
        fit_chemprop(small_dataset(), TRAIN, VALID, TEST, seed=0, **SMALL)


def test_scaling_constants_come_from_the_training_rows():
    dataset = small_dataset(global_feats=True)
    pytest.importorskip("chemprop")
    inputs = chemprop_rival._Inputs(
        dataset.table, np.array(TRAIN), chemprop_rival._import_chemprop()
    )
    wanted = Standardizer.fit(dataset.table.targets[TRAIN])
    np.testing.assert_array_equal(inputs.scaler.mean, wanted.mean)
    assert inputs.targets[TRAIN].mean().abs() < 1e-5
    assert inputs.targets[TEST].mean().abs() > 1e-2
    assert inputs.descriptors is not None
    assert inputs.descriptors[TRAIN].std(dim=0, unbiased=False).sub(1).abs().max() < 1e-5
