"""Pages about finished runs, to look at and to send to a colleague."""

from __future__ import annotations

from dgl_gmpool.report.page import write_index, write_report

__all__ = ["write_index", "write_report"]
