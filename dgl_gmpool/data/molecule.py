"""From a cell to a molecule: what RDKit may see, fragments, canonical SMILES, or why not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from rdkit import Chem, rdBase

#: What spreadsheets, data frames and people write for "no value".
MISSING_WORDS = frozenset(
    {"", "-", "--", "---", "\u2013", "\u2014", ".", "?", "na", "n/a", "n.a", "n.a.", "#n/a n/a"}
    | {"nan", "-nan", "1.#qnan", "1.#ind", "-1.#ind", "<na>", "null", "none", "missing", "unknown"}
    | {"nd", "n.d", "n.d.", "nt", "n.t", "n.t.", "not determined", "not measured", "not tested"}
    | {"not available"}
)
#: "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", and what Excel writes in other languages ("#WERT!").
_SPREADSHEET_ERROR = re.compile(r"#[^\W\d_]+(/[^\W\d_]*0?)?[!?]?")

#: Atomic numbers of what a SMILES writes without brackets.
_ORGANIC = frozenset((5, 6, 7, 8, 9, 15, 16, 17, 35, 53))

REFUSED = "refused by RDKit"
BLANK_SMILES = "blank SMILES"
NOT_A_SMILES = "not a SMILES"

#: What may stand behind a SMILES (CXSMILES): labels, coordinates, "r", or KEY:..., after a bar.
_EXTENSION = re.compile(r"\|(\||\$|\(|r[,|]|r$|[A-Za-z&^@_]+\d*[:=]).*", re.DOTALL)

#: The number of an atom in a mapped reaction, ``[CH3:1]``: it says nothing about the molecule.
_ATOM_MAP = re.compile(r"(\[[^][]*?):\d+(?=\])")
#: An atom whose hydrogens are written out and may have needed no bracket: ``[CH3]``, ``[C@H]``; or
#: a hydrogen that is an atom of its own, ``[H]OC``.
_HYDROGENS = re.compile(r"\[(?:[BCNOPSFI]|Cl|Br|[bcops])(?:@[^][H]*)?H\d?\]|\[H\]")

#: Letters of other alphabets that look like those of a SMILES; full-width and raised or lowered
#: ones are found by normalisation.
_LOOKS_LIKE = dict(
    zip(
        "\u0410\u0412\u0421\u041d\u0406\u041a\u041e\u0420\u0405\u0391\u0392\u0397\u0399\u039a\u039d"
        "\u039f\u03a1\u0430\u0441\u0435\u0456\u043e\u043f\u0440\u0455\u03bf"
        "\u2010\u2011\u2012\u2013\u2014\u2212\u2261\u2044\u2215\u00d7\u2217",
        "ABCHIKOPSABHIKNOPaceionpso------#//**",
    )
)


def is_missing(text: str | None) -> bool:
    """Whether a cell holds no value.

    >>> [is_missing(cell) for cell in (" NaN ", "#N/A", "n.d.", "0")]
    [True, True, True, False]
    """
    if text is None:
        return True
    word = text.strip().lower()
    return word in MISSING_WORDS or _SPREADSHEET_ERROR.fullmatch(word) is not None


def split_smiles(text: str) -> tuple[str, str, str]:
    """``(SMILES, extension behind it, "")``, or ``("", "", why the cell holds no SMILES)``.

    RDKit is tolerant: it stops at the first space and skips leading bytes that it does not know,
    so a cell that is no SMILES becomes another molecule. It is therefore asked about one word of
    printable ASCII only. A CXSMILES extension (``|...|``) may follow and is cut off: RDKit refuses
    the molecule for extensions that it cannot read.

    >>> split_smiles(" CCO |r,THB:3:4:5.6|")
    ('CCO', '|r,THB:3:4:5.6|', '')
    >>> split_smiles("CC OC")[2]
    "not a SMILES: 'OC' stands behind 'CC'; a cell holds one SMILES and nothing else"
    """
    smiles, behind = [*text.split(maxsplit=1), "", ""][:2]
    if not (smiles.isascii() and smiles.isprintable()):
        foreign = (c for c in enumerate(smiles, start=1) if not "!" <= c[1] <= "~")
        return "", "", f"{NOT_A_SMILES}: {_character(*next(foreign))}"
    behind = behind.rstrip()
    if not behind:
        return smiles, "", ""
    bars = _EXTENSION.fullmatch(behind)
    # Without its closing bar it is cut short, and still no part of the molecule.
    after = behind.rpartition("|")[2].strip() if bars and behind.count("|") > 1 else ""
    if bars and not after:
        return smiles, behind, ""
    found = f"{_short(after or behind)!r} stands behind {_short(smiles)!r}"
    return "", "", f"{NOT_A_SMILES}: {found}; a cell holds one SMILES and nothing else"


def _character(position: int, character: str) -> str:
    name = unicodedata.name(character, "a control character")
    like = _LOOKS_LIKE.get(character) or unicodedata.normalize("NFKC", character)
    looks = f", which looks like {like!r}" if like.isascii() and like.isprintable() else ""
    return (
        f"character {position} is {character!r} (U+{ord(character):04X}, {name}){looks}; "
        "a SMILES is plain ASCII"
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def ignored_extensions(cells: Iterable[str]) -> list[str]:
    """Notes for a report on what is written in or behind the SMILES and ignored; none without.

    >>> ignored_extensions(["CCO |r|", "CC"])
    ["1 row has an extension behind the SMILES (such as '|r|'), which is ignored"]
    >>> ignored_extensions(["[CH3:1]O", "CC"])
    ["1 row has the numbers of atoms in a mapped reaction (such as ':1'), which are ignored"]
    """
    extensions, maps = [], []
    for cell in cells:
        smiles, extension, _ = split_smiles(cell)
        extensions += [_short(extension)] if extension else []
        found = _ATOM_MAP.search(smiles)
        maps += [found[0][len(found[1]) :]] if found else []
    notes = []
    for held, what, are in (
        (extensions, "an extension behind the SMILES", "is"),
        (maps, "the numbers of atoms in a mapped reaction", "are"),
    ):
        if held:
            rows = "1 row has" if len(held) == 1 else f"{len(held)} rows have"
            notes.append(f"{rows} {what} (such as {held[0]!r}), which {are} ignored")
    return notes


def has_atom_maps(smiles: str) -> bool:
    """Whether atoms have numbers, as in ``[CH3:1]``."""
    return ":" in smiles and _ATOM_MAP.search(smiles) is not None


def refusal(why: str) -> str:
    """The reason to count a refused molecule under: no SMILES at all, or one that RDKit refuses."""
    return NOT_A_SMILES if why.startswith(NOT_A_SMILES) else REFUSED


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
    smiles, _, _ = split_smiles(smiles)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, _unchecked())
    if mol is None or mol.GetNumAtoms() == 0:
        return None
    return AtomCount(len(Chem.GetMolFrags(mol)), mol.GetNumHeavyAtoms())


def _unchecked() -> Chem.SmilesParserParams:
    options = Chem.SmilesParserParams()
    # RDKit's stubs give these flags the type of the whole object.
    options.sanitize = False  # type: ignore[assignment]
    options.removeHs = False  # type: ignore[assignment]
    return options


def read_molecule(text: str) -> tuple[Chem.Mol | None, str]:
    """``(molecule, "")``, or ``(None, why it is none)``; an extension behind the SMILES and the
    numbers of mapped atoms are left out.

    Atoms whose hydrogens are written out without need (``[CH3]``, ``[H]O``) become what they are
    without: features ask for implicit hydrogens, and must not hang on how a molecule is written.

    >>> mol, _ = read_molecule("OCC")
    >>> mol.GetNumAtoms()
    3
    >>> read_molecule("c1cccc1")[1], read_molecule(" ")[1]
    ("Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4", 'blank SMILES')
    """
    if is_missing(text):
        return None, BLANK_SMILES
    smiles, _, why = split_smiles(text)
    if why:
        return None, why
    if has_atom_maps(smiles):
        smiles = _ATOM_MAP.sub(r"\1", smiles)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is not None and mol.GetNumAtoms() > 0:
            if _HYDROGENS.search(smiles):
                _unwrite_hydrogens(mol)
            return mol, ""
        if mol is not None:
            return None, "it has no atoms"
        raw = Chem.MolFromSmiles(smiles, _unchecked())
        if raw is None:
            if smiles.startswith("InChI="):
                return None, f"{NOT_A_SMILES}: it is an InChI; write SMILES in its place"
            return None, NOT_A_SMILES
        try:
            Chem.SanitizeMol(raw)
        except Exception as error:
            # RDKit's exceptions share no public base class narrower than ValueError.
            return None, str(error).strip()
    return None, "RDKit gives no molecule and no reason"


def _unwrite_hydrogens(mol: Chem.Mol) -> None:
    """Make hydrogens implicit where the atom has as many by itself."""
    for atom in mol.GetAtoms():
        hydrogens = atom.GetNumExplicitHs()
        if not hydrogens:
            continue
        plain = not (atom.GetFormalCharge() or atom.GetIsotope() or atom.GetNumRadicalElectrons())
        tagged = atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED
        number = atom.GetAtomicNum()
        if tagged or not plain or number not in _ORGANIC:
            continue
        if atom.GetTotalValence() > Chem.GetPeriodicTable().GetDefaultValence(number):
            continue  # RDKit itself writes such a one, C[SH](C)C, in brackets
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(False)
        atom.UpdatePropertyCache(strict=False)
        if atom.GetTotalNumHs() != hydrogens:  # [nH], and unusual valences
            atom.SetNumExplicitHs(hydrogens)
            atom.SetNoImplicit(True)
            atom.UpdatePropertyCache(strict=False)


def canonical_smiles(smiles: str) -> tuple[str, str]:
    """``(canonical SMILES, "")``, or ``("", why not)``. Stereochemistry is kept.

    >>> canonical_smiles("OCC")
    ('CCO', '')
    """
    mol, why = read_molecule(smiles)
    return (Chem.MolToSmiles(mol), "") if mol is not None else ("", why)
