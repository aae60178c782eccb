"""Which readout a script's models get, and how that is remembered next to them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dgl
import torch

from dgl_gmpool._io import atomic_write_json
from dgl_gmpool._version import __version__
from dgl_gmpool.nn.readout import collect_losses
from dgl_gmpool.registry import get_readout

#: The key in a script's configuration. Not ``readout``: DGL-LifeSci's GIN configurations have one.
KEY = "dgl_gmpool"

#: The file next to a model, where a script writes no configuration.
SIDECAR = "dgl_gmpool.json"


@dataclass(frozen=True)
class ReadoutChoice:
    """A readout's name and options.

    Examples
    --------
    >>> ReadoutChoice("gmpool", {"similarity": "cauchy"})
    gmpool, similarity=cauchy
    """

    readout: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise a ValueError now, rather than after the script has featurised its molecules."""
        with torch.random.fork_rng(devices=[]):
            get_readout(self.readout, in_feats=8, **self.options)
        weight = self.options.get("fragment_weight")
        if weight:
            raise ValueError(
                f"fragment_weight={weight} needs each atom's fragment in the graph, which a script "
                "does not put there; leave the option out, or train with dgl-gmpool train"
            )

    def auxiliary_losses(self) -> list[str]:
        """Names of the losses that the readout adds to that of its model, if any."""
        with torch.random.fork_rng(devices=[]):
            readout = get_readout(self.readout, in_feats=8, **self.options)
            with collect_losses() as losses:
                readout(dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.randn(3, 8))
        return sorted(losses)

    def to_dict(self) -> dict[str, Any]:
        """What goes into JSON."""
        return {"readout": self.readout, "options": dict(self.options), "version": __version__}

    @staticmethod
    def from_dict(value: Any, source: str) -> ReadoutChoice:
        """Read what :meth:`to_dict` wrote; ``source`` names it in errors."""
        if not isinstance(value, dict) or not isinstance(value.get("readout"), str):
            raise ValueError(f"{source} holds {value!r}; expected a readout and its options")
        return ReadoutChoice(value["readout"], dict(value.get("options") or {}))

    def __repr__(self) -> str:
        return ", ".join([self.readout, *(f"{k}={v}" for k, v in sorted(self.options.items()))])


def record_beside(model_file: str | os.PathLike[str], choice: ReadoutChoice) -> None:
    """Remember the choice in ``dgl_gmpool.json`` in the folder of ``model_file``."""
    path = Path(model_file)
    files = _read(path.parent)
    if files.get(path.name) != choice.to_dict():
        files[path.name] = choice.to_dict()
        atomic_write_json(path.parent / SIDECAR, {"files": files})


def recorded_beside(model_file: str | os.PathLike[str]) -> ReadoutChoice | None:
    """The choice that was remembered for a model file, if any."""
    path = Path(model_file)
    found = _read(path.parent).get(path.name)
    return None if found is None else ReadoutChoice.from_dict(found, str(path.parent / SIDECAR))


def recorded_in(folder: str | os.PathLike[str]) -> ReadoutChoice | None:
    """The choice that holds for the models of a folder, None if there is none.

    Raises
    ------
    ValueError
        If its models have different ones.
    """
    source = str(Path(folder) / SIDECAR)
    found = [ReadoutChoice.from_dict(each, source) for each in _read(Path(folder)).values()]
    if any(other != found[0] for other in found):
        raise ValueError(f"{source} names several readouts; say which with --readout")
    return found[0] if found else None


def _read(folder: Path) -> dict[str, Any]:
    path = folder / SIDECAR
    if not path.is_file():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not isinstance(files, dict):
            raise TypeError("'files' is no object")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); delete it and give --readout instead"
        ) from error
    return files
