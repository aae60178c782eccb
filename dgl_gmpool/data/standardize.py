"""One form for a molecule that is drawn in several: without counter-ions, neutral, one tautomer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from rdkit import Chem, rdBase

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.equal_rows import once_each
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.table import MoleculeTable

#: What can be done, in the order in which it is done.
STEPS = ("fragment", "charge", "tautomer")


def feature_recipe(featurizer: str, steps: Sequence[str]) -> str:
    """How a molecule becomes a graph, as models remember it: the featurizer, and what is done
    before.

    >>> feature_recipe("stereo", ["charge", "fragment"])
    'stereo+fragment+charge'
    >>> split_recipe("stereo+fragment+charge"), split_recipe("canonical")
    (('stereo', ('fragment', 'charge')), ('canonical', ()))
    """
    for step in steps:
        check_choice("step of standardisation", step, STEPS)
    return "+".join([featurizer, *(step for step in STEPS if step in steps)])


def split_recipe(name: str) -> tuple[str, tuple[str, ...]]:
    """``(featurizer, steps)`` of what :func:`feature_recipe` gave."""
    featurizer, *steps = name.split("+")
    return featurizer, tuple(steps)


def standardized(mol: Chem.Mol, steps: Sequence[str]) -> Chem.Mol:
    """The molecule's largest fragment (``"fragment"``), uncharged where hydrogens can be moved
    (``"charge"``), as RDKit's canonical tautomer (``"tautomer"``). Stereochemistry is kept.

    >>> mol = Chem.MolFromSmiles("C[C@H](N)C(=O)[O-].[Na+]")
    >>> Chem.MolToSmiles(standardized(mol, STEPS))
    'C[C@H](N)C(=O)O'
    """
    with rdBase.BlockLogs():
        for step in STEPS:
            if step in steps:
                mol = _tool(step)(mol)
    # Read again: what was uncharged has explicit hydrogens, and features would tell.
    again, _ = read_molecule(Chem.MolToSmiles(mol))
    return mol if again is None else again


@cache
def _tool(step: str) -> Callable[[Chem.Mol], Chem.Mol]:
    # Imported where it is used: it reads files of rules.
    from rdkit.Chem.MolStandardize import rdMolStandardize

    if step == "fragment":
        return rdMolStandardize.LargestFragmentChooser().choose
    if step == "charge":
        return rdMolStandardize.Uncharger().uncharge
    tautomers = rdMolStandardize.TautomerEnumerator()
    # A centre beside a carbonyl would lose its label, that of every amino acid.
    tautomers.SetRemoveSp3Stereo(False)
    tautomers.SetRemoveBondStereo(False)
    return tautomers.Canonicalize


def standardized_smiles(text: str, steps: Sequence[str]) -> tuple[str, str]:
    """``(SMILES, why there is none)``: as written where nothing changes, else canonical.

    >>> standardized_smiles("OCC", STEPS), standardized_smiles("CC[O-].[Na+]", STEPS)
    (('OCC', ''), ('CCO', ''))
    """
    if not steps:
        return text, ""
    mol, why = read_molecule(text)
    if mol is None:
        return "", why
    before, after = Chem.MolToSmiles(mol), Chem.MolToSmiles(standardized(mol, steps))
    return (text if after == before else after), ""


def standardized_table(table: MoleculeTable, steps: Sequence[str]) -> MoleculeTable:
    """The table with its molecules standardised; its report counts those that changed."""
    if not steps:
        return table
    # Canonical in both places, so that equal texts are equal molecules.
    new = tuple(once_each(lambda smiles: standardized_smiles(smiles, steps)[0], table.canonical))
    changed = [row for row, (old, now) in enumerate(zip(table.canonical, new)) if old != now]
    before, after = len(set(table.canonical)), len(set(new))
    notes = [f"{len(changed)} rows changed by standardisation ({', '.join(steps)})"]
    if changed:
        at = changed[0]
        notes[0] += f", such as {table.canonical[at]} to {new[at]}"
    if after < before:
        notes.append(f"{before} molecules became {after} by standardisation")
    own = [group == old for group, old in zip(table.groups, table.canonical)]
    table = replace(
        table,
        smiles=tuple(
            written if old == now else now
            for written, old, now in zip(table.smiles, table.canonical, new)
        ),
        canonical=new,
        groups=tuple(now if mine else group for group, mine, now in zip(table.groups, own, new)),
    )
    return table.with_notes(*notes)
