"""From a SMILES to what a selection needs: fragments, heavy atoms, canonical SMILES, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from rdkit import Chem, rdBase

#: What spreadsheets and data frames write for "no value".
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>"})

REFUSED = "refused by RDKit"
BLANK_SMILES = "blank SMILES"
NOT_A_SMILES = "not a SMILES"


def is_missing(text: str | None) -> bool:
    """Whether a cell holds no value.

    >>> is_missing(" NaN "), is_missing("0")
    (True, False)
    """
    return text is None or text.strip().lower() in MISSING_WORDS


@dataclass(frozen=True)
class AtomCount:
    """What a SMILES says before any chemistry is checked."""

    fragments: int
    heavy_atoms: int


def count_atoms(smiles: str) -> AtomCount | None:
    """Fragments and heavy atoms of a SMILES, without sanitising it; None if it is no SMILES.

    Not sanitising lets a selection by size see molecules that RDKit refuses later (an unusual
    valence), so that they can be counted and named instead of vanishing.

    >>> count_atoms("CCO.[Na+]")
    AtomCount(fragments=2, heavy_atoms=4)
    >>> count_atoms("C1CC") is None
    True
    """
    options = _unchecked()
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, options)
    if mol is None or mol.GetNumAtoms() == 0:
        return None
    return AtomCount(len(Chem.GetMolFrags(mol)), mol.GetNumHeavyAtoms())


def _unchecked() -> Chem.SmilesParserParams:
    options = Chem.SmilesParserParams()
    # RDKit's stubs give these flags the type of the whole object.
    options.sanitize = False  # type: ignore[assignment]
    options.removeHs = False  # type: ignore[assignment]
    return options


def read_molecule(smiles: str) -> tuple[Chem.Mol | None, str]:
    """``(molecule, "")``, or ``(None, why RDKit refuses it)``.

    >>> mol, _ = read_molecule("OCC")
    >>> mol.GetNumAtoms()
    3
    >>> read_molecule("c1cccc1")[1]
    "Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4"
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is not None and mol.GetNumAtoms() > 0:
            return mol, ""
        if mol is not None:
            return None, "it has no atoms"
        raw = Chem.MolFromSmiles(smiles, _unchecked())
        if raw is None:
            return None, NOT_A_SMILES
        try:
            Chem.SanitizeMol(raw)
        except Exception as error:
            # RDKit's exceptions share no public base class narrower than ValueError.
            return None, str(error).strip()
    return None, "RDKit gives no molecule and no reason"


def canonical_smiles(smiles: str) -> tuple[str, str]:
    """``(canonical SMILES, "")``, or ``("", why not)``. Stereochemistry is kept.

    >>> canonical_smiles("OCC")
    ('CCO', '')
    """
    mol, why = read_molecule(smiles)
    return (Chem.MolToSmiles(mol), "") if mol is not None else ("", why)
