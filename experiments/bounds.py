"""What should a bound cost? Ways to treat censored targets, where the truth is known.

    python -m experiments.bounds --output experiments/results/bounds

Every target is f(x) + noise, f smooth in ten features. Of the 300 training targets the lowest 30
or 60 % are known as "below the limit" only, as in an assay with a top concentration. A small
network is trained with each way (its epoch chosen on 100 validation rows, measured values alone)
and scored against f on 300 new rows: on all of them, and on those above the limit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.training.one_sided import gaussian_bound
from dgl_gmpool.training.provenance import library_versions, source_commit

#: A loss of outputs, targets (the limit where hidden), hidden cells and a learnt logarithm.
Way = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def one_sided(noise: float) -> Way:
    """Squared errors, and :func:`gaussian_bound` with a fixed scale."""

    def loss(out: Tensor, y: Tensor, hidden: Tensor, log_scale: Tensor) -> Tensor:
        values = ((out - y)[~hidden] ** 2).sum()
        return values + gaussian_bound((y - out)[hidden], noise).sum()

    return loss


def learnt(out: Tensor, y: Tensor, hidden: Tensor, log_scale: Tensor) -> Tensor:
    """The censored likelihood with a scale that is trained like a weight."""
    scale = log_scale.exp()
    values = ((out - y)[~hidden] ** 2 / (2 * scale**2) + log_scale).sum()
    return values - torch.special.log_ndtr((y - out)[hidden] / scale).sum()


WAYS: dict[str, Way] = {
    "drop": lambda out, y, hidden, _: ((out - y)[~hidden] ** 2).sum(),
    "as measured": lambda out, y, hidden, _: ((out - y) ** 2).sum(),
    **{f"one-sided, s = {noise}": one_sided(noise) for noise in (0.1, 0.3, 0.5, 1.0)},
    "one-sided, s learnt": learnt,
}


def trial(way: Way, *, seed: int, noise: float, hidden_share: float) -> tuple[float, float]:
    """RMSE against the truth on all new rows, and on those above the limit."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(700, 10, generator=random)
    weights = torch.randn(10, generator=random) / 10**0.5
    truth = torch.sin(1.5 * (x @ weights)) + 0.5 * x[:, 0]
    truth = truth / truth.std()
    y = truth + noise * torch.randn(700, generator=random)
    train, valid, test = slice(0, 300), slice(300, 400), slice(400, 700)
    limit = y[train].quantile(hidden_share)
    hidden = y < limit
    mean, spread = y[train][~hidden[train]].mean(), y[train][~hidden[train]].std()
    scaled = (torch.where(hidden, limit, y) - mean) / spread

    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        *(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU()),
        torch.nn.Linear(64, 1),
    )
    log_scale = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([*network.parameters(), log_scale], lr=2e-3)
    best, found = float("inf"), (float("nan"), float("nan"))
    for epoch in range(250):
        loss = way(network(x[train])[:, 0], scaled[train], hidden[train], log_scale)
        optimizer.zero_grad()
        (loss / 300).backward()
        optimizer.step()
        if epoch % 5:
            continue
        with torch.no_grad():
            predicted = network(x)[:, 0] * spread + mean
        score = float(((predicted - y)[valid][~hidden[valid]] ** 2).mean())
        if score < best:
            off = (predicted - truth)[test] ** 2
            above = off[~hidden[test]]
            best, found = score, (float(off.mean().sqrt()), float(above.mean().sqrt()))
    return found


def main() -> None:
    """Run all trials and write ``bounds.json`` and ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    args = parser.parse_args()
    cases = [(noise, share) for noise in (0.2, 0.5) for share in (0.3, 0.6)]
    rows = []
    for name, way in WAYS.items():
        for noise, share in cases:
            found = np.array(
                [trial(way, seed=s, noise=noise, hidden_share=share) for s in range(args.seeds)]
            )
            rows.append(
                {
                    "way": name,
                    "noise": noise,
                    "hidden_share": share,
                    "rmse": found.mean(0)[0],
                    "rmse_above": found.mean(0)[1],
                    "standard_error": found.std(0, ddof=1)[0] / args.seeds**0.5,
                }
            )
    command = "python -m experiments.bounds --output experiments/results/bounds"
    command += f" --seeds {args.seeds}"
    args.output.mkdir(parents=True, exist_ok=True)
    about = {"command": command, "commit": source_commit(), "versions": library_versions()}
    atomic_write_json(args.output / "bounds.json", {**about, "rows": rows})
    header = ["RMSE on all rows (above the limit)"]
    header += [f"noise {noise}, {share:.0%} hidden" for noise, share in cases]
    lines = [header, [":--", *("--:" for _ in cases)]]
    for name in WAYS:
        own = [row for row in rows if row["way"] == name]
        lines.append([name, *(f"{row['rmse']:.3f} ({row['rmse_above']:.3f})" for row in own)])
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    atomic_write_text(args.output / "table.md", text)


if __name__ == "__main__":
    main()
