"""Do bounds help on molecules? Potencies whose lower half is known as a bound alone.

    python -m experiments.bounds_molecules --output experiments/results/bounds

The sodium channel set of RDKit has 919 measured potencies. In training and validation rows, values
below the 30th or 60th percentile are replaced by ``<limit``, as an assay with a top concentration
would report them. Test rows keep their values, so the error on them is known. Ways: leave such rows
out, take the limit for the value, learn that the value lies below.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.data import MoleculeDataset, featurize, load_sodium_channel, make_splits
from dgl_gmpool.training import TrainingConfig, fit_fold
from dgl_gmpool.training.provenance import library_versions, source_commit

WAYS = ("drop", "as_measured", "use")
HIDDEN = (0.3, 0.6)


def censored(dataset: MoleculeDataset, test: list[int], share: float, way: str) -> MoleculeDataset:
    """The data set with the lowest values outside the test rows known as bounds, treated by
    ``way``."""
    table = dataset.table
    limit = np.quantile(table.targets, share)
    hidden = table.targets < limit
    hidden[test] = False
    nothing = np.full_like(table.targets, np.nan)
    targets = np.where(hidden, limit if way == "as_measured" else np.nan, table.targets)
    lower = upper = None
    if way == "use":
        lower, upper = nothing, np.where(hidden, limit, np.nan)
    return replace(dataset, table=replace(table, targets=targets, lower=lower, upper=upper))


def trial(dataset: MoleculeDataset, *, seed: int, share: float, way: str) -> tuple[float, float]:
    """Test RMSE on all rows, and on those above the limit."""
    splits = make_splits(dataset.table, seed=seed, folds=5, test_fraction=0.2)
    data = censored(dataset, splits.test, share, way)
    measured = ~np.isnan(data.table.targets[:, 0])
    train, valid = splits.folds[0]
    if way == "drop":
        train = [row for row in train if measured[row]]
    config = TrainingConfig(hidden_feats=64, epochs=25, batch_size=40, lr=2e-3, seed=seed)
    model = fit_fold(data, train, valid, config).trained(data, config)
    found = model.predict([dataset.graphs[row] for row in splits.test])
    truth = dataset.table.targets[splits.test]
    off, above = (found - truth) ** 2, truth >= np.quantile(dataset.table.targets, share)
    return float(np.sqrt(off.mean())), float(np.sqrt(off[above].mean()))


def report(record: dict[str, Any]) -> str:
    """The table of a record, in Markdown: means over the seeds, and on all rows the difference from
    leaving the bounds out, seed by seed, with its standard error."""
    found = {(row["way"], row["hidden_share"]): np.array(row["rmse"]) for row in record["rows"]}
    shares = sorted({share for _, share in found})
    head = ["test RMSE on all rows (above the limit)", *(f"{s:.0%} hidden" for s in shares)]
    head += [f"{s:.0%} hidden: less than drop" for s in shares]
    lines = [head, [":--", *("--:" for _ in head[1:])]]
    for way in WAYS:
        means = [found[way, share].mean(0) for share in shares]
        cells = [f"{everywhere:.3f} ({above:.3f})" for everywhere, above in means]
        for share in shares:
            less = found["drop", share][:, 0] - found[way, share][:, 0]
            error = less.std(ddof=1) / len(less) ** 0.5 if len(less) > 1 else np.nan
            cells.append("" if way == "drop" else f"{less.mean():+.3f} +- {error:.3f}")
        lines.append([way, *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    """Run all trials and write ``molecules.json`` and ``molecules.md``, again after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    parser.add_argument("--hidden", type=float, nargs="+", default=list(HIDDEN), metavar="SHARE")
    args = parser.parse_args()
    dataset = featurize(load_sodium_channel(), progress=False)
    args.output.mkdir(parents=True, exist_ok=True)
    command = "python -m experiments.bounds_molecules --output experiments/results/bounds"
    shares = " ".join(map(str, args.hidden))
    about = {"commit": source_commit(), "versions": library_versions()}
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for seed in range(args.seeds):
        for share in args.hidden:
            for way in WAYS:
                rmse = trial(dataset, seed=seed, share=share, way=way)
                found.setdefault((way, share), []).append(rmse)
        record = {
            "command": f"{command} --seeds {seed + 1} --hidden {shares}",
            **about,
            "rows": [
                {"way": way, "hidden_share": share, "rmse": rmse}
                for (way, share), rmse in found.items()
            ],
        }
        atomic_write_json(args.output / "molecules.json", record)
        atomic_write_text(args.output / "molecules.md", report(record))
        print(report(record), flush=True)


if __name__ == "__main__":
    main()
