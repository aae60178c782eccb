"""The number in a cell, or why there is none, in words that say how to mend the cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dgl_gmpool.data.molecule import is_missing

#: Words for the two classes of a measurement.
CLASS_WORDS = {
    **dict.fromkeys(("active", "true", "yes", "y", "t", "positive", "pos", "toxic"), 1.0),
    **dict.fromkeys(
        ("inactive", "false", "no", "n", "f", "negative", "neg", "nontoxic", "non-toxic"), 0.0
    ),
}

#: What to do about bounds: leave them out, learn that the value lies beyond, or take the number for
#: the value.
BOUNDS = ("drop", "use", "as_measured")

BOUND = "a bound ('>' or '<')"
APPROXIMATE = "an approximate value ('~')"
COMMA = "written with a comma"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_VALUE = re.compile(rf"(>>|<<|>=|<=|>|<|=|~|\u2265|\u2264|\u2248)?\s*({_NUMBER})")
#: A number in any writing, with what may stand before it.
_DIGITS = re.compile(r"[<>=~\u2265\u2264\u2248\s]*([+-]?\d[\d.,]*(?:[eE][+-]?\d+)?)")
#: As German and Italian spreadsheets write large numbers.
_THOUSANDS = re.compile(r"([<>=~\u2265\u2264\u2248\s]*[+-]?)([1-9]\d{0,2}(?:\.\d{3})+)(,\d+)?")
#: Minus signs of printed tables and word processors.
_MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")
_RELATION = {"\u2265": ">", "\u2264": "<", "\u2248": "~", "=": ""}
#: float32, which models compute in, ends there.
LARGEST = 3e38


def parse_value(text: str) -> tuple[str, float] | None:
    """``(relation, number)`` of a cell; relation is ``">"``, ``"<"``, ``"~"`` or ``""``.

    None if the cell is no finite number.

    >>> [parse_value(cell) for cell in (">10000", " 1e+3", "<= 0.1", "1e-5", "n.d.")]
    [('>', 10000.0), ('', 1000.0), ('<', 0.1), ('', 1e-05), None]
    """
    match = _VALUE.fullmatch(text.strip().translate(_MINUS))
    if match is None:
        return None
    # Rounding writes "-0.00", which is no other number than 0, to the bit.
    value, relation = float(match.group(2)) + 0.0, (match.group(1) or "=")[0]
    return (_RELATION.get(relation, relation), value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Cell:
    """What a target's cell holds.

    Attributes
    ----------
    value : float
        NaN where the cell is blank or cannot be used; the bound, where ``relation`` says that it
        is one.
    why : str
        Why it cannot be used, and what to write; empty where it can, and for a blank.
    sort : str
        Of a cell that holds less than a measured value: ``BOUND``, ``APPROXIMATE``, ``COMMA``; or
        empty. Such cells are rarely a random part of a column, so a reader is told.
    relation : str
        ``">"`` or ``"<"`` where the value lies above or below ``value``; empty where it is it.
    """

    value: float
    why: str = ""
    sort: str = ""
    relation: str = ""


def read_cell(text: str) -> Cell:
    """The number in a cell.

    >>> read_cell("4.5"), read_cell("n.d.").value
    (Cell(value=4.5, why='', sort='', relation=''), nan)
    >>> read_cell("1,036").why
    "is '1,036', with a comma; write it with a point, and thousands together"
    """
    text = text.strip()
    if is_missing(text):
        return Cell(math.nan)
    found = parse_value(text)
    if found is not None and not found[0] and abs(found[1]) < LARGEST:
        return Cell(found[1])
    return Cell(math.nan, *_why(text, found))


def read_weight(text: str, *, where: str) -> float:
    """The weight in a cell.

    Raises
    ------
    ValueError
        It is no number from 0 to ``LARGEST``; ``where`` names file, row and column.

    Examples
    --------
    >>> read_weight(" 0.5", where="row 2")
    0.5
    """
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= LARGEST:
        raise ValueError(
            f"{where} is {text.strip()!r}: expected a number from 0 (which leaves the row out of "
            f"the training) to {LARGEST:g}; correct the cell or take another weight_column "
            "(--weight-column)"
        )
    return weight


def check_weights(weights: np.ndarray, rows: int) -> None:
    """Raise a ValueError unless there is a weight from 0 to ``LARGEST`` for each row."""
    if weights.shape != (rows,):
        raise ValueError(f"weights have the shape {weights.shape}, expected ({rows},)")
    odd = np.flatnonzero(~((weights >= 0) & (weights <= LARGEST)))
    if len(odd):
        raise ValueError(
            f"the weight of row {odd[0]} is {weights[odd[0]]}; expected values from 0 to "
            f"{LARGEST:g}"
        )


def has_decimal_commas(cells: Iterable[str], *, separator: str, said: bool = False) -> bool:
    """Whether the commas in a column of numbers can only be decimal marks; never where commas part
    the table's cells. Where it is ``said`` that all commas are, whether the column may have such:
    not where its decimal marks are points.

    >>> columns = ["4,1", "1,036"], ["0,123"], ["107", "1,036"], ["1.036,5", "2.000"], ["4,1", "2."]
    >>> [has_decimal_commas(cells, separator=";") for cells in columns]
    [True, True, False, True, False]
    """
    if separator == "," and not said:
        return False
    # A word in one cell, such as "ca. 3", says nothing of the numbers in the others.
    texts = [
        found[1] for cell in cells if (found := _DIGITS.fullmatch(cell.strip().translate(_MINUS)))
    ]
    dotted = [text for text in texts if "." in text]
    thousands = all(map(_THOUSANDS.fullmatch, dotted))
    if said:
        return thousands or any("," in text for text in texts)
    if any(text.count(",") > 1 for text in texts):
        return False
    if dotted:  # between thousands, if a comma stands behind one of them
        return thousands and any("," in text for text in dotted)
    return any(re.search(r"^[+-]?0+,\d|\d,(\d{1,2}|\d{4,}|\d+[eE].*)$", text) for text in texts)


def with_decimal_point(text: str) -> str:
    """A cell of a column with decimal commas as others are written, without dots between thousands.

    >>> [with_decimal_point(cell) for cell in ("4,1", ">1.036,5", "2.000", "2.0", "n.d.")]
    ['4.1', '>1036.5', '2000', '2.0', 'n.d.']
    """
    found = _THOUSANDS.fullmatch(text.strip().translate(_MINUS))
    if found is not None:
        text = found[1] + found[2].replace(".", "") + (found[3] or "")
    return text.replace(",", ".")


def _why(text: str, found: tuple[str, float] | None) -> tuple[str, str]:
    said, plain = f"is {text!r}, not a finite number", text.translate(_MINUS)
    if found is not None:
        relation, _ = found
        if relation == "~":
            return (
                f"is {text!r}, an approximate value; write the number alone to use it",
                APPROXIMATE,
            )
        if relation:
            return f"is {text!r}, a bound and not a measured value", BOUND
        return f"is {text!r}, larger than {LARGEST:g}", ""
    if re.fullmatch(r"[+-]?\d[\d.,]*,\d+(\.\d+)?", plain):
        return f"is {text!r}, with a comma; write it with a point, and thousands together", COMMA
    if re.match(_NUMBER, plain):
        said += ": write the number alone, without its unit, its error or a percent sign"
    return said, ""
