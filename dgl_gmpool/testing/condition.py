"""One thing that must hold of a pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dgl_gmpool._options import check_choice
from dgl_gmpool.testing.comparing import ConditionFailed
from dgl_gmpool.testing.subject import FACES, MakePool, Subject


@dataclass(frozen=True)
class Condition:
    """One thing that must hold.

    Attributes
    ----------
    name : str
        A few words.
    check : callable
        ``check(subject)`` raises where it does not hold.
    """

    name: str
    check: Callable[[Subject], None]

    @property
    def description(self) -> str:
        """What must hold, in one or two sentences."""
        return " ".join((self.check.__doc__ or "").split())

    def run(self, make_pool: MakePool, face: str = "readout") -> None:
        """Check one face of a pooling.

        Parameters
        ----------
        make_pool : callable
            ``make_pool(in_feats)`` returns a new ``torch.nn.Module``, called as
            ``module(graph, feat)``; for the ``"coarsen"`` face it has ``coarsen`` as well.
        face : str, optional
            ``"readout"`` (default) or ``"coarsen"``.

        Raises
        ------
        ConditionFailed
            If the condition does not hold. Whatever else the module raises, passes through.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.check(Subject(make_pool, check_choice("face", face, FACES)))

    def failure(self, make_pool: MakePool, face: str = "readout") -> str | None:
        """As :meth:`run`, but returns the reason of the failure, or None."""
        try:
            self.run(make_pool, face)
        except ConditionFailed as failed:
            return str(failed)
        except Exception as error:
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[0] if lines else ''}"
        return None
