"""How far a command has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from dgl_gmpool.training.words import duration

#: Seconds between two lines.
EVERY = 30.0


class RowProgress:
    """Rows done of a total, said on standard error.

    Parameters
    ----------
    what : str
        The command.
    total, done : int
        Rows, and how many of them an earlier command has done.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._done, self._first = what, total, done, done
        self._started = self._said = time.monotonic()
        self._bar = tqdm(
            total=total, initial=done, desc=what, unit="mol", disable=None, leave=False
        )

    def add(self, rows: int) -> None:
        """So many more are done."""
        self._done += rows
        self._bar.update(rows)
        now = time.monotonic()
        if self._bar.disable and now - self._said >= EVERY and self._done < self._total:
            self._said = now
            left = (now - self._started) / max(self._done - self._first, 1)
            print(
                f"{self._what}: {self._done:,} of {self._total:,} rows, about "
                f"{duration(left * (self._total - self._done))} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        self._bar.close()
