"""What a model sees in a molecule: its groups, and how much each adds to the prediction."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem

from dgl_gmpool.data.features import DESCRIPTOR_SETS
from dgl_gmpool.data.molecule import canonical_smiles, read_molecule
from dgl_gmpool.data.parsed_rows import parse_rows
from dgl_gmpool.data.standardize import split_recipe
from dgl_gmpool.explain.fragments import fragment_smiles
from dgl_gmpool.explain.masking import MaskedMolecule, RefusedError
from dgl_gmpool.explain.molecule_groups import consensus_groups, names_groups, node_weights
from dgl_gmpool.explain.shapley import (
    MOST_PLAYERS,
    first_and_last,
    remembered,
    shapley_values,
    share_rest,
)
from dgl_gmpool.explain.target import ExplainedTarget
from dgl_gmpool.training import TrainedModel, choose_device
from dgl_gmpool.training.model import evaluating
from dgl_gmpool.training.model_features import (
    RowFeatures,
    check_feature_names,
    check_solvents,
    given_names,
)

#: A molecule has about 2 n + 2^K masked copies of n atoms: beyond this it takes minutes.
MOST_ATOMS = 400

#: Atoms in one forward pass.
ATOMS_AT_ONCE = 6000


@dataclass(frozen=True, eq=False)
class Explanation:
    """Groups and contributions of one molecule. Rows are atoms in the order of the SMILES.

    What a group contributes is measured by masking
    (:class:`~dgl_gmpool.explain.masking.MaskedMolecule`): the network predicts the molecule with
    any of its groups replaced by plain saturated carbon, and a group's share is its Shapley value,
    what it adds averaged over all orders in which the groups can come. Shares add up to
    ``prediction - baseline``, the baseline being the prediction for the carbon skeleton alone.

    Attributes
    ----------
    smiles : str
        Of the molecule that is explained: as it was given, or standardised if the model does so.
    target, units, kind : str
        What is predicted; ``kind`` is ``"classification"`` (probabilities) or ``"regression"``.
    beside : str
        What the models saw beside the molecule, such as ``solvent=CCO, pH=7.4``; else empty.
    prediction, baseline : float
        Mean over the models, for the molecule and for its carbon skeleton.
    skeleton : str
        SMILES of the carbon skeleton.
    symbols : tuple of str
        Element of each atom.
    contributions : numpy.ndarray
        Of each atom; those of a group add up to its contribution. ``(n,)`` float64.
    groups : numpy.ndarray or None
        Group of each atom, 0 to K - 1: the groups of the mean of the models' grouping matrices.
        ``(n,)`` int64. None where the readout names no groups; ``model_note`` says so.
    memberships : numpy.ndarray or None
        How much of each atom is in each group, rows add up to 1. ``(n, K)`` float64.
    weights : numpy.ndarray or None
        What each atom contributes to the readout, as it states it. ``(n,)`` float64. None where
        it states nothing.
    group_contributions, group_spread : numpy.ndarray
        Mean and standard deviation over the models (NaN for one model). ``(K,)`` float64.
    fragments : tuple of str
        SMILES of each group, ``*`` where a bond is cut.
    agreement : float
        Mean adjusted Rand index of each model's own groups and ``groups``; NaN without groups.
    exact : bool
        Whether all coalitions of groups were looked at (up to 8 groups); otherwise each group is
        taken as the first and the last to come.
    molecule_note, model_note : str
        What to know of this molecule, such as that it was standardised, and of all molecules of
        the model, such as that it has no groups; else empty.
    """

    smiles: str
    target: str
    units: str
    kind: str
    prediction: float
    baseline: float
    skeleton: str
    symbols: tuple[str, ...]
    contributions: np.ndarray
    groups: np.ndarray | None = None
    memberships: np.ndarray | None = None
    weights: np.ndarray | None = None
    group_contributions: np.ndarray = field(default_factory=lambda: np.zeros(0))
    group_spread: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fragments: tuple[str, ...] = ()
    agreement: float = float("nan")
    exact: bool = True
    beside: str = ""
    molecule_note: str = ""
    model_note: str = ""

    @property
    def note(self) -> str:
        """All that is to be known: ``molecule_note`` and ``model_note``."""
        return "; ".join(filter(None, [self.molecule_note, self.model_note]))

    @property
    def num_groups(self) -> int:
        """K; 0 where the model has no groups."""
        return len(self.group_contributions)

    def atoms_of(self, group: int) -> list[int]:
        """Atoms of a group, ascending."""
        return [] if self.groups is None else np.flatnonzero(self.groups == group).tolist()

    @property
    def mol(self) -> Chem.Mol:
        """The molecule, atoms in the order of the SMILES."""
        mol, why = read_molecule(self.smiles)
        if mol is None:
            raise ValueError(f"{self.smiles!r} is refused: {why}")
        return mol

    def svg(self) -> str:
        """The structure as an SVG text: groups in colour, each with its contribution.

        Raises
        ------
        NoPictureError
            A ValueError: RDKit cannot draw the molecule.
        """
        from dgl_gmpool.explain.drawing import draw_svg

        return draw_svg(self)

    def png(self, path: str | os.PathLike[str] | None = None) -> bytes:
        """The same picture as the bytes of a PNG file, also written to ``path`` if one is given;
        errors as :meth:`svg`."""
        from dgl_gmpool._io import atomic_write
        from dgl_gmpool.explain.drawing import draw_png

        data = draw_png(self)
        if path is not None:
            atomic_write(path, lambda file: file.write(data))
        return data

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f", groups={self.num_groups}"
        return (
            f"Explanation({self.smiles!r}, {self.target}: {self.prediction:.4g} = "
            f"{self.baseline:.4g} {self.prediction - self.baseline:+.4g}{groups})"
        )


def explain_molecule(
    models: Sequence[TrainedModel],
    smiles: str,
    *,
    solvent: str | None = None,
    features: Mapping[str, object] | None = None,
    target: str | None = None,
    device: str = "auto",
) -> Explanation:
    """Groups of a molecule and their contributions to its prediction.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run, from :func:`~dgl_gmpool.training.load_models`.
    smiles : str
    solvent : str, optional
        SMILES of the solvent, for models trained with solvents.
    features : mapping of str to number, optional
        For models trained with feature columns, name -> value.
    target : str, optional
        Which of the model's targets to explain; of several classes ``"TARGET=CLASS"``, or the
        most probable one. Default: the first.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    RefusedError
        The SMILES (or the solvent's) is blank, refused or has more than 400 atoms, or a feature
        is not a number.
    ValueError
        The target is not one of the model's, or the solvent or a feature is missing or superfluous.
    """
    names = given_names({} if features is None else features)
    check_models(models, solvents=solvent is not None, features=names)
    first = models[0]
    chosen = ExplainedTarget.of(first, target)
    parsed = parse_rows([smiles], first.featurizer)
    if parsed.reasons[0]:
        raise RefusedError(smiles, parsed.reasons[0])
    (canonical,) = parsed.canonical
    if canonical_smiles(smiles)[0] != canonical:
        smiles = canonical  # standardised
    masked = MaskedMolecule(smiles, split_recipe(first.featurizer)[0])
    count = masked.num_atoms
    if count > MOST_ATOMS:
        raise RefusedError(smiles, f"{count} atoms; an explanation takes at most {MOST_ATOMS}")
    feats, beside, *notes = _features(first, smiles, canonical, solvent, features)
    torch_device = choose_device(device)
    networks = [trained.model.to(torch_device) for trained in models]
    node_of = np.argsort(masked.order)
    groups = memberships = None
    agreement = float("nan")
    with evaluating(*networks):
        if names_groups(networks[0]):
            found = consensus_groups(networks, masked.graph, device=torch_device)
            groups, memberships = found.groups[node_of], found.memberships[node_of]
            agreement = found.agreement
        weights = node_weights(networks, masked.graph, device=torch_device)

    def predictions(present: np.ndarray) -> np.ndarray:
        rows = None if feats is None else np.repeat(feats, len(present), axis=0)
        graphs = masked.graphs(present)
        size = max(1, ATOMS_AT_ONCE // count)
        return np.stack(
            [
                trained.predict(graphs, global_feats=rows, batch_size=size, device=torch_device)
                for trained in models
            ]
        )

    chosen = chosen.settled(lambda: predictions(np.ones((1, count), bool)).mean(0)[0])
    known = remembered(lambda present: predictions(present)[:, :, chosen.column])

    def value(present: np.ndarray) -> np.ndarray:
        return known(present | masked.inert)

    baseline, prediction = value(np.array([[False] * count, [True] * count])).mean(0)
    contributions, shares, spread = _contributions(value, count, groups)
    return Explanation(
        smiles=smiles,
        target=chosen.name,
        units=first.units if chosen.kind == "regression" else "",
        kind=chosen.kind,
        prediction=float(prediction),
        baseline=float(baseline),
        skeleton=masked.skeleton,
        symbols=tuple(atom.GetSymbol() for atom in masked.mol.GetAtoms()),
        contributions=contributions,
        groups=groups,
        memberships=memberships,
        weights=None if weights is None else weights[node_of],
        group_contributions=shares,
        group_spread=spread,
        fragments=tuple(
            fragment_smiles(masked.mol, np.flatnonzero(groups == group).tolist())
            for group in range(len(shares))
        ),
        agreement=agreement,
        exact=len(shares) <= MOST_PLAYERS,
        beside=beside,
        molecule_note="; ".join(filter(None, [*parsed.notes, *notes])),
        model_note=model_note(first),
    )


def _contributions(
    value: Callable[[np.ndarray], np.ndarray], count: int, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What atoms add ``(n,)``, and groups ``(K,)`` with their spread over the models.

    ``value`` gives each model's prediction ``(models, rows)`` where atoms are there or masked,
    ``(rows, n)`` bool.
    """
    atoms, total = first_and_last(value, count)
    atoms, total = atoms.mean(0, keepdims=True), total.mean(keepdims=True)
    if groups is None:
        nothing = np.zeros(0)
        return share_rest(atoms, total)[0], nothing, nothing
    members = groups == np.arange(groups.max() + 1)[:, None]
    per_model = shapley_values(lambda chosen: value(chosen @ members), len(members))
    shares = per_model.mean(0)
    alone = len(per_model) == 1
    spread = np.full(len(shares), np.nan) if alone else per_model.std(0, ddof=1)
    contributions = np.empty(count)
    for each, share in zip(members, shares):
        contributions[each] = share_rest(atoms[:, each], share[None])[0]
    return contributions, shares, spread


def model_note(trained: TrainedModel) -> str:
    """What to know of all explanations of a model; else empty."""
    notes = []
    if not names_groups(trained.model):
        notes.append(
            f"this model has no groups: its readout {trained.model.config['readout']!r} names none "
            "(gmpool and ngmpool do), so contributions are per atom"
        )
    sets = [each.source for each in trained.features if each.source in DESCRIPTOR_SETS]
    if sets:
        notes.append(
            f"the model also sees the {' and '.join(sets)} descriptors of the whole molecule, "
            "which stay as they are while atoms are masked: what acts through them is in the "
            "baseline"
        )
    return "; ".join(notes)


def check_models(
    models: Sequence[TrainedModel], *, solvents: bool, features: Sequence[str] = ()
) -> None:
    """Raise a ValueError where there is no model, or solvents or features are missing or
    superfluous."""
    if not models:
        raise ValueError("no model given; load some with load_models(RUN_FOLDER)")
    check_solvents(models[0], given=solvents)
    check_feature_names(models[0], features)


def _features(
    trained: TrainedModel,
    smiles: str,
    canonical: str,
    solvent: str | None,
    features: Mapping[str, object] | None,
) -> tuple[np.ndarray | None, str, str, str]:
    """What joins the readout, ``(1, g)`` or None, what is given of it in words, and what to know of
    that and of descriptors."""
    given = {name: [value] for name, value in (features or {}).items()}
    beside = RowFeatures(
        [trained], 1, solvents=None if solvent is None else [solvent], features=given
    )
    known, why, note = beside.row(0)
    if why:
        raise RefusedError(smiles, why)
    values, (about,) = beside.matrix([canonical], [known])
    return values, beside.text(known), note, about
