"""What RDKit calculates of a molecule, as features of a model: descriptors and fingerprints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors
from tqdm import tqdm

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.features import DESCRIPTOR_SETS, FeatureNames, Features
from dgl_gmpool.data.featurize import MoleculeDataset
from dgl_gmpool.data.graph_cache import CacheFile
from dgl_gmpool.data.hashes import text_hash
from dgl_gmpool.data.similarity import morgan

#: Radius 2 is that of ECFP4; how many columns its environments are folded to.
MORGAN_RADIUS, MORGAN_SIZE = 2, 1024
#: Left out: the coefficients of a characteristic polynomial are an exponential of the size, and
#: more than float64 holds from some 60 atoms on. ``Ipc`` is 1e94 for 300 atoms, and ``AvgIpc``, per
#: atom, what is left after rounding: up to half of it hangs on the processor.
_LEFT_OUT = ("Ipc", "AvgIpc")
#: Of the cached files: raise it when values are calculated another way.
_FORMAT = 1
#: Molecules per piece of work, and from how many on several processes are faster: a set of
#: descriptors takes about 8 ms a molecule, to start a process 2 s.
_CHUNK, _WORTH_PROCESSES = 200, 1000


def descriptor_names(source: str) -> tuple[str, ...]:
    """Names of the columns of one of :data:`DESCRIPTOR_SETS`, with the RDKit that is installed.

    Examples
    --------
    >>> descriptor_names("morgan")[:2], "TPSA" in descriptor_names("rdkit")
    (('morgan 0', 'morgan 1'), True)
    """
    check_choice("set of descriptors", source, DESCRIPTOR_SETS)
    if source == "morgan":
        return tuple(f"morgan {bit}" for bit in range(MORGAN_SIZE))
    return tuple(name for name, _ in Descriptors.descList if name not in _LEFT_OUT)


def calculate(names: FeatureNames, smiles: Sequence[str]) -> np.ndarray:
    """Descriptors of molecules, ``(rows, columns)`` float32; NaN where one is not defined.

    ``rdkit``: each of RDKit's ``Descriptors.descList`` but ``Ipc`` and ``AvgIpc``. ``morgan``:
    how often each environment of radius 2 is there, folded to 1,024 columns.

    Parameters
    ----------
    names : FeatureNames
        Which set, and which columns of it, in this order.
    smiles : sequence of str
        That RDKit reads; canonical ones, so that the numbers do not depend on the writing.

    Raises
    ------
    ValueError
        The installed RDKit lacks a descriptor.

    Examples
    --------
    >>> calculate(FeatureNames("rdkit", ("NumHDonors", "BCUT2D_MWHI")), ["CCO", "[He]"]).tolist()[1]
    [0.0, nan]
    """
    check_choice("set of descriptors", names.source, DESCRIPTOR_SETS)
    row = _morgan if names.source == "morgan" else partial(_rdkit, _functions(names.names))
    found = np.empty((len(smiles), len(names.names)), np.float32)
    with rdBase.BlockLogs():
        for place, text in enumerate(smiles):
            values = row(Chem.MolFromSmiles(text))
            # What float32 cannot hold is as good as not known.
            found[place] = np.where(np.abs(values) < np.finfo(np.float32).max, values, np.nan)
    return found


@cache
def _functions(names: tuple[str, ...]) -> list[Callable[[Chem.Mol], float]]:
    known = dict(Descriptors.descList)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"this RDKit ({rdBase.rdkitVersion}) lacks the descriptors {', '.join(missing[:5])}, "
            "which the model was trained with; install the RDKit that config.json of the run names "
            "under versions, or train again"
        )
    return [known[name] for name in names]


def _rdkit(functions: Sequence[Callable[[Chem.Mol], float]], mol: Chem.Mol) -> np.ndarray:
    values = np.full(len(functions), np.nan)
    for column, function in enumerate(functions):
        # RDKit's descriptors raise errors of many kinds where they are not defined.
        with suppress(Exception):
            values[column] = function(mol)
    return values


def _morgan(mol: Chem.Mol) -> np.ndarray:
    counts = morgan(MORGAN_RADIUS, MORGAN_SIZE).GetCountFingerprintAsNumPy(mol)
    return counts.astype(np.float64)


def with_descriptors(
    dataset: MoleculeDataset,
    sources: Iterable[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> MoleculeDataset:
    """The data set with these sets of descriptors; a configuration says which of them a model sees.

    Parameters
    ----------
    dataset : MoleculeDataset
    sources : iterable of str
        Of ``"rdkit"`` and ``"morgan"``; what the table has already is not calculated again.
    cache_dir : path, optional
        Keep them there for the next time, as ``featurize`` does. Default: not kept.
    processes : int, optional
        Default: one, or all processors where the molecules are many.
    progress : bool
        Show a progress bar on standard error, if that is a terminal.

    Raises
    ------
    TypeError
        ``sources`` is a single string.
    ValueError
        A set is not known.
    """
    if isinstance(sources, str):
        raise TypeError(f"sources is {sources!r}; give a list of them, such as [{sources!r}]")
    table = dataset.table
    for source in sources:
        names = FeatureNames(source, descriptor_names(source))
        if source in {each.source for each in table.features}:
            continue
        unique = list(dict.fromkeys(table.canonical))
        calculated = partial(_calculate_all, names, unique, processes, progress)
        if cache_dir is None:
            values = calculated()
        else:
            values = _cached(calculated, cache_dir, table.name, names, unique)
        place = {smiles: row for row, smiles in enumerate(unique)}
        values = values[[place[smiles] for smiles in table.canonical]]
        table = replace(table, features=(*table.features, Features(*names, values)))
        table = table.with_notes(*_not_defined(names, values))
    return dataset if table is dataset.table else replace(dataset, table=table)


def _not_defined(names: FeatureNames, values: np.ndarray) -> Iterator[str]:
    missing = np.isnan(values)
    if missing.any():
        which = [name for name, any_ in zip(names.names, missing.any(axis=0)) if any_]
        listed = ", ".join(which[:4]) + (", ..." if len(which) > 4 else "")
        yield (
            f"{missing.any(axis=1).sum()} rows lack {len(which)} of the {len(names.names)} "
            f"{names.source} descriptors ({listed}), which are not defined for such molecules; the "
            "mean of the training rows stands in"
        )


def _calculate_all(
    names: FeatureNames, smiles: Sequence[str], processes: int | None, progress: bool
) -> np.ndarray:
    from joblib import Parallel, cpu_count, delayed

    if processes is None:
        many = names.source == "rdkit" and len(smiles) >= _WORTH_PROCESSES
        processes = cpu_count() if many else 1
    chunks = [smiles[start : start + _CHUNK] for start in range(0, len(smiles), _CHUNK)]
    # loky starts clean processes: forking one that has run OpenMP (torch, DGL) can hang.
    parallel = Parallel(n_jobs=processes, backend="loky", return_as="generator")
    with tqdm(
        total=len(smiles),
        desc=f"{names.source} descriptors",
        unit="mol",
        disable=None if progress else True,
        leave=False,
    ) as bar:
        parts = []
        for part in parallel(delayed(calculate)(names, chunk) for chunk in chunks):
            parts.append(part)
            bar.update(len(part))
    return np.concatenate([np.empty((0, len(names.names)), np.float32), *parts])


def _cached(
    calculated: Callable[[], np.ndarray],
    folder: str | os.PathLike[str],
    name: str,
    names: FeatureNames,
    smiles: Sequence[str],
) -> np.ndarray:
    """``calculated()``, or what it gave before for these molecules and this version of RDKit."""
    key = (_FORMAT, names, rdBase.rdkitVersion, text_hash([smiles]))
    cache = CacheFile(folder, f"{name}-{names.source}", repr(key))

    def found(content: dict[str, Any]) -> np.ndarray:
        values: np.ndarray = content["values"].numpy()
        if content["checksum"] != _checksum(values) or values.shape != shape:
            raise ValueError("its checksum is wrong")
        return values

    shape = len(smiles), len(names.names)
    values = cache.read(found)
    if values is None:
        values = calculated()
        cache.write({"checksum": _checksum(values), "values": torch.from_numpy(values)})
    return values


def _checksum(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
