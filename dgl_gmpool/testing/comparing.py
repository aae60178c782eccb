"""Comparing what a pooling gives: finite, the same, the error that was due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

#: Largest difference allowed in float32, relative to the largest value of the output, or 1.
TOLERANCE = 1e-5

#: What counts as equal where nothing was computed differently. Not 0: a pooling whose own calls
#: differ in the last bit fails "same call twice", and should fail nothing else for that.
EQUAL = 1e-6


class ConditionFailed(AssertionError):
    """A readout or pooling does not meet a condition; the message says how."""


Rows = dict[str, Tensor]


def check_finite(name: str, values: Tensor) -> None:
    if not torch.isfinite(values).all():
        count = int((~torch.isfinite(values)).sum())
        raise ConditionFailed(f"{name}: {count} of {values.numel()} values are not finite")


def per_graph(rows: Rows) -> Rows:
    """Without what is one number for the whole batch: losses."""
    return {name: values for name, values in rows.items() if values.dim()}


def detached(rows: Rows) -> Rows:
    return {name: values.detach() for name, values in rows.items()}


def picked(rows: Rows, graphs: Sequence[int]) -> Rows:
    return {name: values[list(graphs)] for name, values in per_graph(rows).items()}


def check_same(found: Rows, expected: Rows, when: str, tolerance: float = TOLERANCE) -> None:
    for name, values in expected.items():
        if name not in found:
            raise ConditionFailed(f"{name} is missing {when}")
        if found[name].shape != values.shape:
            raise ConditionFailed(
                f"{name} has shape {tuple(found[name].shape)} {when}, not {tuple(values.shape)}"
            )
        if values.numel() == 0:
            continue
        scale = max(1.0, float(values.double().abs().max()))
        difference = float((found[name].double() - values.double()).abs().max()) / scale
        if not difference <= tolerance:
            raise ConditionFailed(f"{name} differs by {difference:.1e} of its scale {when}")


@contextmanager
def complaint(
    kind: type[Exception] | tuple[type[Exception], ...], *, naming: Sequence[str]
) -> Iterator[None]:
    """Expect an error of this kind whose message holds all of these."""
    try:
        yield
    except kind as error:
        missing = [each for each in naming if each not in str(error)]
        if missing:
            raise ConditionFailed(f"the error does not say {missing}: {error}") from error
        return
    except Exception as error:
        raise ConditionFailed(f"{type(error).__name__} from deep inside: {error}") from error
    raise ConditionFailed(f"no error, though one that names {list(naming)} was due")
