"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the others to the right.

    Examples
    --------
    >>> print(text_table(["pooling", "ms"], [["mean", "0.5"]]))
    | pooling | ms |
    |:--|--:|
    | mean | 0.5 |
    """
    lines = [head, *rows]
    ruler = "|:--|" + "--:|" * (len(head) - 1)
    written = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([written[0], ruler, *written[1:]])
