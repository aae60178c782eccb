"""The folder that an explanation of many molecules leaves: tables, pictures, a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_csv, atomic_write_text, check_writable
from dgl_gmpool.explain.drawing import NoPictureError
from dgl_gmpool.explain.explanation import Explanation
from dgl_gmpool.explain.fragments import (
    Cut,
    FragmentRow,
    Pair,
    Setting,
    context_smiles,
    flat_smiles,
    fragment_rows,
    matched_pairs,
)
from dgl_gmpool.explain.page import Headline, write_page

#: Files of a report. Pictures are molecule_ROW.svg and molecule_ROW.png.
TABLES = ("molecules.csv", "atoms.csv", "groups.csv", "fragments.csv", "pairs.csv")
PAGE = "index.html"
PICTURES = ("molecule_*.svg", "molecule_*.png")

#: As many pairs are written, those with the largest differences.
MOST_PAIRS = 10_000


@dataclass(frozen=True, eq=False)
class ExplainedRow:
    """One row of the input, explained or not.

    Attributes
    ----------
    number : int
        Of the row, as a spreadsheet shows it.
    smiles : str
    explanation : Explanation or None
    reason : str
        Why there is none; else empty.
    note : str
        What to know of it; else empty.
    """

    number: int
    smiles: str
    explanation: Explanation | None
    reason: str = ""
    note: str = ""


@dataclass
class Report:
    """Collects rows; :meth:`finish` writes the tables and the page.

    Parameters
    ----------
    folder : Path
        As :func:`check_folder` left it.
    """

    folder: Path
    rows: list[ExplainedRow] = field(default_factory=list)

    def add(self, row: ExplainedRow) -> None:
        """Keep a row, and draw its molecule; where that fails, its note says so."""
        if row.explanation is not None:
            notes = [row.explanation.molecule_note]
            try:
                atomic_write_text(self.folder / f"molecule_{row.number}.svg", row.explanation.svg())
                row.explanation.png(self.folder / f"molecule_{row.number}.png")
            except NoPictureError as error:
                notes.append(str(error))
            row = replace(row, note="; ".join(filter(None, notes)))
        self.rows.append(row)

    @property
    def explained(self) -> list[tuple[int, Explanation]]:
        """Row numbers and explanations."""
        return [(row.number, row.explanation) for row in self.rows if row.explanation is not None]

    def finish(self, title: str) -> None:
        """Write the tables, then the page, which is last: with it, the report is whole."""
        fragments = fragment_rows(
            (number, each.target, fragment, float(share))
            for number, each in self.explained
            for fragment, share in zip(each.fragments, each.group_contributions)
        )
        pairs, pair_count = matched_pairs(self._cuts(), most=MOST_PAIRS)
        for name, lines in zip(
            TABLES,
            (
                self._molecules(),
                self._atoms(),
                self._groups(),
                _fragments(fragments),
                _pairs(pairs, {number: each.smiles for number, each in self.explained}),
            ),
        ):
            # No "nan": spreadsheets take it for a word.
            rows = (["" if cell != cell else cell for cell in line] for line in lines)
            atomic_write_csv(self.folder / name, rows)
        refused = [(row.number, row.smiles, row.reason) for row in self.rows if row.reason]
        write_page(
            self.folder / PAGE,
            Headline(title, len(self.rows), pair_count),
            self.explained,
            refused,
            fragments,
            pairs,
        )

    def _cuts(self) -> list[Cut]:
        found, seen = [], set()
        for number, each in self.explained:
            mol = each.mol
            setting, canonical = Setting(each.target, each.beside), flat_smiles(mol)
            if (setting, canonical) in seen:
                continue
            seen.add((setting, canonical))
            for group, share in enumerate(each.group_contributions):
                context = context_smiles(mol, each.atoms_of(group))
                found.append(
                    Cut(
                        *(number, setting, canonical, each.fragments[group], context),
                        *(each.prediction, float(share)),
                    )
                )
        return found

    def _molecules(self) -> Iterable[Sequence[Any]]:
        yield (
            *("row", "smiles", "explained smiles", "beside the molecule", "target", "prediction"),
            *("baseline", "carbon skeleton", "groups", "agreement of models", "note", "reason"),
        )
        for row in self.rows:
            each = row.explanation
            if each is None:
                yield (row.number, row.smiles, *[""] * 9, row.reason)
                continue
            yield (
                *(row.number, row.smiles, each.smiles, each.beside, each.target, each.prediction),
                *(each.baseline, each.skeleton, each.num_groups, each.agreement, row.note, ""),
            )

    def _atoms(self) -> Iterable[Sequence[Any]]:
        yield "row", "atom", "element", "group", "membership", "weight", "contribution"
        for number, each in self.explained:
            for atom, symbol in enumerate(each.symbols):
                group: int | str = ""
                member = math.nan
                if each.groups is not None and each.memberships is not None:
                    group = int(each.groups[atom])
                    member = float(each.memberships[atom, int(group)])
                weight = math.nan if each.weights is None else float(each.weights[atom])
                share = float(each.contributions[atom])
                yield number, atom, symbol, group, member, weight, share

    def _groups(self) -> Iterable[Sequence[Any]]:
        yield "row", "group", "atoms", "fragment", "contribution", "std over models"
        for number, each in self.explained:
            for group, share in enumerate(each.group_contributions):
                atoms = " ".join(map(str, each.atoms_of(group)))
                spread = float(each.group_spread[group])
                yield number, group, atoms, each.fragments[group], float(share), spread


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the folder of a report and see that it can be written to, before any work.

    With ``overwrite`` the files of an earlier report are deleted; others stay.

    Raises
    ------
    ValueError
        It is a file, holds something and ``overwrite`` is false, or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --output is a folder: name another")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ValueError(
            f"the output folder {folder} is not empty; add --overwrite to replace an earlier "
            "report in it, or name another --output"
        )
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [folder / name for name in (PAGE, *TABLES)]
    earlier += [file for pattern in PICTURES for file in folder.glob(pattern)]
    for file in earlier:
        file.unlink(missing_ok=True)


def _fragments(rows: Sequence[FragmentRow]) -> Iterable[Sequence[Any]]:
    yield "fragment", "target", "count", "molecules", "mean contribution", "std of contributions"
    for row in rows:
        yield row.fragment, row.target, row.count, row.molecules, row.mean, row.spread


def _pairs(pairs: Sequence[Pair], smiles: dict[int, str]) -> Iterable[Sequence[Any]]:
    yield (
        *("difference of predictions", "target", "beside the molecule", "in common"),
        *("row 1", "row 2", "fragment 1", "fragment 2"),
        *("prediction 1", "prediction 2", "smiles 1", "smiles 2"),
    )
    for pair in pairs:
        one, two = pair.first, pair.second
        yield (
            *(pair.difference, *one.setting, pair.context),
            *(one.row, two.row, one.fragment, two.fragment),
            *(one.prediction, two.prediction, smiles[one.row], smiles[two.row]),
        )
