"""Which number of a prediction is explained: a target, or the probability of one of its classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dgl_gmpool._options import as_typed, unknown_name
from dgl_gmpool.training.model_file import TrainedModel


@dataclass(frozen=True)
class ExplainedTarget:
    """A number that models predict.

    Attributes
    ----------
    name : str
        ``"logS"``, or ``"colour=red"`` for the probability of a class.
    kind : str
        ``"regression"`` or ``"classification"``.
    column : int or None
        Of the predictions; None for the most probable class of each molecule.
    own : slice
        Columns of the target's classes.
    classes : tuple of str
    """

    name: str
    kind: str
    column: int | None
    own: slice
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, trained: TrainedModel, text: str | None = None) -> ExplainedTarget:
        """What a user names: a target (default: the first), or ``TARGET=CLASS``.

        Raises
        ------
        ValueError
            The model does not predict it.
        """
        task = trained.task
        name, class_name = task.targets[0].name if text is None else str(text), ""
        if name not in trained.task_names:
            # Names of targets and classes may hold a "=" themselves.
            found_in = [
                (name[len(each.name) + 1 :] in each.classes, len(each.name), each.name)
                for each in task.targets
                if name.startswith(f"{each.name}=")
            ]
            if not found_in:
                raise unknown_name("target", text, trained.task_names)
            _, length, target = max(found_in)
            name, class_name = target, name[length + 1 :]
        number = trained.task_names.index(name)
        found, own = task.targets[number], task.outputs_of(number)
        if not class_name and not found.classes:
            return cls(name, found.task.kind, own.start, own)
        whole = cls(name, "classification", None, own, found.classes)
        if not class_name:
            return whole
        if not found.classes:
            raise ValueError(
                f"{text!r}: {name!r} has no classes to choose from; give --target {as_typed(name)} "
                f"(in Python target={name!r})"
            )
        if class_name not in found.classes:
            raise unknown_name(f"class of {name!r}:", class_name, found.classes)
        return whole._of_class(found.classes.index(class_name))

    def _of_class(self, number: int) -> ExplainedTarget:
        name = f"{self.name}={self.classes[number]}"
        return replace(self, name=name, column=self.own.start + number)

    def settled(self, predict: Callable[[], np.ndarray]) -> ExplainedTarget:
        """With its column, from predictions ``(columns,)`` of the molecule where there is a choice
        of classes."""
        if self.column is not None:
            return self
        return self._of_class(int(predict()[self.own].argmax()))
