"""Rows, the search that all of them get, the order of trainings, data and flags."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparison_cases import (
    BOTH,
    DATA,
    MEAN,
    SUM,
    plan,
)

from dgl_gmpool.data import load_sodium_channel
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training import TrainingConfig, build_model
from experiments.table2 import ROWS, choose_datasets, choose_rows
from experiments.table2.__main__ import parse, seed_numbers
from experiments.table2.controls import control_readouts
from experiments.table2.datasets import long_rows, sample_rows, with_descriptors
from experiments.table2.plan import PHASES, SEEDS, phases
from experiments.table2.rows import GRID, KEY_ROWS, WIDE, Row, labels
from experiments.table2.search import SEARCH_SEEDS, SEARCH_SETS, choose, loss_of
from experiments.table2.training import BUDGET, settings

NETWORKS = [row for row in ROWS if row.kind == "network"]


# Rows and the search. ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_the_grid_and_at_most_four_options_of_its_own(row):
    assert len(row.own) <= 4
    texts = [json.dumps(dict(own), sort_keys=True) for own in row.own]
    assert len(set(texts)) == len(texts)
    fixed = [name for name in GRID if name in row.base]
    if row.kind == "network":
        # Two rows of the paper are named after their network; a coarse graph needs the DMPNN.
        assert fixed == (["backbone"] if row.name in ("gcn", "dmpnn", "default_2levels") else [])
        assert len(row.networks()) == (4 if fixed else 8)


@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: row.name)
def test_every_configuration_builds_a_model(row):
    with control_readouts():
        for network in row.networks():
            for own in row.own:
                text = settings(row, row.configuration(network, own), DATA)
                record = json.loads(text)
                assert record["hidden_feats"] == 64
                del record["kind"], record["descriptors"]
                config = TrainingConfig(**{**record, "hidden_feats": 8})
                build_model(config, node_in_feats=4, edge_in_feats=3)
                taken = readout_entry(config.readout).options
                assert set(config.readout_options) <= set(taken)
                # The paper's pooling size, for all that take a number.
                if "num_clusters" in taken and "gmpool" not in config.readout:
                    assert config.readout_options.get("num_clusters", 10) == 10


def test_the_paper_s_rows_are_the_paper_s():
    from dgl_gmpool import GMPool, NGMPool

    for row in choose_rows(["gmpool", "ngmpool"]):
        pool = {"gmpool": GMPool, "ngmpool": NGMPool}[row.name]
        assert row.own[0] == {"readout_options": pool.PAPER}
    default = choose_rows(["default"])[0]
    assert default.own[0] == {}
    assert default.wide


def test_names_are_checked_and_key_rows_come_first():
    with pytest.raises(ValueError, match="ngmpool"):
        choose_rows(["ngmpol"])
    with pytest.raises(ValueError, match="tox21"):
        choose_datasets(["tox"])
    assert [row.name for row in choose_rows()][: len(KEY_ROWS)] == list(KEY_ROWS)
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert set(SEARCH_SETS) <= {data.name for data in choose_datasets(SEARCH_SETS)}
    assert not set(SEARCH_SEEDS) & set(SEEDS)
    assert len(SEEDS) == 25
    assert set(labels()) >= {row.name for row in ROWS}


def test_the_search_takes_one_step_after_the_other():
    row = Row("x", "x", "", {"readout": "mean"}, ({}, {"dropout": 0.1}, {"dropout": 0.2}))
    asked = []

    def loss(each):
        asked.append(each)
        value = 1.0 + 0.1 * (each["lr"] == 5e-3) + 0.1 * (each["num_steps"] == 3)
        value += 0.1 * (each.get("dropout") != 0.1) - 0.2 * each["descriptors"]
        return [value, 10 * value]

    found = choose(row, loss)
    assert found.configuration == {
        "backbone": "dmpnn",  # a tie, so the earlier one
        "num_steps": 6,
        "lr": 1e-3,
        "readout": "mean",
        "dropout": 0.1,
        "descriptors": True,
    }
    assert len(asked) == len(found.scores) == 8 + 3 + 2
    assert sum(each["descriptors"] for each in asked) == 1
    # What is missing of the first step is asked for before the second is looked at.
    found = choose(row, lambda each: [None if each["lr"] == 1e-3 else 1.0])
    assert found.configuration is None
    assert len(found.missing) == 4
    # A configuration that fails anywhere is not chosen; where all fail, that is said.
    found = choose(row, lambda each: [float("inf") if each["backbone"] == "dmpnn" else 1.0, 2.0])
    assert found.configuration["backbone"] == "gcn"
    with pytest.raises(ValueError, match="every configuration of x failed"):
        choose(row, lambda each: [float("inf")])


def test_other_rows_are_searched_on_the_first_seed_only():
    of_all = plan(Path("x"), (MEAN, SUM), search_seeds=(90, 91, 92))
    assert of_all.seeds_of_search(MEAN) == (90, 91, 92)
    assert of_all.seeds_of_search(SUM) == (90,)


def test_the_loss_of_a_search_score():
    assert loss_of({"valid": 0.8, "metric": "roc_auc"}) == pytest.approx(0.2)
    assert loss_of({"valid": 0.8, "metric": "rmse"}) == 0.8
    assert loss_of({"valid": None, "metric": "rmse"}) == float("inf")


def test_settings_do_not_depend_on_the_row_s_name_and_hold_the_budget():
    configuration = MEAN.configuration({}, {})
    text = settings(MEAN, configuration, DATA)
    assert text == settings(replace(MEAN, name="gcn", label="other"), configuration, DATA)
    assert json.loads(text)["epochs"] == 2
    assert json.loads(settings(MEAN, configuration, DATA, search=True))["epochs"] == 1
    wide = settings(MEAN, configuration, DATA, budget={**BUDGET, "hidden_feats": 200})
    assert json.loads(wide)["hidden_feats"] == 200
    chemprop = Row("chemprop", "", "", kind="chemprop", own=({}, {"dropout": 0.15}))
    record = json.loads(settings(chemprop, chemprop.configuration({"depth": 6}, {}), DATA))
    assert (record["depth"], record["hidden"], record["dropout"]) == (6, 64, 0.0)
    configuration = chemprop.configuration({"depth": 6}, chemprop.own[1])
    assert json.loads(settings(chemprop, configuration, DATA))["dropout"] == 0.15


# Order. -----------------------------------------------------------------------------------------


def test_key_rows_on_all_sets_come_seed_by_seed():
    two = (DATA, replace(DATA, name="other"))
    found = dict(
        phases(plan(Path("x"), (MEAN, BOTH, SUM), datasets=two, seeds=(100, 101), phases=PHASES))
    )
    assert list(found) == list(PHASES)
    assert [(t.seed, t.data.name, t.name) for t in found["key"]] == [
        (seed, data, row)
        for seed in (100, 101)
        for data in ("small", "other")
        for row in ("mean", "mean_and_max")
    ]
    assert {t.name for t in found["others"]} == {"sum"}
    assert {t.name for t in found["wide"]} == {"mean_and_max" + WIDE}
    assert {(t.seed, t.fold) for t in found["key_folds"]} == {(100, f) for f in (1, 2, 3, 4)}
    assert {(t.name, t.seed) for t in found["other_folds"]} == {
        ("sum", 100),
        ("mean_and_max" + WIDE, 100),
    }


def test_a_plan_is_checked(tmp_path):
    with pytest.raises(ValueError, match="phase"):
        plan(tmp_path, phases=("keys",))
    with pytest.raises(ValueError, match=r"seeds \[90\]"):
        plan(tmp_path, seeds=(90, 91))


# Data and flags. --------------------------------------------------------------------------------


def test_a_sample_of_rows_is_the_same_every_time_and_says_so():
    table = load_sodium_channel()
    sample = sample_rows(table, 100, seed=3)
    assert sample.ids == sample_rows(table, 100, seed=3).ids
    assert sample.ids != sample_rows(table, 100, seed=4).ids
    assert "drawn at random (seed 3)" in str(sample.report)
    assert sample_rows(table, 10**6) is table


def test_long_molecules_are_counted():
    from rdkit import Chem

    table = load_sodium_channel()
    found = long_rows(table, 40)
    sizes = [Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() for smiles in table.smiles]
    assert len(found) == sum(size >= 40 for size in sizes) > 0
    assert "of at least 40 heavy atoms" in str(found.report)


def test_descriptors_stand_beside_what_is_there():
    data = DATA.featurized(None, cache=None)
    found = with_descriptors(data).table
    width = found.global_feats.shape[1]
    assert width > 30
    assert np.isfinite(found.global_feats).all()
    solvent = replace(data, table=replace(data.table, global_feats=np.ones((60, 2), np.float32)))
    both = with_descriptors(solvent).table.global_feats
    assert both.shape == (60, 2 + width)
    assert (both[:, :2] == 1).all()


def test_seeds_are_read_and_checked():
    assert seed_numbers("100-124") == SEEDS
    assert seed_numbers("5,7-8,5") == (5, 7, 8)
    for text in ("", "a", "9-8", "1-", "-1", "1--2"):
        with pytest.raises(ValueError, match="expected numbers such as"):
            seed_numbers(text)
    assert parse([]).seeds == "100-124"
