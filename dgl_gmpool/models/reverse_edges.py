"""The reverse of every directed edge, found from the edges themselves."""

from __future__ import annotations

import torch
from torch import Tensor


def reverse_edges(source: Tensor, destination: Tensor, num_nodes: int) -> Tensor:
    """For each edge u -> v the index of an edge v -> u, or -1.

    A self-loop is nobody's reverse edge. Of parallel edges, the k-th u -> v and the k-th v -> u
    belong together; what is left over has no reverse.

    Parameters
    ----------
    source, destination : Tensor
        Edges, in any order. Shape ``(E,)``, integer.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    Tensor
        Shape ``(E,)``, int64.

    Examples
    --------
    >>> source, destination = torch.tensor([0, 2, 1, 2, 1]), torch.tensor([1, 1, 0, 2, 0])
    >>> reverse_edges(source, destination, 3).tolist()
    [2, -1, 0, -1, -1]
    """
    source, destination = source.to(torch.int64), destination.to(torch.int64)
    if _in_pairs(source, destination):
        return torch.arange(len(source), device=source.device) ^ 1
    forward = source * num_nodes + destination
    backward = destination * num_nodes + source
    sorted_forward, forward_order = torch.sort(forward, stable=True)
    sorted_backward, backward_order = torch.sort(backward, stable=True)
    # Position of each edge's reverse among the sorted edges: the first of its kind, plus how many
    # parallel edges came before it.
    first = torch.searchsorted(sorted_forward, sorted_backward)
    same = torch.searchsorted(sorted_backward, sorted_backward)
    place = first + torch.arange(len(forward), device=forward.device) - same
    found = place < len(forward)
    place = place.clamp(max=len(forward) - 1)
    found &= sorted_forward[place] == sorted_backward
    found &= (source != destination)[backward_order]
    partner = torch.where(found, forward_order[place], -1)
    reverse = torch.empty_like(forward)
    reverse[backward_order] = partner
    return reverse


def _in_pairs(source: Tensor, destination: Tensor) -> bool:
    """Whether each edge at an even place is followed by its reverse, as bonds are written here; no
    need to sort them then."""
    if source.device.type != "cpu" or len(source) % 2:
        return False
    there, back = source[::2], destination[::2]
    turned = torch.equal(there, destination[1::2]) and torch.equal(back, source[1::2])
    return turned and not bool((there == back).any())
