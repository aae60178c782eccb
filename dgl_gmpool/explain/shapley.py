"""Shares of players in what they reach together (Shapley, "A Value for n-Person Games", 1953)."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np

#: Up to this many players all 2^K coalitions are looked at.
MOST_PLAYERS = 8

#: Rows of a bool array ``(S, K)``, each a coalition, to what they reach: ``(models, S)``.
Value = Callable[[np.ndarray], np.ndarray]


def shapley_values(value: Value, players: int) -> np.ndarray:
    """What each player adds to a coalition, averaged over all orders in which they may come.

    The shares add up to what all reach less what nobody reaches; a player who never changes
    anything gets nothing; players who do the same get the same. Exact up to
    :data:`MOST_PLAYERS`; beyond, :func:`first_and_last` with the rest shared by size.

    Parameters
    ----------
    value : callable
        ``(S, K)`` bool to ``(models, S)``.
    players : int
        K, at least 1.

    Returns
    -------
    numpy.ndarray
        ``(models, K)`` float64.

    Examples
    --------
    >>> def both(coalitions):  # 6 if players 0 and 1 are there
    ...     return (6.0 * coalitions[:, 0] * coalitions[:, 1])[None]
    >>> shapley_values(both, 3).tolist()
    [[3.0, 3.0, 0.0]]
    """
    if players > MOST_PLAYERS:
        shares, total = first_and_last(value, players)
        return share_rest(shares, total)
    numbers = np.arange(2**players)
    coalitions = (numbers[:, None] >> np.arange(players) & 1).astype(bool)
    reached = np.asarray(value(coalitions), np.float64)
    sizes = coalitions.sum(1)
    # How often, over all orders, a coalition of this size is who came before the player.
    weight = np.array(
        [factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)]
    )
    found = np.empty((len(reached), players))
    for player in range(players):
        without = numbers[~coalitions[:, player]]
        gain = reached[:, without | 1 << player] - reached[:, without]
        found[:, player] = gain @ weight[sizes[without]]
    return found


def remembered(value: Value) -> Value:
    """``value``, asked for each coalition once; the same coalition always gives the same number.

    (In a batch with others, a network's last digits may differ.)
    """
    known: dict[bytes, np.ndarray] = {}

    def look_up(coalitions: np.ndarray) -> np.ndarray:
        keys = [row.tobytes() for row in coalitions]
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            found = np.asarray(value(coalitions[list(new.values())]), np.float64)
            known.update(zip(new, found.T))
        return np.stack([known[key] for key in keys], axis=1)

    return look_up


def first_and_last(value: Value, players: int) -> tuple[np.ndarray, np.ndarray]:
    """What each adds as the first to come and as the last, halved and added up.

    These are the Shapley values where no three players act together; 2 K + 2 coalitions.

    Returns
    -------
    numpy.ndarray
        ``(models, K)``.
    numpy.ndarray
        What all reach less what nobody reaches, ``(models,)``.
    """
    one = np.eye(players, dtype=bool)
    ends = np.array([[False] * players, [True] * players])
    reached = np.asarray(value(np.concatenate([ends, one, ~one])), np.float64)
    nobody, everybody = reached[:, :1], reached[:, 1:2]
    first, last = reached[:, 2 : 2 + players] - nobody, everybody - reached[:, 2 + players :]
    return (first + last) / 2, (everybody - nobody)[:, 0]


def share_rest(shares: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Shares ``(models, K)`` that add up to ``total`` ``(models,)``.

    What is missing goes to each by the size of its share, so that nothing stays nothing; to all
    alike only where every share is 0.

    Examples
    --------
    >>> share_rest(np.array([[3.0, -1.0, 0.0], [0.0, 0.0, 0.0]]), np.array([4.0, 3.0])).tolist()
    [[4.5, -0.5, 0.0], [1.0, 1.0, 1.0]]
    """
    size = np.abs(shares)
    whole = size.sum(1, keepdims=True)
    part = np.where(whole > 0, size / np.where(whole > 0, whole, 1), 1 / shares.shape[1])
    return shares + part * (total - shares.sum(1))[:, None]
