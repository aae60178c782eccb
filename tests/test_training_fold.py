"""One fold: the same bits again, a checkpoint in the middle, and clear ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import small_dataset, small_options, with_targets

import dgl_gmpool.training.fold as fold_module
from dgl_gmpool import collect_losses
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.training import TrainingConfig, TrainingError, build_model, fit_fold
from dgl_gmpool.training.batches import collate, row_batches, shuffled
from dgl_gmpool.training.config import SCHEDULES
from dgl_gmpool.training.model import raw_outputs
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.task import SquaredError

TRAIN, VALID = list(range(0, 24)), list(range(24, 32))


@pytest.fixture(scope="module")
def regression():
    return small_dataset()


@pytest.fixture(scope="module")
def several_tasks():
    return small_dataset("classification", tasks=3, global_feats=True)


def assert_same_fit(a, b):
    assert a.model.state_dict().keys() == b.model.state_dict().keys()
    for key, value in a.model.state_dict().items():
        assert torch.equal(value, b.model.state_dict()[key]), key
    for x, y in zip(a.history, b.history):
        assert {**x, "seconds": 0} == {**y, "seconds": 0}
    assert len(a.history) == len(b.history)
    assert (a.best_epoch, a.best_score) == (b.best_epoch, b.best_score)


@pytest.mark.parametrize("readout", ["mean", "ngmpool", "gmpool"])
@pytest.mark.parametrize("data", ["regression", "several_tasks"])
def test_a_repeated_fit_gives_the_same_bits_and_leaves_the_random_state(readout, data, request):
    dataset = request.getfixturevalue(data)
    config = TrainingConfig(**small_options(readout=readout))
    first = fit_fold(dataset, TRAIN, VALID, config, fold=1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = fit_fold(dataset, TRAIN, VALID, config, fold=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_fit(first, again)
    other = fit_fold(dataset, TRAIN, VALID, config, fold=2)
    assert other.history[0]["train_loss"] != first.history[0]["train_loss"]


def test_a_new_model_leaves_the_random_state_of_every_device(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(99)
    assert seeded == [99]  # what torch seeds beside the CPU
    before = torch.get_rng_state()
    build_model(TrainingConfig(**small_options()), node_in_feats=4, edge_in_feats=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded == [99]


def test_all_readouts_start_from_the_same_backbone():
    states = []
    for readout in ("mean", "ngmpool", "gmpool"):
        config = TrainingConfig(**small_options(readout=readout, seed=5))
        model = build_model(config, node_in_feats=4, edge_in_feats=3, fold=2)
        states.append(model.backbones.state_dict())
    for state in states[1:]:
        for key, value in states[0].items():
            assert torch.equal(value, state[key])
    next_fold = build_model(config, node_in_feats=4, edge_in_feats=3, fold=3)
    assert any(
        not torch.equal(value, next_fold.backbones.state_dict()[key])
        for key, value in states[0].items()
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_checkpoint_of_any_epoch_leads_to_the_same_end(
    several_tasks, tmp_path, monkeypatch, schedule
):
    config = TrainingConfig(**small_options(epochs=5, patience=2, dropout=0.3, schedule=schedule))
    whole = fit_fold(several_tasks, TRAIN, VALID, config)

    class Stopped(BaseException):
        pass

    for epoch in range(1, len(whole.history) + 1):
        path = tmp_path / f"after{epoch}.pt"

        def save_then_stop(target, value, epoch=epoch):
            atomic_torch_save(target, value)
            if len(value["history"]) == epoch:
                raise Stopped

        with monkeypatch.context() as patch:
            patch.setattr(fold_module, "atomic_torch_save", save_then_stop)
            with pytest.raises(Stopped):
                fit_fold(several_tasks, TRAIN, VALID, config, checkpoint=path)
        assert len(torch.load(path, weights_only=True)["history"]) == epoch
        assert_same_fit(whole, fit_fold(several_tasks, TRAIN, VALID, config, checkpoint=path))


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_nearly_zero(regression, monkeypatch):
    rates = []

    class Watched(torch.optim.Adam):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    config = TrainingConfig(**small_options(epochs=10, patience=10, schedule="one_cycle", lr=0.01))
    fit_fold(regression, TRAIN, VALID, config)
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert 0.2 * len(rates) < rates.index(max(rates)) < 0.4 * len(rates)
    assert rates[-1] < 1e-4


def test_an_unknown_schedule_names_the_known_ones():
    with pytest.raises(ValueError, match="one_cycle"):
        TrainingConfig(schedule="onecycle")


def test_a_damaged_checkpoint_is_named(regression, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read.*delete it"):
        fit_fold(regression, TRAIN, VALID, TrainingConfig(**small_options()), checkpoint=path)


def test_rows_outside_training_and_validation_play_no_part(regression):
    config = TrainingConfig(**small_options())
    targets = regression.table.targets.copy()
    targets[32:] = 1e6
    dataset = small_dataset(global_feats=True)
    changed = replace(dataset, table=replace(dataset.table, targets=targets.astype(np.float32)))
    feats = dataset.table.global_feats.copy()
    feats[24:] *= 50  # not the training rows
    changed = replace(changed, table=replace(changed.table, global_feats=feats))
    a, b = (fit_fold(d, TRAIN, VALID, config) for d in (dataset, changed))
    assert torch.equal(torch.as_tensor(a.target_scaler.mean), torch.as_tensor(b.target_scaler.mean))
    assert np.array_equal(a.global_scaler.std, b.global_scaler.std)
    assert [x["train_loss"] for x in a.history] == [x["train_loss"] for x in b.history]


def test_training_learns(regression):
    config = TrainingConfig(**small_options(readout="mean", epochs=25, patience=25, dropout=0.0))
    fitted = fit_fold(regression, TRAIN, VALID, config)
    spread = float(regression.table.targets[VALID].std())
    assert fitted.best_score < 0.8 * spread
    assert fitted.history[-1]["train_loss"] < 0.5 * fitted.history[0]["train_loss"]


def test_the_best_epoch_is_returned_not_the_last(regression):
    options = {"epochs": 6, "patience": 6, "lr": 0.3, "dropout": 0.15, "readout": "mean"}
    fitted = fit_fold(regression, TRAIN, VALID, TrainingConfig(**small_options(**options)))
    valid = [row["valid_score"] for row in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmin(valid)) != len(valid)
    outputs = raw_outputs(fitted.model, [regression.graphs[i] for i in VALID], batch_size=8)
    error = fitted.target_scaler.inverse(outputs) - regression.table.targets[VALID]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(min(valid), rel=1e-6)


def test_a_first_score_that_is_not_a_number_is_never_kept(regression, monkeypatch):
    real, calls = TableTask.scores, []

    def nan_at_first(*given, **options):
        calls.append(1)
        result = real(*given, **options)
        return {**result, "rmse": float("nan")} if len(calls) == 1 else result

    monkeypatch.setattr(TableTask, "scores", nan_at_first)
    fitted = fit_fold(regression, TRAIN, VALID, TrainingConfig(**small_options(epochs=3)))
    assert fitted.best_epoch > 1
    monkeypatch.setattr(
        TableTask, "scores", lambda *a, **b: {**real(*a, **b), "rmse": float("nan")}
    )
    with pytest.raises(TrainingError, match="RMSE was not a number in any of 2 epochs"):
        fit_fold(regression, TRAIN, VALID, TrainingConfig(**small_options()))


def test_patience_ends_a_fold(regression, monkeypatch):
    real = TableTask.scores
    monkeypatch.setattr(TableTask, "scores", lambda *a, **b: {**real(*a, **b), "rmse": 1.0})
    fitted = fit_fold(
        regression, TRAIN, VALID, TrainingConfig(**small_options(epochs=9, patience=3))
    )
    assert (fitted.best_epoch, len(fitted.history)) == (1, 4)


@pytest.mark.parametrize("readout", ["mean", "gmpool"])
def test_features_that_are_not_finite_stop_with_epoch_and_rows(regression, readout):
    graph = regression.graphs[7].clone()
    graph.ndata["h"] = torch.full_like(graph.ndata["h"], float("nan"))
    graphs = [*regression.graphs[:7], graph, *regression.graphs[8:]]
    config = TrainingConfig(**small_options(readout=readout))
    with pytest.raises(TrainingError, match=r"in fold_3, epoch 1 .*m7 CCCC") as caught:
        fit_fold(replace(regression, graphs=graphs), TRAIN, VALID, config, fold=3)
    named = str(caught.value).split("(id SMILES): ")[1].split("; ")
    assert len(named) == 8  # the batch, not the whole set


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_epoch_and_rows(regression, monkeypatch, bad):
    calls = []

    real = SquaredError.total

    def total(*given):
        calls.append(1)
        return real(*given) * (bad if len(calls) == 5 else 1)

    monkeypatch.setattr(SquaredError, "total", total)
    with pytest.raises(TrainingError, match=f"loss became {bad} in fold_0, epoch 2 .*8 rows"):
        fit_fold(regression, TRAIN, VALID, TrainingConfig(**small_options()))


def test_a_model_that_overflows_stops_with_advice(regression):
    config = TrainingConfig(**small_options(readout="mean", lr=1e30, batch_size=24))
    with pytest.raises(TrainingError, match=r"epoch 1 \(lr 1e\+30\).*smaller lr"):
        fit_fold(regression, TRAIN, VALID, config)


def test_folds_that_cannot_be_trained_or_scored_are_refused_at_once(several_tasks):
    config = TrainingConfig(**small_options())
    targets = several_tasks.table.targets.copy()
    targets[TRAIN, 1] = np.nan
    with pytest.raises(ValueError, match="none of its 24 training rows has a measured task1"):
        fit_fold(with_targets(several_tasks, targets), TRAIN, VALID, config)
    targets = several_tasks.table.targets.copy()
    targets[VALID] = 1.0
    with pytest.raises(ValueError, match="8 validation rows do not hold both classes"):
        fit_fold(with_targets(several_tasks, targets), TRAIN, VALID, config)
    with pytest.raises(ValueError, match="0 validation rows"):
        fit_fold(several_tasks, TRAIN, [], config)


def test_batches_hold_every_row_once_and_no_single_row_at_the_end():
    for rows in range(2, 30):
        for size in range(2, 9):
            parts = list(row_batches(torch.arange(rows), size))
            assert torch.equal(torch.cat(parts), torch.arange(rows))
            assert all(2 <= len(part) <= size + 1 for part in parts)
    order = shuffled(TRAIN, 3)
    assert sorted(order.tolist()) == TRAIN
    assert order.tolist() != TRAIN
    assert torch.equal(order, shuffled(TRAIN, 3))
    assert not torch.equal(order, shuffled(TRAIN, 4))


def test_a_batch_without_any_bond_has_edge_features_of_the_right_width(regression):
    no_bonds = [regression.graphs[i] for i in (0, 1, 2)]
    device = torch.device("cpu")
    batch = collate(no_bonds, edge_in_feats=regression.edge_in_feats, device=device)
    assert batch.edge_feats.shape == (0, regression.edge_in_feats)
    model = build_model(
        TrainingConfig(**small_options()),
        node_in_feats=regression.node_in_feats,
        edge_in_feats=regression.edge_in_feats,
    )
    together = raw_outputs(model, no_bonds)
    alone = np.concatenate([raw_outputs(model, [graph]) for graph in no_bonds])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert raw_outputs(model, []).shape == (0, 1)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_auxiliary_losses_train_the_pooling(regression, weight):
    """The mean over DiffPool's clusters does not depend on its shares: only its losses do."""
    options = {
        "aggregate": "mean",
        "num_clusters": 2,
        "link_weight": weight,
        "entropy_weight": weight,
    }
    config = TrainingConfig(**small_options(readout="diffpool", readout_options=options))
    fitted = fit_fold(regression, TRAIN, VALID, config)
    start = build_model(
        config, node_in_feats=regression.node_in_feats, edge_in_feats=regression.edge_in_feats
    )
    moved = [
        (after - before).abs().max().item()
        for before, after in zip(start.poolings.parameters(), fitted.model.poolings.parameters())
    ]
    assert moved
    # Without the losses there is rounding only, of which Adam makes steps of some size.
    batch = collate(
        regression.graphs[:8], edge_in_feats=regression.edge_in_feats, device=torch.device("cpu")
    )
    with collect_losses() as losses:
        fitted.model(*batch)
    assert set(losses) == ({"DiffPool link", "DiffPool entropy"} if weight else set())
    assert max(moved) > 1e-3 or not weight
