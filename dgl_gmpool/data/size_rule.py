"""The paper's selection of molecules: one fragment, and a range of heavy atoms."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_gmpool.data.molecule import AtomCount

SEVERAL_FRAGMENTS = "more than one fragment"


@dataclass(frozen=True)
class SizeRule:
    """Which molecules a selection takes. Both limits are included; None is no limit.

    Raises
    ------
    TypeError, ValueError
        Unless ``0 <= min_atoms <= max_atoms``, as ints.

    Examples
    --------
    >>> rule = SizeRule(20, 40, one_fragment=True)
    >>> print(rule)
    selected: one fragment, 20 to 40 heavy atoms
    >>> rule.reason_against(AtomCount(fragments=1, heavy_atoms=12))
    'fewer than 20 heavy atoms'
    """

    min_atoms: int | None = None
    max_atoms: int | None = None
    one_fragment: bool = False

    def __post_init__(self) -> None:
        for name in ("min_atoms", "max_atoms"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} must be an int or None, got {value!r}")
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}; None is no limit")
        low, high = self.min_atoms, self.max_atoms
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_atoms={low} is above max_atoms={high}; swap them")

    @property
    def takes_all(self) -> bool:
        return self == SizeRule()

    def reason_against(self, atoms: AtomCount) -> str:
        """Why a molecule is left out, or ``""`` when it is taken."""
        if self.one_fragment and atoms.fragments > 1:
            return SEVERAL_FRAGMENTS
        if self.min_atoms is not None and atoms.heavy_atoms < self.min_atoms:
            return f"fewer than {self.min_atoms} heavy atoms"
        if self.max_atoms is not None and atoms.heavy_atoms > self.max_atoms:
            return f"more than {self.max_atoms} heavy atoms"
        return ""

    def __str__(self) -> str:
        parts = ["one fragment"] if self.one_fragment else []
        if self.min_atoms is not None and self.max_atoms is not None:
            parts.append(f"{self.min_atoms} to {self.max_atoms} heavy atoms")
        elif self.min_atoms is not None:
            parts.append(f"at least {self.min_atoms} heavy atoms")
        elif self.max_atoms is not None:
            parts.append(f"at most {self.max_atoms} heavy atoms")
        return "selected: " + (", ".join(parts) or "any size")
