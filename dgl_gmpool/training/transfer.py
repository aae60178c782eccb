"""Start from the weights of an earlier run, or of DGL-LifeSci's pretrained GIN: what is taken over,
and what it must have in common."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.data.featurizers import CODES
from dgl_gmpool.data.molecule import canonical_smiles
from dgl_gmpool.data.standardize import split_recipe
from dgl_gmpool.models.backbones import Backbone
from dgl_gmpool.training.config import NETWORK, TrainingConfig
from dgl_gmpool.training.known_molecules import KnownMolecules
from dgl_gmpool.training.model_file import load_model, load_models
from dgl_gmpool.training.pretrained_gin import (
    check_codes,
    load_pretrained,
    pretrained_file,
    pretrained_network,
)
from dgl_gmpool.training.provenance import featurizer_name
from dgl_gmpool.training.run_folder import RunFolder, run_of


def network_of(path: str | Path) -> dict[str, Any]:
    """The settings in :data:`NETWORK` of a run's models, for a configuration that starts from them;
    those of them that pretrained weights decide.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no finished run.
    """
    file = pretrained_file(path)
    if file is not None:
        return pretrained_network(file)
    config = load_models(path)[0].model.config
    return {name: config[name] for name in NETWORK}


def features_of(path: str | Path) -> str:
    """The recipe of the features that a run, or pretrained weights, read
    (:func:`~dgl_gmpool.data.standardize.feature_recipe`).

    Raises
    ------
    FileNotFoundError, ValueError
        There is no finished run.
    """
    return CODES if pretrained_file(path) is not None else load_models(path)[0].featurizer


def check_start(dataset: MoleculeDataset, config: TrainingConfig) -> None:
    """Raise a ValueError where the features are not what the network reads, or the weights to start
    from are no start for this configuration and data.

    Raises
    ------
    FileNotFoundError
        There is no such run.
    ValueError
        The run is not finished, or its network or features are others.
    """
    mine = featurizer_name(dataset)
    if config.start_from is not None:
        _check_network(config, config.start_from)
    check_codes(config.backbone, split_recipe(mine)[0])
    if config.start_from is None or pretrained_file(config.start_from) is not None:
        return
    trained = load_models(config.start_from)[0]
    found = trained.model.config
    if trained.featurizer != mine or found["node_in_feats"] != dataset.node_in_feats:
        raise ValueError(
            f"{config.start_from} was trained on the features {trained.featurizer!r} "
            f"({found['node_in_feats']} per atom), and these data have {mine!r} "
            f"({dataset.node_in_feats}): use {_flags_of(trained.featurizer)}, or train the run to "
            "start from anew"
        )


def _check_network(config: TrainingConfig, path: str) -> None:
    what = "run" if pretrained_file(path) is None else "weights"
    for name, wanted in network_of(path).items():
        have = getattr(config, name)
        have = dict(have) if isinstance(have, Mapping) else have
        if have != wanted:
            raise ValueError(
                f"{name}={have!r}: expected {wanted!r}, as in the {what} to start from ({path}); "
                "give that, or on the command line nothing, and it is taken from there"
            )


def _flags_of(recipe: str) -> str:
    """The flags that make features of this recipe."""
    featurizer, steps = split_recipe(recipe)
    if steps:
        return f"--featurizer {featurizer} --standardize {' '.join(steps)}"
    return f"--featurizer {featurizer} without --standardize"


def start_from(
    model: MoleculePredictor, path: str | Path, *, fold: int, head: Sequence[Any] = ()
) -> None:
    """Give a model the weights of the same fold of a run, or of its first where it has fewer.

    Raises
    ------
    ValueError
        Weights before the head do not fit.

    Parameters
    ----------
    model : MoleculePredictor
        Its head stays as it is where its shape, or what it predicts, is another.
    path : path
        A run folder, a fold's ``model.pt``, or weights of DGL-LifeSci's GIN: the same for all
        folds, with a new readout and head.
    fold : int
    head : sequence
        What ``model`` is to predict and from what, as :data:`SAME_HEAD` names it of a trained one:
        its head is taken over only where the run has the same. Default: the head is new.
    """
    weights = pretrained_file(path)
    if weights is not None:
        gnn = cast(Backbone, model.backbones[0]).gnn
        gnn.load_state_dict(load_pretrained(weights))
        return
    file = Path(path)
    if file.is_dir():
        file, _ = run_of(file)
        own = RunFolder(file).fold(fold).model
        trained = load_model(own if own.exists() else RunFolder(file).fold(0).model)
    else:
        trained = load_model(file)
    same_task = tuple(head) == tuple(getattr(trained, part) for part in SAME_HEAD)
    state = model.state_dict()
    given = trained.model.state_dict()
    for name, value in state.items():
        if name.startswith("head."):
            if same_task and name in given and given[name].shape == value.shape:
                state[name] = given[name]
        elif name not in given or given[name].shape != value.shape:
            raise ValueError(
                f"{file} has no weights for {name} {tuple(value.shape)}: its network is another "
                "one; give the options of the run to start from, or leave them out"
            )
        else:
            state[name] = given[name]
    model.load_state_dict(state)


#: What two models share whose heads mean the same.
SAME_HEAD = ("task", "units", "features")


def known_already(dataset: MoleculeDataset, splits: Splits, config: TrainingConfig) -> str:
    """A line that says how many test molecules the run to start from was trained on, or ``""``."""
    if config.start_from is None or pretrained_file(config.start_from) is not None:
        return ""
    folder, fold = run_of(config.start_from)
    files = RunFolder(folder)
    if not files.known_molecules.exists():
        return ""
    known = set(KnownMolecules.read(files.known_molecules).smiles)
    if (fold is not None or Path(config.start_from).is_dir()) and files.predictions.exists():
        # Final models know the run's test rows, those of the folds do not.
        with open(files.predictions, encoding="utf-8", newline="") as text:
            known -= {canonical_smiles(row["smiles"])[0] for row in csv.DictReader(text)}
    test = {dataset.table.canonical[row] for row in splits.test}
    common = len(test & known)
    if not common:
        return ""
    return (
        f"note: {config.start_from} was trained on {common} of the {len(test)} test molecules, so "
        "test scores may look better than they are on new molecules"
    )
