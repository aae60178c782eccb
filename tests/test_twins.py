"""Molecules that differ in stereochemistry or isotopes alone: counted, and kept on one side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rdkit import Chem
from test_data_splits import sides, table_of

from dgl_gmpool.data import make_splits
from dgl_gmpool.data.held_out_table import with_test_table
from dgl_gmpool.data.make_splits import splits_of_parts
from dgl_gmpool.data.twins import with_twins_noted, without_isotopes, without_stereo


def test_without_stereo():
    assert without_stereo("[2H][C@H](C)O") == "[2H]C(C)O"
    assert without_stereo("F/C=C/F") == without_stereo("F/C=C\\F") == "FC=CF"
    assert without_stereo("CCO") == "CCO"
    assert without_stereo("no @ SMILES") == "no @ SMILES"


TWINS = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "C[C@H](O)CC", "C[C@@H](O)CC", "CCO", "CCN"]


def test_twins_are_counted_and_those_that_differ():
    table = replace(table_of(TWINS), targets=np.array([[1.0], [2], [3], [3], [5], [6]]))
    (note,) = with_twins_noted(table, told_apart=True).report.notes
    assert note == (
        "4 molecules in 2 sets differ in stereochemistry alone, in 1 of the sets with different "
        "targets; the features tell them apart"
    )
    (note,) = with_twins_noted(table, told_apart=False).report.notes
    assert note.endswith("so a set stays on one side of every split")
    apart = replace(table, targets=np.array([[np.nan], [2], [np.nan], [3], [5], [6]]))
    assert "in 0 of the sets" in str(with_twins_noted(apart, told_apart=True).report)
    assert with_twins_noted(table.take([0, 2, 4]), told_apart=True).report.notes == ()
    # The same molecule twice is a repeat, not a twin.
    assert with_twins_noted(table.take([0, 0, 4]), told_apart=True).report.notes == ()


def test_twins_stay_on_one_side_where_features_do_not_tell_them_apart():
    pairs = [f"{'C' * n}[C@{h}H](N)C(=O)O" for n in range(1, 21) for h in ("", "@")]
    table = table_of([Chem.CanonSmiles(s) for s in pairs])
    for seed in range(5):
        for parts in sides(make_splits(table, seed=seed, stereo=False)):
            for rows in parts.values():
                assert {row ^ 1 for row in rows} == set(rows)
    assert any(
        {row ^ 1 for row in make_splits(table, seed=seed).test}
        != set(make_splits(table, seed=seed).test)
        for seed in range(5)
    )


def test_without_isotopes():
    assert without_isotopes("[2H]O[2H]") == "O"
    assert without_isotopes("[2H][2H]") == "[H][H]"
    assert without_isotopes("[13CH3][13CH2]O.[37Cl-].[22Na+]") == "CCO.[Cl-].[Na+]"
    # A centre by its isotopes alone is none without them.
    assert without_isotopes("[2H][C@H](C)O") == without_isotopes("[3H][C@@H](C)O") == "CCO"
    assert without_isotopes("[2H]C[C@H](N)C(=O)O") == Chem.CanonSmiles("C[C@H](N)C(=O)O")
    assert without_isotopes("[Cu+2]") == "[Cu+2]"
    assert without_isotopes("[13 no SMILES") == "[13 no SMILES"


def labelled(n: int) -> list[str]:
    """A chain, the same with a heavy carbon, with deuterium, and as a mirror image with both."""
    chain = "C" * n
    return [
        Chem.CanonSmiles(smiles)
        for smiles in (
            f"{chain}[C@H](N)CO",
            f"{chain}[C@H](N)[13CH2]O",
            f"[2H]{chain}[C@H](N)CO",
            f"[2H]{chain}[C@@H](N)[13CH2]O",
        )
    ]


@pytest.mark.parametrize("stereo", [True, False])
@pytest.mark.parametrize("kind", ["random", "scaffold", "group", "time"])
def test_molecules_that_differ_in_isotopes_stay_on_one_side(kind, stereo):
    table = table_of([smiles for n in range(2, 22) for smiles in labelled(n)])
    table = replace(table, split_values=tuple(str(2000 + row) for row in range(len(table))))
    for seed in range(3):
        splits = make_splits(table, kind=kind, seed=seed, folds=3, stereo=stereo)
        for parts in sides(splits):
            for rows in map(set, parts.values()):
                for row in rows:
                    first = row - row % 4
                    together = range(first, first + (4 if not stereo else 3))
                    assert row == first + 3 or set(together) <= rows


def test_isotopes_are_told_in_the_report():
    table = table_of([*labelled(3), "CCO"])
    table = replace(table, targets=np.array([[1.0], [1], [1], [2], [3]]))
    notes = with_twins_noted(table.take([0, 1, 4]), told_apart=True).report.notes
    assert notes == (
        "2 molecules in 1 sets differ in isotopes alone, in 0 of the sets with different targets; "
        "no features tell them apart, so a set stays on one side of every split",
    )
    # The mirror image differs from each of the others in isotopes too.
    (isotopes,) = with_twins_noted(table, told_apart=False).report.notes
    assert isotopes.startswith("3 molecules in 1 sets differ in isotopes alone")


def test_a_test_table_takes_its_isotopes_out_of_training_and_given_parts_are_left_alone():
    ours, theirs = table_of([*labelled(3)[:2], "CCCl", "CCBr"]), table_of(labelled(3)[2:])
    joined = with_test_table(ours, theirs)
    assert joined.canonical == ("CCCl", "CCBr", *theirs.canonical)
    assert "2" in str(joined.report)

    table = table_of([*labelled(3)[:3], *("C" * n for n in range(1, 9))])
    for parts in (
        ["test", "train", "train"] + ["train", "valid"] * 4,
        ["test", "train", "train"] + ["train"] * 8,
    ):
        splits = splits_of_parts(table, parts, **({} if "valid" in parts else {"folds": 2}))
        assert splits.test == [0]
        assert splits.notes[-1] == (
            "1 sets of molecules that differ in isotopes alone are in several parts"
        )
