"""What every process of test_training_distributed.py does; started by torchrun, never collected.

``distributed_worker.py FOLDER FLAGS`` writes what a healthy pair finds to FOLDER/<rank>.pt, goes on
with the killed run in FOLDER/killed, and then runs a recipe with FLAGS into an error.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_data import small_dataset, small_options, with_small_auxiliary, with_targets

import dgl_gmpool.training.fold_trainer as trainer_module
from dgl_gmpool.cli import _run as run_command
from dgl_gmpool.cli import streamed
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.data import make_splits
from dgl_gmpool.training import (
    TrainingConfig,
    World,
    current_world,
    fit_fold,
    join_world,
    main_first,
    train_run,
)
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.fold_trainer import FoldTrainer
from dgl_gmpool.training.model import build_model
from dgl_gmpool.training.task import SquaredError

CPU = torch.device("cpu")
# 25 training rows: batches of 7 are unequal shares, batches of 1 leave process 1 without rows.
TRAIN, VALID = list(range(25)), list(range(25, 34))
GRADIENTS: dict[str, dict[str, Any]] = {
    "gmpool": {"readout": "gmpool"},
    "gmpool, batches of 1": {"readout": "gmpool", "batch_size": 1},
    "gmpool, 2 levels": {
        "readout": "gmpool",
        "levels": 2,
        "readout_options": {"decomposition": "cholesky"},
    },
    "norms in the network": {"backbone_options": {"norm": "batch", "residual": True}},
    # gmpool's groups of these small molecules are all alike: what is normalised there is rounding.
    "2 levels, lifted": {
        "readout": "diffpool",
        "levels": 2,
        "lift": True,
        "readout_options": {"num_clusters": 2},
    },
    "gcn with edges": {"backbone": "gcn", "backbone_options": {"edges": True}},
    "gin": {"backbone": "gin"},
    "gin, unequal shares": {"backbone": "gin", "batch_size": 3},
    "ngmpool": {"readout": "ngmpool"},
    "diffpool": {"readout": "diffpool", "readout_options": {"num_clusters": 2}},
    "diffpool by its losses alone": {
        "readout": "diffpool",
        "readout_options": {"num_clusters": 2, "aggregate": "mean"},
        "batch_size": 1,
    },
    "mincut": {"readout": "mincut"},
    "attention": {"readout": "attention"},
    "mean, no balance": {"readout": "mean", "positive_weight": None},
    "readout norm": {"readout": "gmpool", "readout_norm": "batch"},
    "readout norm, batches of 1": {"readout_norm": "batch", "batch_size": 1},
    "readout norm, unequal shares": {"readout_norm": "batch", "batch_size": 3},
    "auxiliary targets": {"auxiliary": {"sizes": 0.5, "flags": 3.0}},
    "bounds and weights": {"bounded": True},
    "bounds and weights, batches of 1": {"bounded": True, "batch_size": 1},
    "auxiliary targets, batches of 1": {"auxiliary": {"flags": 3.0}, "batch_size": 1},
}

#: 25 rows in batches of 4: the last one is a row of process 0 alone.
NORMALISED: dict[str, Any] = {
    "readout_norm": "batch",
    "dropout": 0.0,
    "batch_size": 4,
    "epochs": 2,
    "lr": 1e-4,
}


def bounded_dataset() -> Any:
    """Numbers of three tasks, some of them known by a bound alone, rows of unlike weight."""
    dataset = small_dataset(tasks=3, global_feats=True)
    table = dataset.table
    hidden = np.arange(table.targets.size).reshape(table.targets.shape) % 4 == 0
    hidden &= ~np.isnan(table.targets)
    nothing = np.full_like(table.targets, np.nan)
    odd = np.arange(len(table))[:, None] % 2 == 1
    lower, upper = (np.where(hidden & side, table.targets, nothing) for side in (odd, ~odd))
    targets = np.where(hidden, nothing, table.targets)
    weights = np.resize([1.0, 2.0, 0.0, 0.5], len(table))
    changed = {"targets": targets, "lower": lower, "upper": upper, "weights": weights}
    for name, values in changed.items():
        object.__setattr__(table, name, values)
    return dataset


def gradients(
    world: World, options: dict[str, Any]
) -> tuple[list[dict[str, torch.Tensor | None]], float]:
    """Every step's gradient at the initial weights, and the epoch's loss. Several tasks, NaNs."""
    values = {"batch_size": 7, "dropout": 0.0, "positive_weight": "balanced"}
    values = {**values, "readout_norm": "none", **options}
    if values.pop("bounded", False):
        dataset = bounded_dataset()
        values |= {"positive_weight": None, "task_weights": {"task1": 3.0}}
    else:
        featurizer = "pretrained-gin" if options.get("backbone") == "gin" else "stereo"
        dataset = with_small_auxiliary(
            small_dataset("classification", tasks=3, global_feats=True, featurizer=featurizer)
        )
    config = TrainingConfig(**small_options(**values))
    data = FoldData.prepare(dataset, TRAIN, config, device=CPU)
    model = build_model(
        config,
        node_in_feats=dataset.node_in_feats,
        edge_in_feats=dataset.edge_in_feats,
        n_tasks=sum(data.widths),
        global_feats=2,
    )
    found: list[dict[str, torch.Tensor | None]] = []

    class Recorder(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            found.append(
                {
                    name: None if p.grad is None else p.grad.clone()
                    for name, p in model.named_parameters()
                }
            )

    recorder = Recorder(model.parameters(), lr=1.0)
    trainer = FoldTrainer(dataset, TRAIN, VALID, config, data, model, recorder, world=world)
    return found, trainer.epoch(1)


def recorded_fit(options: dict[str, Any]) -> dict[str, Any]:
    """A fit in all processes: the rows and the seed of each of this one's training batches."""
    dataset = small_dataset(global_feats=True)
    seen: list[tuple[int, list[int]]] = []
    real = trainer_module.collate

    def collate(graphs: Any, **rest: Any) -> Any:
        seen.append((torch.initial_seed(), graphs.which.tolist()))
        return real(graphs, **rest)

    trainer_module.collate = collate
    try:
        fitted = fit_fold(dataset, TRAIN, VALID, TrainingConfig(**small_options(**options)), fold=3)
    finally:
        trainer_module.collate = real
    return {
        "batches": seen,
        "state": fitted.model.state_dict(),
        "best_epoch": fitted.best_epoch,
        "history": [{**line, "seconds": 0} for line in fitted.history],
    }


