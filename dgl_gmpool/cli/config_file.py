"""A run's ``config.json`` as values of the flags of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dgl_gmpool._options import option_text, unknown_name
from dgl_gmpool.data.splits import GIVEN
from dgl_gmpool.data.standardize import split_recipe
from dgl_gmpool.training.config import BEFORE, TrainingConfig
from dgl_gmpool.training.run_folder import read_json, run_of

#: Field of a TrainingConfig -> name of its flag.
FLAGS = {
    **{field.name: field.name for field in fields(TrainingConfig)},
    "readout_options": "readout_option",
    "lift": "levels_lift",
    "backbone_options": "backbone_option",
    "hidden_feats": "hidden",
    "num_steps": "steps",
    "head_feats": "head",
}

#: Flags and fields of NAME=WEIGHT pairs.
NAMED_WEIGHTS = ("auxiliary", "task_weights")

# What a run's config.json has beside the settings: facts about the run, not wishes.
_FACTS = ("format", "data", "report", "versions", "commit", "environment")


def network_flags(run: str) -> dict[str, Any]:
    """The settings of a run's network as values of flags."""
    from dgl_gmpool.training.transfer import network_of

    return _as_flags(network_of(run), Path(run))


def merged(key: str, saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[Any]:
    """The file's entries of a flag that takes several, under those of the command line."""
    added = list(given.get(key, ()))
    if key in NAMED_WEIGHTS:
        names = {name for name, _ in added}
        return [pair for pair in saved[key] if pair[0] not in names] + added
    # Options belong to what the file names; "gmpool.tol=1" and "tol=1" are one option.
    if key == "backbone_option":
        theirs = given.get("backbone", saved["backbone"]) == saved["backbone"]
    else:
        theirs = saved["readout"][0] in given.get("readout", saved["readout"])
    if not theirs:
        return added
    names = {text.partition("=")[0].rpartition(".")[2] for text in added}
    kept = [text for text in saved[key] if text.partition("=")[0].rpartition(".")[2] not in names]
    return kept + added


def without_targets(saved: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """The file's values without what they say of its targets that are not among these."""
    found, gone = dict(saved), set(saved.get("target") or ()) - set(targets)
    if isinstance(saved.get("kind"), list):
        kept = [text for text in saved["kind"] if text.rpartition("=")[0] not in gone]
        found["kind"] = kept or None
    if "task_weights" in saved:
        found["task_weights"] = [pair for pair in saved["task_weights"] if pair[0] not in gone]
    return found


def without_other_split(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values without those that say how to split where the command line says it."""
    ways = {"splits_file", "split_column", "test_csv"}
    gone: set[str] = set()
    named = {flag for flag in ways if given.get(flag) is not None}
    # Then the column and the kind of split belong together.
    read = saved.get("split") in ("time", "group") and saved.get("split_column") is not None
    if named:
        gone |= ways
    if named - {"split_column"} and read:
        gone.add("split")
    if "split" in given:
        gone.add("splits_file")
        if read and given["split"] != saved["split"]:
            gone.add("split_column")
    return {key: value for key, value in saved.items() if key not in gone}


def read_config(file: Path, name: str, data_flags: Sequence[str]) -> dict[str, Any]:
    """A run's ``config.json`` as values of flags."""
    if file.is_dir():  # of a run, or of a training with one run in it
        file = run_of(file)[0] / "config.json"
    if not file.exists():
        raise ValueError(
            f"--config {file}: there is no such file; give the config.json of a run's folder"
        )
    saved = read_json(file)
    if "training" not in saved:  # a hand-written file: the settings alone
        saved = {"training": saved}
    _check_keys(saved, ("training", "splits", "source", *_FACTS), file)
    sections = {key: saved.get(key, {}) for key in ("training", "splits", "source", "data")}
    for key, section in sections.items():
        if not isinstance(section, dict):
            raise ValueError(f"--config {file}: {key!r} is {section!r}; expected an object")
    training, splits, source, data = sections.values()
    if "versions" in saved:  # a run's record, and no hand-written file
        training = {**BEFORE, **training}
    _check_keys(training, FLAGS, file)
    values = _as_flags(training, file)
    if splits.get("kind", GIVEN) != GIVEN:  # given: by what "source" says
        values["split"] = splits["kind"]
    if "folds" in splits:
        values["folds"] = splits["folds"]
    if "featurizer" in data:
        values["featurizer"], steps = split_recipe(str(data["featurizer"]))
        values["standardize"] = list(steps)
    if source.get("data_set") == name:
        flags = {key: value for key, value in source.items() if key != "data_set"}
        if "censored" in flags:  # its name in 0.2.0
            old = flags.pop("censored")
            flags.setdefault("bounds", "drop" if old == "exclude" else old)
        _check_keys(flags, data_flags, file)
        values |= flags
    return values


def _as_flags(training: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Fields of a TrainingConfig as values of flags."""
    values = {FLAGS[key]: value for key, value in training.items()}
    for key in ("readout", "levels", "seed", "start_from"):
        if isinstance(values.get(key), (list, dict)):
            raise ValueError(
                f"--config {file}: {key!r} is {values[key]!r}; expected one value, as a run has it"
                + ("" if key == "start_from" else f" (for several give --{key} A B)")
            )
        if key in values and key != "start_from":
            values[key] = [values[key]]
    if "readout_option" in values:
        owner = values.setdefault("readout", ["gmpool"])[0]
        options = _mapping(values["readout_option"], "readout_options", file)
        values["readout_option"] = [
            option_text(f"{owner}.{key}", value) for key, value in options.items()
        ]
    for key in NAMED_WEIGHTS:
        if key in values:
            values[key] = list(_mapping(values[key], key, file).items())
    if "backbone_option" in values:
        values.setdefault("backbone", "dmpnn")
        options = _mapping(values["backbone_option"], "backbone_options", file)
        values["backbone_option"] = [option_text(*item) for item in options.items()]
    return values


def _mapping(value: Any, key: str, file: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"--config {file}: {key!r} is {value!r}; expected an object")
    return value


def _check_keys(
    found: Mapping[str, Any], known: Sequence[str] | Mapping[str, Any], file: Path
) -> None:
    for key in found:
        if key not in known:
            raise unknown_name(f"key in --config {file}:", key, known)
