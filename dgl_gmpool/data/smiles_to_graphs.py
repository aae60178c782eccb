"""SMILES to flat graphs: in several processes, in parts that outlive a kill."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from rdkit import Chem

from dgl_gmpool.data.featurizers import (
    CODES,
    STEREO,
    CanonicalEncoder,
    DgllifeEncoder,
    feature_widths,
)
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.graph_cache import GraphCache
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.pretrain_features import PretrainEncoder

#: Molecules per piece of work.
CHUNK = 500
#: Molecules per part on disk, a multiple of CHUNK: what a kill can cost, some ten seconds.
PART = 10_000
#: From how many molecules on several processes are faster. Starting two takes about 2 s (each
#: imports torch and DGL) against 0.33 ms a molecule for canonical features and 1.5 ms for others:
#: measured at 5,000 for others, extrapolated for canonical (benchmarks/featurize.py).
WORTH_PROCESSES = {STEREO: 30_000, "canonical": 30_000, "other": 5_000}

#: Graphs, and for each molecule that has none its place among the SMILES and the reason.
Featurised = tuple[FlatGraphs, list[tuple[int, str]]]


def featurize_smiles(smiles: Sequence[str], featurizer: str) -> Featurised:
    """Featurise a list of SMILES: ``(graphs, [(index, why it failed), ...])``."""
    mols: list[Chem.Mol] = []
    failed: list[tuple[int, str]] = []
    for index, text in enumerate(smiles):
        mol, why = read_molecule(text)
        if mol is None:
            failed.append((index, why))
        else:
            mols.append(mol)
    return featurize_molecules(mols, featurizer), failed


def featurize_molecules(mols: Sequence[Chem.Mol], featurizer: str) -> FlatGraphs:
    """The graphs of molecules that RDKit has read."""
    encoder: PretrainEncoder | DgllifeEncoder | CanonicalEncoder
    if featurizer == CODES:
        encoder = PretrainEncoder()
    elif featurizer == "attentivefp":
        encoder = DgllifeEncoder(featurizer)
    else:
        encoder = CanonicalEncoder(stereo=featurizer == STEREO)
    for mol in mols:
        encoder.add(mol)
    return encoder.finish()


def featurize_in_parts(
    smiles: Sequence[str],
    featurizer: str,
    *,
    processes: int | None = None,
    progress: bool = False,
    cache: GraphCache | None = None,
) -> Featurised:
    """The same as :func:`featurize_smiles`, for many.

    Parameters
    ----------
    smiles : sequence of str
    featurizer : str
    processes : int, optional
        None: one, or several where that was measured to be faster.
    progress : bool
        Show a bar, or a line per part where there is no terminal.
    cache : GraphCache, optional
        Keeps every finished part, and gives those that an interrupted call has left there. Who
        saves the whole removes them: :meth:`GraphCache.save`.
    """
    from tqdm import tqdm

    if not smiles:
        return FlatGraphs.from_dgl([], *feature_widths(featurizer)), []
    parts = [smiles[start : start + PART] for start in range(0, len(smiles), PART)]
    # One part alone is as soon made as the whole.
    stores = [cache.part(number) for number in range(len(parts))] if cache and parts[1:] else []
    done = {number: found for number, store in enumerate(stores) if (found := store.load())}
    missing = [number for number in range(len(parts)) if number not in done]
    left = sum(len(parts[number]) for number in missing)
    workers = worker_count(left, featurizer, processes)
    chunks = chain.from_iterable(_chunks(parts[number]) for number in missing)
    results = _results(chunks, featurizer, workers if left > CHUNK else 1)
    with tqdm(
        total=len(smiles),
        initial=len(smiles) - left,
        desc="featurise",
        unit="mol",
        disable=None if progress else True,
        leave=False,
    ) as bar:
        for number in missing:
            made: list[Featurised] = []
            for chunk, result in zip(_chunks(parts[number]), results):
                made.append(result)
                bar.update(len(chunk))
            done[number] = _joined(made, CHUNK)
            if stores:
                stores[number].save(*done[number])
            if progress and bar.disable and parts[1:]:
                total = sum(len(part) for part in parts[: number + 1])
                print(f"featurised {total:,} of {len(smiles):,}", file=sys.stderr, flush=True)
    return _joined([done[number] for number in range(len(parts))], PART)


def _chunks(part: Sequence[str]) -> Iterator[Sequence[str]]:
    return (part[start : start + CHUNK] for start in range(0, len(part), CHUNK))


def _joined(found: Sequence[Featurised], each: int) -> Featurised:
    """Pieces of ``each`` molecules, the last one shorter, as one."""
    failed = [
        (number * each + index, why)
        for number, (_, failures) in enumerate(found)
        for index, why in failures
    ]
    return FlatGraphs.join([graphs for graphs, _ in found]), failed


def worker_count(molecules: int, featurizer: str, processes: int | None) -> int:
    """How many processes featurise: as many as asked for, else what is faster for so many."""
    if processes is not None:
        return processes
    if molecules < WORTH_PROCESSES.get(featurizer, WORTH_PROCESSES["other"]):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _results(
    chunks: Iterator[Sequence[str]], featurizer: str, workers: int
) -> Iterator[Featurised]:
    if workers == 1:
        return (featurize_smiles(chunk, featurizer) for chunk in chunks)
    from joblib import Parallel, delayed

    # loky starts clean processes: forking one that has run OpenMP (torch, DGL) can hang.
    parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator")
    return parallel(delayed(featurize_smiles)(chunk, featurizer) for chunk in chunks)