def small_run(folder: Path, *, other_data: bool = False, resume: bool = False) -> Any:
    """Two folds without dropout."""
    dataset = small_dataset("classification", tasks=3, global_feats=True)
    splits = make_splits(dataset.table, folds=2, seed=0, test_fraction=0.25)
    if other_data:
        targets = dataset.table.targets.copy()
        targets[0] = 1 - targets[0]
        dataset = with_targets(dataset, targets)
    config = TrainingConfig(**small_options(dropout=0.0, epochs=3, readout_norm="none"))
    return train_run(dataset, splits, config, folder, resume=resume, progress=False, device="cpu")


def asked(name: str, folder: Path, output: Path) -> None:
    """``dgl-gmpool predict`` or ``embed``, of more molecules than the processes read at a time."""
    model = folder / "recipe" / "gmpool-seed0"
    paths = ("--model", model, "--csv", folder / "in.csv", "--output", output)
    assert run_command([name, *map(str, paths)]) == 0


def message(call: Any) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def recipe(name: str) -> Any:
    path = Path(__file__).resolve().parent.parent / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session(folder: Path, flags: list[str]) -> None:
    torch.set_num_threads(1)
    world = join_world()
    found: dict[str, Any] = {"world": (world.rank, world.size, world.local_rank)}
    found["gradients"] = {name: gradients(world, options) for name, options in GRADIENTS.items()}
    found["fit"] = recorded_fit({"batch_size": 6, "dropout": 0.3, "epochs": 3})
    found["readout norm"] = recorded_fit(NORMALISED)["state"]
    found["batch norm"] = recorded_fit({"backbone": "gcn", "readout": "mean"})["state"]

    result = small_run(folder / "run")
    found["result"] = result.metrics
    found["not empty"] = message(lambda: small_run(folder / "run"))
    found["read again"] = small_run(folder / "run", resume=True).metrics == result.metrics
    found["other data"] = message(lambda: small_run(folder / "other", other_data=world.rank == 1))

    with main_first():
        if world.is_main:
            time.sleep(0.3)
            (folder / "made by process 0").touch()
        found["main first"] = (folder / "made by process 0").exists()
    with main_first(False):
        pass
    found["totals"] = world.totals(1.5, world.rank)

    csv = recipe("molecules_csv").main
    csv([*flags, "--output", str(folder / "recipe")])
    csv([*flags, "--output", str(folder / "killed"), "--resume"])
    streamed.CHUNK = 5
    for name in ("predict", "embed"):
        asked(name, folder, folder / f"{name}.csv")
    torch.save(found, folder / f"{world.rank}.pt")


def fail(flags: list[str]) -> int:
    """The recipe, with a loss of NaN in process 1 after some steps."""
    real, calls = SquaredError.total, [0]

    def loss(*given: Any) -> torch.Tensor:
        calls[0] += 1
        value = real(*given)
        return value * float("nan") if current_world().rank == 1 and calls[0] > 4 else value

    SquaredError.total = loss  # type: ignore[method-assign]
    return run_script(recipe("molecules_csv").main, flags)


if __name__ == "__main__":
    where, given = Path(sys.argv[1]), sys.argv[2:]
    session(where, given)
    raise SystemExit(fail([*given, "--output", str(where / "fails")]))
