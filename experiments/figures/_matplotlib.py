"""Matplotlib, which only the figures need."""

from __future__ import annotations

import importlib
from typing import Any


def import_matplotlib(submodule: str = "") -> Any:
    """Import ``matplotlib`` or ``matplotlib.<submodule>``.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.
    """
    name = f"matplotlib.{submodule}" if submodule else "matplotlib"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the figures need matplotlib 3.5 or newer, which cannot be imported here ({error}); "
            "install it with: pip install dgl-gmpool[figures]"
        ) from error
