"""What a split is made by, of a molecule whose rows became one row."""

from __future__ import annotations

from collections.abc import Sequence

from dgl_gmpool.data.molecule import is_missing
from dgl_gmpool.data.split_units import tied, times
from dgl_gmpool.data.splits import PARTS, are_parts


def merged_split_values(
    names: Sequence[str], cells: Sequence[Sequence[str]], split: str
) -> tuple[str, ...]:
    """One cell for each molecule, from those of its rows.

    Parameters
    ----------
    names : sequence of str
        Of the molecules, for the error.
    cells : sequence of sequence of str
        For each molecule, the cells of its rows; blank ones say nothing.
    split : str
        ``"time"``: the earliest counts, a molecule is as old as its first measurement. ``"group"``:
        groups that share a molecule become one. Anything else, and where the cells are the words
        train, valid and test: the rows must agree.

    Raises
    ------
    ValueError
        A cell is no date, or the rows of a molecule do not agree.

    Examples
    --------
    >>> merged_split_values(["CCO", "CCN"], [["2021", "2019"], ["2020"]], "time")
    ('2019', '2020')
    >>> merged_split_values(["CCO", "CCN", "CO"], [["a", "b"], ["b"], ["c"]], "group")
    ('a', 'a', 'c')
    >>> merged_split_values(["CCO"], [["valid", "Validation"]], "")
    ('valid',)
    """
    known = [[cell.strip() for cell in each if not is_missing(cell)] for each in cells]
    flat = [cell for each in known for cell in each]
    parts = are_parts(flat)
    if split == "time" and not parts:
        time_of = dict(zip(flat, times(flat, name="--split-column")))
        return tuple(min(each, key=time_of.__getitem__, default="") for each in known)
    if split == "group" and not parts:
        # Each cell is a row here: those of one molecule and those of one text are tied.
        owner = [at for at, each in enumerate(known) for _ in each]
        first = {row: flat[unit[0]] for unit in tied(len(flat), [owner, flat]) for row in unit}
        starts = [0]
        for each in known:
            starts.append(starts[-1] + len(each))
        return tuple(first[at] if each else "" for at, each in zip(starts, known))
    for name, each in zip(names, known):
        words = {PARTS[cell.lower()] if parts else cell.lower(): cell for cell in each}
        if len(words) > 1:
            raise ValueError(
                f"the split column says {' and '.join(words.values())} on rows of one molecule, "
                f"{name}; give its rows the same part"
                + ("" if parts else ", or say what it holds: --split time or --split group")
            )
    return tuple(each[0] if each else "" for each in known)
