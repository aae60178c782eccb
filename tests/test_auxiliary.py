"""Auxiliary targets: what is learnt beside a data set's own targets, and never predicted."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors
from test_recipes import SMALL, recipe, tox21_file
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from training_data import rows_of, small_dataset, small_options, with_small_auxiliary

from dgl_gmpool.data import (
    AuxiliaryTargets,
    load_tox21,
    make_splits,
    molecule_properties,
    with_auxiliary,
)
from dgl_gmpool.training import TrainingConfig, build_model, fit_fold, load_models
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.fold_trainer import FoldTrainer
from dgl_gmpool.training.run import run_record

CPU = torch.device("cpu")
TRAIN, VALID = list(range(27)), list(range(27, 36))
BOTH = {"flags": 2.0, "sizes": 0.5}


def config(**changes):
    return TrainingConfig(**small_options(**changes))


@pytest.mark.parametrize(
    ("kind", "names", "values", "what"),
    [
        ("ranking", ("a",), np.zeros((2, 1), np.float32), "kind must be one of"),
        ("regression", (), np.zeros((2, 0), np.float32), "no column"),
        ("regression", ("a",), np.zeros((2, 3), np.float32), r"\(2, 3\), expected \(rows, 1\)"),
        ("regression", ("a",), np.zeros((2, 1)), "float32, got float64"),
        ("regression", ("a",), np.full((2, 1), np.inf, np.float32), "infinite"),
        ("classification", ("a",), np.full((2, 1), 2, np.float32), "use kind='regression'"),
    ],
)
def test_auxiliary_targets_that_do_not_fit_are_refused(kind, names, values, what):
    with pytest.raises(ValueError, match=what):
        AuxiliaryTargets("extra", kind, names, values)


def test_a_table_checks_its_auxiliary_targets_and_takes_their_rows():
    table = with_small_auxiliary(small_dataset()).table
    flags = table.auxiliary_targets("flags")
    taken = table.take([3, 1]).auxiliary_targets("flags")
    np.testing.assert_array_equal(taken.values, flags.values[[3, 1]])
    with pytest.raises(ValueError, match=r"'flags' has 2 rows, not 36"):
        replace(table, auxiliary=(taken,))
    with pytest.raises(ValueError, match="same name: flags, flags"):
        replace(table, auxiliary=(flags, flags))
    with pytest.raises(ValueError, match=r"no auxiliary targets 'size' \(it has: flags, sizes\)"):
        table.auxiliary_targets("size")


def test_tox21_offers_the_assays_behind_its_label(tmp_path):
    file = tox21_file(tmp_path)
    table, assays = load_tox21(file), load_tox21(file, multitask=True)
    found = table.auxiliary_targets("assays")
    np.testing.assert_array_equal(found.values, assays.targets)
    assert found.task_names == assays.task_names
    np.testing.assert_array_equal(table.targets[:, 0], np.nanmax(found.values, axis=1))
    assert not assays.auxiliary


def test_properties_are_those_of_rdkit():
    table = small_dataset().table
    found = molecule_properties(table)
    molecule = Chem.MolFromSmiles(table.canonical[5])
    row = dict(zip(found.task_names, found.values[5]))
    assert row["exactmw"] == pytest.approx(Descriptors.ExactMolWt(molecule), rel=1e-6)
    assert row["CrippenClogP"] == pytest.approx(Crippen.MolLogP(molecule), rel=1e-6)
    assert row["tpsa"] == pytest.approx(Descriptors.TPSA(molecule), rel=1e-6)
    assert found.values.shape == (len(table), len(found.task_names))
    assert np.isfinite(found.values).all()


def test_properties_are_added_once_and_other_names_are_refused():
    dataset = small_dataset()
    more = with_auxiliary(dataset, ["properties"])
    assert [each.name for each in more.table.auxiliary] == ["properties"]
    assert with_auxiliary(more, ["properties"]) is more
    assert with_auxiliary(dataset, []) is dataset
    with pytest.raises(TypeError, match=r"such as \['properties'\]"):
        with_auxiliary(dataset, "properties")
    with pytest.raises(ValueError, match=r"unknown auxiliary target of small 'assays'.*properties"):
        with_auxiliary(dataset, ["assays"])


def test_the_gradient_is_that_of_the_weighted_sum_of_mean_losses():
    dataset = with_small_auxiliary(small_dataset("classification", tasks=2))
    train = list(range(20))
    settings = config(auxiliary=BOTH, batch_size=20, dropout=0.0)
    data = FoldData.prepare(dataset, train, settings, device=CPU)
    assert data.widths == [2, 3, 2]
    model = build_model(
        settings,
        node_in_feats=dataset.node_in_feats,
        edge_in_feats=dataset.edge_in_feats,
        n_tasks=sum(data.widths),
    )
    by_hand = copy.deepcopy(model)

    from dgl_gmpool.training.batches import collate

    step = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = FoldTrainer(dataset, train, (), settings, data, model, step).epoch(1)

    def mean_over_known(function, outputs, values):
        known = ~torch.isnan(values)
        return function(outputs[known], values[known])

    batch = collate([dataset.graphs[i] for i in train], edge_in_feats=12, device=CPU)
    outputs = by_hand.train()(*batch)
    own = mean_over_known(
        binary_cross_entropy_with_logits,
        outputs[:, :2],
        torch.as_tensor(dataset.table.targets[train]),
    )
    flags, sizes = (torch.as_tensor(each.values[train]) for each in dataset.table.auxiliary)
    sizes = (sizes - sizes.mean(0)) / sizes.std(0, unbiased=False)
    total = own + 2.0 * mean_over_known(binary_cross_entropy_with_logits, outputs[:, 2:5], flags)
    (total + 0.5 * mse_loss(outputs[:, 5:], sizes)).backward()
    assert loss == pytest.approx(own.item(), rel=1e-6)  # auxiliary losses are not reported
    for (name, trained), start in zip(model.named_parameters(), by_hand.parameters()):
        if start.grad is not None:
            torch.testing.assert_close(start - trained, start.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_fitted_model_predicts_its_own_targets_only(kind, tmp_path):
    dataset = with_small_auxiliary(small_dataset(kind, tasks=2))
    plain = fit_fold(dataset, TRAIN, VALID, config())
    path = tmp_path / "checkpoint.pt"
    fitted = fit_fold(dataset, TRAIN, VALID, config(auxiliary=BOTH), checkpoint=path)
    assert fitted.model.n_tasks == fitted.model.config["n_tasks"] == 2
    assert [p.shape for p in fitted.model.parameters()] == [
        p.shape for p in plain.model.parameters()
    ]
    assert fitted.history != plain.history
    # The epoch is chosen by the data set's own targets: all other outputs are gone by then.
    from dgl_gmpool.training.model import raw_outputs
    from dgl_gmpool.training.scores import scores

    outputs = fitted.target_scaler.inverse(
        raw_outputs(fitted.model, [dataset.graphs[i] for i in VALID], batch_size=8)
    )
    found = scores(kind, dataset.table.targets[VALID], outputs)
    metric = "rmse" if kind == "regression" else "roc_auc"
    assert found[metric] == pytest.approx(fitted.best_score, rel=1e-6)


def test_a_checkpoint_with_auxiliary_targets_goes_on(tmp_path, monkeypatch):
    dataset = with_small_auxiliary(small_dataset())
    settings = config(auxiliary=BOTH, epochs=3)
    whole = fit_fold(dataset, TRAIN, VALID, settings)
    path = tmp_path / "checkpoint.pt"

    real = FoldTrainer.epoch

    def stop_in_the_second(trainer, number, bar=None):
        if number == 2:
            raise KeyboardInterrupt
        return real(trainer, number, bar)

    monkeypatch.setattr(FoldTrainer, "epoch", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        fit_fold(dataset, TRAIN, VALID, settings, checkpoint=path)
    monkeypatch.setattr(FoldTrainer, "epoch", real)
    again = fit_fold(dataset, TRAIN, VALID, settings, checkpoint=path)
    assert again.best_epoch == whole.best_epoch
    for a, b in zip(again.model.parameters(), whole.model.parameters()):
        assert torch.equal(a, b)


def test_the_order_in_which_they_are_asked_for_does_not_matter():
    dataset = with_small_auxiliary(small_dataset())
    fits = [
        fit_fold(dataset, TRAIN, VALID, config(auxiliary=asked))
        for asked in (BOTH, dict(reversed(BOTH.items())))
    ]
    for a, b in zip(*(fitted.model.parameters() for fitted in fits)):
        assert torch.equal(a, b)


def test_columns_without_a_known_training_row_change_nothing():
    dataset = small_dataset()
    values = np.full((36, 2), np.nan, np.float32)
    values[VALID] = 1.0
    extra = AuxiliaryTargets("rare", "regression", ("a", "b"), values)
    rare = replace(dataset, table=replace(dataset.table, auxiliary=(extra,)))
    plain = fit_fold(dataset, TRAIN, VALID, config())
    beside = fit_fold(rare, TRAIN, VALID, config(auxiliary={"rare": 5.0}))
    for a, b in zip(plain.model.parameters(), beside.model.parameters()):
        assert torch.equal(a, b)


def test_a_configuration_names_what_it_learns_beside_and_what_is_missing():
    assert config(auxiliary={"b": 1, "a": 0.5}).label == "gmpool-a=0.5-b=1"
    settings = config(auxiliary=BOTH)
    assert TrainingConfig(**settings.to_dict()) == settings
    # Records of runs without auxiliary targets stay those of earlier versions.
    assert "auxiliary" not in config().to_dict()
    with pytest.raises(ValueError, match="auxiliary a=-1: expected a positive weight"):
        config(auxiliary={"a": -1})
    with pytest.raises(ValueError, match="expected a mapping of names to values"):
        config(auxiliary=["a"])
    with pytest.raises(ValueError, match=r"'flags' \(it has: none\); add them with"):
        fit_fold(small_dataset(), TRAIN, VALID, settings)


def test_a_run_is_another_one_when_its_auxiliary_values_are():
    dataset = with_small_auxiliary(small_dataset())
    splits = make_splits(dataset.table, folds=2)
    other = replace(dataset.table.auxiliary[1], values=dataset.table.auxiliary[1].values + 1)
    changed = replace(dataset, table=replace(dataset.table, auxiliary=(other,)))

    def fingerprint(data, **options):
        return run_record(data, splits, config(**options))["data"]["fingerprint"]

    sizes = {"auxiliary": {"sizes": 1.0}}
    assert fingerprint(dataset) == fingerprint(changed)
    assert fingerprint(dataset, **sizes) != fingerprint(changed, **sizes)


def test_a_recipe_learns_beside_and_predicts_its_own_label(tmp_path, capsys):
    file, out = tox21_file(tmp_path), tmp_path / "out"
    flags = ["--data", str(file), "--output", str(out), "--readout", "mean", *SMALL]
    beside = [*flags, "--auxiliary", "assays=10", "--auxiliary", "properties"]
    recipe("tox21").main(beside)
    run = out / "mean-assays=10-properties=1-seed0"
    header = rows_of((run / "test_predictions.csv").read_text())[0]
    assert [name for name in header if name.endswith("predicted")] == ["any of 12 assays predicted"]
    (first, _) = load_models(run)
    assert first.task_names == ("any of 12 assays",)
    table = (out / "table.md").read_text()
    assert "mean, auxiliary assays=10, properties=1" in table
    capsys.readouterr()
    recipe("tox21").main([*beside, "--resume"])
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["assay"], "'assay': this data set has assays, properties"),
        (["assays=much"], "'assays=much': expected NAME=WEIGHT"),
    ],
)
def test_a_recipe_refuses_unknown_auxiliary_targets(flags, what, tmp_path, capsys):
    with pytest.raises(SystemExit):
        recipe("tox21").main(["--output", str(tmp_path / "out"), "--auxiliary", *flags])
    assert what in capsys.readouterr().err


def test_a_recipe_refuses_an_auxiliary_target_twice_or_without_its_data(tmp_path):
    flags = ["--data", str(tox21_file(tmp_path)), "--output", str(tmp_path / "out"), *SMALL]
    with pytest.raises(ValueError, match="--auxiliary assays is given twice"):
        recipe("tox21").main([*flags, "--auxiliary", "assays", "assays=2"])
    with pytest.raises(ValueError, match="unknown auxiliary target of tox21 'assays'"):
        recipe("tox21").main([*flags, "--multitask", "--auxiliary", "assays"])
