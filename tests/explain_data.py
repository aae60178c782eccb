"""Trained runs and molecules that the tests of explanations share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from training_data import small_dataset, small_options

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.chromophores import solvent_descriptors
from dgl_gmpool.training import TrainedModel, TrainingConfig, train_run

ACID = "O=C(O)Cc1ccc([N+](=O)[O-])cc1"
#: Shapes that no carbon has, no bonds, several pieces, hydrogens, dummies.
ODD = ("C", "[Na+].[Cl-]", "[H][H]", "FS(F)(F)(F)(F)c1ccccc1", "F[P-](F)(F)(F)(F)F.CC", "*CC", "O")


def trained_folder(dataset, folder, **changes):
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(**changes))
    return train_run(dataset, splits, config, folder, progress=False).folder


def run_with_groups(folder):
    # A rate at which the groups' half of the readout, which starts at zero, counts.
    return trained_folder(small_dataset(), folder, lr=0.1)


def run_without_groups(folder):
    return trained_folder(small_dataset(), folder, readout="mean_and_max")


def run_with_solvents(folder):
    dataset = small_dataset()
    feats = [solvent_descriptors("O" if i % 2 else "CCO") for i in range(len(dataset))]
    table = replace(dataset.table, global_feats=np.array(feats, np.float32))
    return trained_folder(replace(dataset, table=table), folder)


def standardising(models):
    """The same models, as if they had been trained with ``--standardize fragment charge``."""
    return [replace(each, featurizer=f"{each.featurizer}+fragment+charge") for each in models]


@dataclass
class Told(TrainedModel):
    """A model that predicts by a rule of the atoms: element numbers by node, in graph order."""

    rule: object = None

    def predict(self, graphs, **_):
        # C, N, O are the first kinds of atoms among the features.
        kinds = [graph.ndata["h"][:, :3].sum(0).tolist() for graph in graphs]
        return np.array([[float(self.rule(*each))] for each in kinds])


def told(rule, **options):
    torch.manual_seed(0)
    model = MoleculePredictor(74, 12, hidden_feats=8, num_steps=1, **options).eval()
    return Told(model, "regression", ("y",), "", None, None, rule=rule)
