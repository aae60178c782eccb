"""Numbers of NumPy, which tables and searches hand on, where Python's are asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool, get_readout
from dgl_gmpool.data import load_sodium_channel, make_splits
from dgl_gmpool.registry import list_readouts


@pytest.mark.parametrize("name", list_readouts())
def test_a_width_is_numpys_too(name):
    pool = get_readout(name, in_feats=np.int64(4))
    assert type(pool.out_feats) is int
    assert repr(pool) == repr(get_readout(name, in_feats=4))


@pytest.mark.parametrize("pooling", [GMPool, NGMPool])
def test_a_pooling_by_itself(pooling):
    pool = pooling(np.int64(4), aggregate="mean_and_max")
    assert type(pool.out_feats) is int
    assert repr(pool) == repr(pooling(4, aggregate="mean_and_max"))


def test_a_model_and_splits():
    model = MoleculePredictor(np.int64(5), np.int32(0), hidden_feats=np.int64(8), readout="mean")
    assert json.dumps(model.config)
    table = load_sodium_channel().take(range(60))
    splits = make_splits(table, seed=np.int64(3), folds=np.int64(2))
    assert splits == make_splits(table, seed=3, folds=2)
    assert type(splits.seed) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), 0, np.int64(0), 2.0, np.float64(2), "2"])
def test_what_is_no_number_of_things(value):
    with pytest.raises(ValueError, match=r"in_feats is .*; give an integer >= 1"):
        get_readout("gmpool", in_feats=value)
