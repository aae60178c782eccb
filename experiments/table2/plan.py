"""What a comparison is made of, and in which order it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dgl_gmpool._options import check_choice
from experiments.table2.datasets import ComparisonData
from experiments.table2.rows import KEY_ROWS, WIDE, Row
from experiments.table2.scores import Key
from experiments.table2.search import OTHER_SEARCH_SEEDS, SEARCH_SEEDS
from experiments.table2.training import BUDGET

FOLDS = 5
SEEDS = tuple(range(100, 125))

#: Of how many seeds, the first ones, all folds are trained.
KEY_ENSEMBLES, OTHER_ENSEMBLES = 1, 1

PHASES = ("key", "key_folds", "others", "wide", "other_folds")


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    datasets, search_sets : tuple of ComparisonData
        Those of the table; those on which configurations are chosen.
    rows : tuple of Row
    paths : mapping of str to Path or None
        File of each source, see ``ComparisonData.source``.
    output : Path
        Folder of everything that is written.
    seeds, search_seeds : tuple of int
    phases : tuple of str
        Of :data:`PHASES`, to run these only.
    choices : Path, optional
        A ``choices.json`` to take configurations from; nothing is searched then.
    search_only : bool
    retry : bool
        Train again what failed.
    budget : mapping
        What every network gets alike.
    """

    datasets: tuple[ComparisonData, ...]
    search_sets: tuple[ComparisonData, ...]
    rows: tuple[Row, ...]
    paths: Mapping[str, Path | None]
    output: Path
    seeds: tuple[int, ...] = SEEDS
    search_seeds: tuple[int, ...] = SEARCH_SEEDS
    phases: tuple[str, ...] = PHASES
    choices: Path | None = None
    search_only: bool = False
    retry: bool = False
    budget: Mapping[str, Any] = field(default_factory=lambda: BUDGET)

    def __post_init__(self) -> None:
        for phase in self.phases:
            check_choice("phase", phase, PHASES)
        both = sorted(set(self.seeds) & set(self.search_seeds))
        if both:
            raise ValueError(
                f"seeds {both} are those that configurations are chosen on; score others"
            )

    def seeds_of_search(self, row: Row) -> tuple[int, ...]:
        """Those that this row's configuration is chosen on."""
        if row.name in KEY_ROWS:
            return self.search_seeds
        return self.search_seeds[:OTHER_SEARCH_SEEDS]


@dataclass(frozen=True)
class Training:
    """One training of the table."""

    row: Row
    wide: bool
    data: ComparisonData
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """Of the row in the results."""
        return self.row.name + (WIDE if self.wide else "")

    @property
    def key(self) -> Key:
        """Of its score."""
        return (self.data.name, self.name, self.seed, self.fold)


def phases(plan: Plan) -> Iterator[tuple[str, list[Training]]]:
    """Every training in its order. Key rows first; seed by seed, and within a seed every set with
    every row, so that rows are always compared on the same splits."""
    key = [row for row in plan.rows if row.name in KEY_ROWS]
    others = [row for row in plan.rows if row.name not in KEY_ROWS]
    wide = [row for row in plan.rows if row.wide]
    some = range(1, FOLDS)

    def trainings(
        rows: Sequence[Row], seeds: Sequence[int], folds: Sequence[int], wide: bool = False
    ) -> list[Training]:
        return [
            Training(row, wide, data, seed, fold)
            for seed in seeds
            for data in plan.datasets
            for row in rows
            for fold in folds
        ]

    late = plan.seeds[:OTHER_ENSEMBLES]
    planned = {
        "key": trainings(key, plan.seeds, [0]),
        "key_folds": trainings(key, plan.seeds[:KEY_ENSEMBLES], some),
        "others": trainings(others, plan.seeds, [0]),
        "wide": trainings(wide, plan.seeds, [0], True),
        "other_folds": trainings(others, late, some) + trainings(wide, late, some, True),
    }
    for name in PHASES:
        if name in plan.phases:
            yield name, planned[name]
