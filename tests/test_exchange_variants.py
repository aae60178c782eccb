"""Variants of the exchange: a gain of zero in the beginning, whatever the way."""

from __future__ import annotations

import pytest
import torch

from dgl_gmpool.data import featurize
from dgl_gmpool.data.molecules_csv import load_csv
from experiments.exchange.__main__ import batch_of, build, train
from experiments.exchange.variants import VARIANTS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("variants") / "t.csv"
    rows = [f"{'C' * n}{end},{n}.5" for n in range(1, 26) for end in ("O", "c1ccccc1")]
    path.write_text("\n".join(["smiles,y", *rows]) + "\n")
    return featurize(load_csv(path, smiles_column="smiles", target_columns="y"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_starts_alike_and_trains_to_something_else(dataset, variant):
    batch = batch_of(dataset, [0, 1, 30, 31])
    plain, other = (build(arm, dataset, 3).eval() for arm in ("after_layers", variant))
    with torch.no_grad():
        assert torch.equal(plain(*batch), other(*batch))
    losses = {arm: loss for arm, loss, _ in train(dataset, 3, ["after_layers", variant], 3)}
    assert losses["after_layers"] != losses[variant]
