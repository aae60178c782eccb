"""A comparison that is over in seconds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from dgl_gmpool.data import load_sodium_channel
from experiments.table2 import ComparisonData, read_scores
from experiments.table2.datasets import sample_rows
from experiments.table2.plan import Plan
from experiments.table2.rows import Row
from experiments.table2.training import BUDGET


@cache
def small_table(path, rows=60):
    return sample_rows(load_sodium_channel(), rows)


DATA = ComparisonData("small", "small", "none", small_table, epochs=2)
FOREST = Row("forest", "forest", "", {"trees": 3}, ({}, {"radius": 1}), kind="forest")
#: One configuration of the network, so that a search is short.
MEAN = Row("mean", "mean", "", {"backbone": "gcn", "num_steps": 1, "lr": 0.01, "readout": "mean"})
PHI = replace(MEAN, name="phi", base={**MEAN.base, "readout": "phi"})
FROZEN = replace(MEAN, name="frozen", base={**MEAN.base, "readout": "frozen"})
BOTH = replace(MEAN, name="mean_and_max", base={**MEAN.base, "readout": "mean_and_max"}, wide=True)
SUM = replace(MEAN, name="sum", base={**MEAN.base, "readout": "sum"})


def plan(output: Path, rows=(MEAN, FOREST), **changes) -> Plan:
    made = Plan(
        datasets=(DATA,),
        search_sets=(DATA,),
        rows=tuple(rows),
        paths={},
        output=output,
        seeds=(100,),
        search_seeds=(90,),
        phases=("key",),
        budget={**BUDGET, "hidden_feats": 8},
    )
    return replace(made, **changes)


def scores_of(output: Path) -> dict:
    return {
        row.key: (row.valid, row.test, row.settings) for row in read_scores(output / "scores.csv")
    }
