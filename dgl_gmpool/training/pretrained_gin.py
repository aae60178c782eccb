"""DGL-LifeSci's pretrained GIN, from a file that the user has: where it is, what it must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgl_gmpool._options import closest
from dgl_gmpool.data.featurizers import CODES
from dgl_gmpool.models.gin import GIN

#: What dgllife's ``load_pretrained`` has of it, by name.
PRETRAINED = (
    "gin_supervised_contextpred",
    "gin_supervised_infomax",
    "gin_supervised_edgepred",
    "gin_supervised_masking",
)
#: Where dgllife takes a file from.
URL = "https://data.dgl.ai/dgllife/pre_trained/{}.pth"
_EXPECTED = (
    f"what dgllife's load_pretrained gives for {', '.join(PRETRAINED)}, or a fold's model.pt"
)


def pretrained_file(start: str | Path) -> Path | None:
    """The file of pretrained weights that ``start`` is or names; None where it is a run.

    A name stands for ``NAME.pth``, or dgllife's ``NAME_pre_trained.pth``, in the folder that it is
    looked for in.

    Raises
    ------
    FileNotFoundError
        It is one of dgllife's names, and its file is not there, or nearly such a name.
    """
    start = Path(start)
    near = None if start.exists() else closest(start.name, PRETRAINED)
    if near is not None and near != start.name:
        raise FileNotFoundError(
            f"no run folder or file {start}; did you mean {near}, weights of DGL-LifeSci?"
        )
    if near is not None:
        found = [start.with_name(start.name + end) for end in (".pth", "_pre_trained.pth")]
        there = [file for file in found if file.is_file()]
        if not there:
            raise FileNotFoundError(
                f"{start.name} is a name of DGL-LifeSci's pretrained weights, and neither "
                f"{found[0].name} nor {found[1].name} is in {start.parent.absolute()}: get it once "
                f"with curl -O {URL.format(start.name)} or give the path of the file"
            )
        return there[0]
    # A model file of this package says its format.
    return start if start.is_file() and "format" not in _read(start) else None


def load_pretrained(file: Path) -> dict[str, Tensor]:
    """The weights in a file of dgllife's, by their names in :class:`~dgl_gmpool.models.gin.GIN`.

    Raises
    ------
    ValueError
        It is damaged, or holds something else.
    """
    saved = _read(file)
    # As dgllife's own loader has it.
    saved = saved.get("model_state_dict", saved)
    first = saved.get("node_embeddings.0.weight") if isinstance(saved, dict) else None
    if not isinstance(first, Tensor) or first.ndim != 2:
        raise ValueError(
            f"{file} holds no weights of DGL-LifeSci's GIN (node_embeddings.0.weight is missing); "
            f"expected {_EXPECTED}"
        )
    layers = {name.split(".")[1] for name in saved if name.startswith("gnn_layers.")}
    with torch.device("meta"):
        wanted = GIN(hidden_feats=first.shape[1], num_layers=max(len(layers), 1)).state_dict()
    odd = [
        f"{name} is {_shape(saved.get(name))} instead of {_shape(wanted.get(name))}"
        for name in (*wanted, *(each for each in saved if each not in wanted))
        if _shape(saved.get(name)) != _shape(wanted.get(name))
    ]
    if odd:
        more = f", and {len(odd) - 1} more" if odd[1:] else ""
        raise ValueError(
            f"{file} does not fit DGL-LifeSci's GIN of {len(layers)} layers, {first.shape[1]} "
            f"wide: {odd[0]}{more}; expected {_EXPECTED}"
        )
    return {str(name): saved[name] for name in wanted}


def pretrained_network(file: Path) -> dict[str, Any]:
    """The settings of a configuration that the weights decide."""
    state = load_pretrained(file)
    layers = {name.split(".")[1] for name in state if name.startswith("gnn_layers.")}
    width = state["node_embeddings.0.weight"].shape[1]
    return {"backbone": "gin", "hidden_feats": width, "num_steps": len(layers)}


def check_codes(backbone: str, featurizer: str) -> None:
    """Raise a ValueError unless codes and the network that reads them come together."""
    if backbone == "gin" and featurizer != CODES:
        raise ValueError(
            f"backbone gin reads codes of atoms and bonds, and the features are {featurizer!r}: "
            f"add --featurizer {CODES} (featurizer={CODES!r}), or take another backbone"
        )
    if backbone != "gin" and featurizer == CODES:
        raise ValueError(
            f"the features are codes of atoms and bonds (--featurizer {CODES}, "
            f"featurizer={CODES!r}), which backbone {backbone} would take for numbers: add "
            "--backbone gin (backbone='gin'), or take other features"
        )


def _read(file: Path) -> dict[Any, Any]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise ValueError(
            f"{file} is not a readable file of weights ({type(error).__name__}): it is damaged, or "
            f"holds something else; expected {_EXPECTED}"
        ) from error
    return saved if isinstance(saved, dict) else {}


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
