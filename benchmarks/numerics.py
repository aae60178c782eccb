"""How accurate the grouping matrix's square roots and their gradients are, and whether they fail.

    python benchmarks/numerics.py --matrices 1000000

Four studies, stored in benchmarks/results/numerics.json and numerics.md:

1. random grouping matrices (1 to 132 nodes; untrained, trained and clustered float32 features),
   each through every decomposition, forward and backward: values that are not finite, and of the
   roots the error of S S' against the nearest positive semidefinite matrix;
2. the adversarial set: eq. 7 blocks of equal size, all ones, identity, rank one, zero, indefinite,
   small eigengaps, equal atoms, features from 1e-8 to 1e6;
3. gradients against finite differences with 60 digits, by eigengap and by smallest eigenvalue;
4. other ways to the square root, in float32 and float64.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import dgl
import numpy as np
import torch
from scipy.linalg import solve_continuous_lyapunov
from setting import machine
from square_root_ways import WAYS
from torch import Tensor, nn

from dgl_gmpool import GMPool, MoleculePredictor
from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.nn.grouping import SIMILARITIES
from dgl_gmpool.nn.square_root import (
    cholesky_root,
    eigen_root,
    nearest_psd,
    symmetric_root,
)
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.training.provenance import source_commit

RESULTS = Path(__file__).parent / "results"
WIDTH = 32
LARGEST = 132

#: Cells of the grouping matrices of one batch: small enough to stay in the cache.
CELLS = 100_000

#: What has S S' = M; ``pivot`` has not.
ROOTS = tuple(each for each in DECOMPOSITIONS if each != "pivot")

#: Of the paper's reading, with any similarity.
PAPER = {"locality": "none", "feature_norm": "none", "aggregate": "mean"}

#: Every so many batches, S S' is compared with the nearest positive semidefinite matrix.
CHECK_EVERY = 10


# 1. Random grouping matrices. ------------------------------------------------------------------


def sizes(matrices: int) -> list[tuple[int, int]]:
    """Batches (n, b), like molecules: most have up to 40 nodes, one in a hundred up to 132."""
    share = np.zeros(LARGEST + 1)
    share[1:25] += 0.65 / 24
    share[20:41] += 0.34 / 21
    share[41:] += 0.01 / (LARGEST - 40)
    counts = np.round(share * matrices).astype(int)
    counts[12] += matrices - counts.sum()
    batches = []
    for n in range(1, LARGEST + 1):
        largest = max(1, min(2000, CELLS // n**2))
        left = int(counts[n])
        while left > 0:
            batches.append((n, min(left, largest)))
            left -= largest
    return batches


class Untrained:
    """Random normal features and freshly drawn parameters."""

    def draw(self, n: int, b: int, pool: GMPool) -> Tensor:
        pool.reset_parameters()
        return torch.randn(b, n, WIDTH)


class Clustered:
    """Features near a few centres, at random distances (0 included) and on uneven scales."""

    def draw(self, n: int, b: int, pool: GMPool) -> Tensor:
        pool.reset_parameters()
        with torch.no_grad():
            pool.grouping.weight *= 10 ** float(torch.empty(()).uniform_(0, 1))
            if pool.grouping.bias is not None:
                pool.grouping.bias.normal_(std=3)
        centres = torch.randn(b, n, WIDTH) * 10 ** torch.empty(b, 1, 1).uniform_(-1, 1)
        member = (torch.rand(b, n) * torch.rand(b, 1) * n).long()
        spread = 10 ** torch.empty(b, 1, 1).uniform_(-8, 0) * (torch.rand(b, 1, 1) < 0.7)
        x = centres.gather(1, member[:, :, None].expand(-1, -1, WIDTH))
        return (x + spread * torch.randn_like(x)) * 10 ** torch.empty(WIDTH).uniform_(-2, 0.5)


class Trained:
    """Node states and grouping parameters of a briefly trained model, on RDKit's molecules."""

    def __init__(self, similarity: str, epochs: int) -> None:

        from dgl_gmpool.data import featurize, load_sodium_channel

        dataset = featurize(load_sodium_channel(), processes=1, progress=False)
        target = torch.from_numpy(dataset.table.targets)
        target = (target - target.mean(0)) / target.std(0)
        torch.manual_seed(1)
        model = MoleculePredictor(
            dataset.node_in_feats,
            dataset.edge_in_feats,
            readout="gmpool",
            readout_options={"similarity": similarity, **PAPER},
            hidden_feats=WIDTH,
            head_feats=WIDTH,
            dropout=0.0,
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(dataset)).split(80):
                graph = dataset.graphs[rows.numpy()].batch()
                loss = nn.functional.mse_loss(
                    model(graph, graph.ndata["h"], graph.edata["e"]), target[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        graph = dataset.graphs.batch()
        with torch.no_grad():
            states, _ = model.eval().backbones[0](graph, graph.ndata["h"], graph.edata["e"])
        self.states = states
        self.loss = float(loss.detach())
        self.parameters = {k: v.detach() for k, v in model.poolings[0].state_dict().items()}

    def draw(self, n: int, b: int, pool: GMPool) -> Tensor:
        pool.load_state_dict(self.parameters)
        start = torch.randint(len(self.states) - n + 1, (b, 1))
        x = self.states[start + torch.arange(n)]
        return x * torch.empty(b, 1, 1).normal_(std=0.5).exp()


def random_study(matrices: int, seed: int, epochs: int) -> dict:
    torch.manual_seed(seed)
    sources: dict[str, dict[str, object]] = {
        "untrained": {each: Untrained() for each in SIMILARITIES},
        "trained": {each: Trained(each, epochs) for each in SIMILARITIES},
        "clustered": {each: Clustered() for each in SIMILARITIES},
    }
    turns = [(source, similarity) for source in sources for similarity in SIMILARITIES]
    table: dict[tuple[str, str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    pools = {each: GMPool(WIDTH, similarity=each, **PAPER) for each in SIMILARITIES}
    batches = sizes(matrices)
    started, done = time.perf_counter(), 0
    for index, (n, b) in enumerate(batches):
        source, similarity = turns[index % len(turns)]
        pool = pools[similarity]
        x = sources[source][similarity].draw(n, b, pool)
        graph = dgl.graph(([], []), num_nodes=n * b)
        graph.set_batch_num_nodes(torch.full((b,), n, dtype=graph.idtype))
        graph.set_batch_num_edges(torch.zeros(b, dtype=graph.idtype))
        for decomposition in DECOMPOSITIONS:
            pool.decomposition = decomposition
            row = table[source, similarity, decomposition]
            # Prime to the number of turns, so that every turn is checked.
            _random_batch(pool, graph, x, row, check=index % CHECK_EVERY == 0)
        done += b
        if index % 200 == 0:
            elapsed = time.perf_counter() - started
            print(f"  {done:,} of {matrices:,} matrices, {elapsed:.0f} s", file=sys.stderr)
    rows = [
        {"features": s, "similarity": m, "decomposition": d, **row}
        for (s, m, d), row in sorted(table.items())
    ]
    losses = {each: sources["trained"][each].loss for each in SIMILARITIES}
    return {"matrices": done, "rows": rows, "training_loss_of_the_last_batch": losses}


def _random_batch(pool: GMPool, graph: dgl.DGLGraph, x: Tensor, row: dict, *, check: bool) -> None:
    x = x.detach().requires_grad_()
    pool.zero_grad()
    assigned = pool.assign(pool.batch(graph, x.flatten(0, 1)))
    (root,), (grouping,) = assigned.blocks, assigned.matrices
    pooled = root.to(x.dtype).mT @ x
    (pooled * torch.randn_like(pooled)).sum().backward()
    forward = torch.isfinite(root).flatten(1).all(1) & torch.isfinite(pooled).flatten(1).all(1)
    _count(row, forward, x.grad, pool)
    for name in ("checked", "largest_error", "largest_share_left_out"):
        row[name] += 0
    if check and pool.decomposition in ROOTS:
        matrix = grouping.detach()
        nearest = _nearest(matrix)
        error = root.detach() @ root.detach().mT - nearest
        trace = nearest.diagonal(dim1=1, dim2=2).sum(-1)
        left_out = error.diagonal(dim1=1, dim2=2).sum(-1).abs() / trace.clamp(min=1e-300)
        row["checked"] += len(x)
        row["largest_error"] = max(row["largest_error"], float(error.abs().max()))
        row["largest_share_left_out"] = max(row["largest_share_left_out"], float(left_out.max()))


def _count(row: dict, forward: Tensor, grad: Tensor, pool: GMPool) -> None:
    """What is not finite: results (``forward`` says which are), gradients of features ``(b, n, d)``
    and of parameters."""
    row["matrices"] += len(grad)
    row["not_finite_forward"] += int((~forward).sum())
    row["not_finite_backward"] += int((~torch.isfinite(grad).flatten(1).all(1)).sum())
    row["not_finite_parameter_gradients"] += sum(
        int(not torch.isfinite(p.grad).all()) for p in pool.parameters()
    )
    row["largest_feature_gradient"] = max(row["largest_feature_gradient"], float(grad.abs().max()))


def _nearest(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix.double())
    return (vectors * values.clamp(min=0)[:, None, :]) @ vectors.mT


# 2. The adversarial set. -----------------------------------------------------------------------

ADVERSARIAL_SIZES = (1, 2, 3, 4, 6, 12, 24, 40, 132)
GAPS = tuple(10.0**-k for k in range(1, 13))
SCALES = (1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)


def adversarial_matrices(n: int, seed: int) -> dict[str, Tensor]:
    """Matrices (n, n) in float64 on which eigengaps, ranks or signs are at their worst."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis = torch.linalg.qr(normal(n, n)).Q
    eye = torch.eye(n, dtype=torch.float64)
    out = {
        "zero": torch.zeros(n, n, dtype=torch.float64),
        "identity": eye,
        "all ones": torch.ones(n, n, dtype=torch.float64),
        "all 0.5": torch.full((n, n), 0.5, dtype=torch.float64),
        "rank one": basis[:, :1] @ basis[:, :1].mT,
        "indefinite": (basis * torch.linspace(-1, 1, n, dtype=torch.float64)) @ basis.mT,
        "plus and minus pairs": (basis * torch.tensor([(-1.0) ** k for k in range(n)])) @ basis.mT,
        "all negative": -basis @ torch.diag(normal(n).abs()) @ basis.mT,
        "tiny": 1e-30 * (basis * normal(n).abs()) @ basis.mT,
        "ones, rounded": torch.ones(n, n, dtype=torch.float64) + 1e-16 * normal(n, n),
        "identity, rounded": eye + 1e-12 * normal(n, n),
    }
    for blocks in (2, 3, 4):
        if n % blocks == 0 and n > blocks:
            ones = torch.ones(n // blocks, n // blocks, dtype=torch.float64)
            out[f"eq. 7, {blocks} equal blocks"] = torch.block_diag(*[ones] * blocks)
            twins = torch.block_diag(*[ones] * blocks)
            out[f"eq. 7, {blocks} equal blocks, soft"] = 0.9 * twins + 0.1 * eye
    for gap in GAPS:
        values = torch.ones(n, dtype=torch.float64) - gap * torch.arange(n) / max(n - 1, 1)
        out[f"eigengap {gap:.0e}"] = (basis * values) @ basis.mT
        values = torch.where(torch.arange(n) < (n + 1) // 2, 1.0, gap).double()
        out[f"smallest eigenvalue {gap:.0e}"] = (basis * values) @ basis.mT
    return {name: (each + each.mT) / 2 for name, each in out.items()}


def adversarial_features(n: int, seed: int) -> dict[str, Tensor]:
    """Features (n, WIDTH) in float32: equal atoms, and every scale."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, generator=generator)
    half = x[torch.arange(n) // 2]
    out = {
        "all atoms equal": x[:1].repeat(n, 1),
        "pairs of equal atoms": half,
        "pairs apart by 1e-7": half + 1e-7 * x,
        "zeros": torch.zeros_like(x),
        "one far atom": torch.where(torch.arange(n)[:, None] == 0, 1e6 * x, x),
        "one-hot": torch.eye(WIDTH)[torch.arange(n) % WIDTH],
        "large offset": x + 1e4,
    }
    return {**out, **{f"scale {scale:.0e}": x * scale for scale in SCALES}}


def _roots(matrix: Tensor, decomposition: str, tol: float) -> Tensor:
    if decomposition == "sqrtm":
        return symmetric_root(matrix)[0]
    if decomposition == "eigen":
        return eigen_root(matrix, tol=tol)[0]
    return cholesky_root(nearest_psd(matrix)[0], tol=tol)[0]


def adversarial_study() -> dict:
    table: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    failures = []
    for seed, n in enumerate(ADVERSARIAL_SIZES):
        for kind, matrix in adversarial_matrices(n, seed).items():
            for dtype in (torch.float64, torch.float32):
                nearest = _nearest(matrix.to(dtype)[None])
                for decomposition in ROOTS:
                    leaf = matrix.to(dtype)[None].clone().requires_grad_()
                    where = f"{kind}, n={n}, {decomposition}, {dtype}"
                    row = table["matrices", f"{decomposition}, {str(dtype)[6:]}"]
                    root = _guarded(where, row, failures, leaf, decomposition)
                    if root is not None:
                        error = root.double() @ root.double().mT - nearest
                        row["largest_error"] = max(row["largest_error"], float(error.abs().max()))
        for kind, feat in adversarial_features(n, seed).items():
            for similarity in SIMILARITIES:
                for weight in (1.0, 100.0):
                    torch.manual_seed(n)
                    pool = GMPool(WIDTH, similarity=similarity, **PAPER)
                    with torch.no_grad():
                        pool.grouping.weight *= weight
                    for decomposition in ROOTS:
                        leaf = feat[None].clone().requires_grad_()
                        matrix = pool.grouping(leaf)
                        where = f"{kind}, n={n}, {similarity} x {weight:g}, {decomposition}"
                        row = table["features", f"{decomposition}, {similarity}"]
                        _guarded(where, row, failures, leaf, decomposition, matrix)
    rows = [{"input": a, "path": b, **row} for (a, b), row in sorted(table.items())]
    return {"rows": rows, "failures": failures}


def _guarded(where, row, failures, leaf, decomposition, matrix=None) -> Tensor | None:
    row["matrices"] += 1
    row.setdefault("failures", 0)
    try:
        # tol=0 asks for the whole rank: the harder case for the truncating decompositions.
        root = _roots(leaf if matrix is None else matrix, decomposition, tol=0.0)
        (root * torch.randn_like(root)).sum().backward()
    except Exception as error:
        row["failures"] += 1
        failures.append(f"{where}: {type(error).__name__}: {error}")
        return None
    if not (torch.isfinite(root).all() and torch.isfinite(leaf.grad).all()):
        row["failures"] += 1
        failures.append(f"{where}: not finite")
    return root.detach()


# 3. Gradients against 60 digits. ---------------------------------------------------------------


def _mp_root(matrix, decomposition: str, columns: int, pivots: list[int]):
    """S of the nearest positive semidefinite matrix, exactly, with mpmath."""
    from mpmath import mp

    n = matrix.rows
    if decomposition == "cholesky":
        block = mp.matrix(columns, columns)
        for i in range(columns):
            for j in range(columns):
                block[i, j] = matrix[pivots[i], pivots[j]]
        lower = mp.cholesky(block)
        root = mp.matrix(n, columns)
        for i in range(n):
            row = mp.lu_solve(lower, mp.matrix([matrix[i, p] for p in pivots[:columns]]))
            for k in range(columns):
                root[i, k] = row[k]
        return root
    values, vectors = mp.eigsy(matrix)
    order = sorted(range(n), key=lambda i: -values[i])
    root = mp.matrix(n, columns)
    for place, i in enumerate(order[:columns]):
        sign = -1 if sum(vectors[k, i] for k in range(n)) < 0 else 1
        scale = sign * mp.sqrt(max(values[i], 0))
        for k in range(n):
            root[k, place] = scale * vectors[k, i]
    if decomposition == "eigen":
        return root
    unit = mp.matrix(n, columns)
    for place, i in enumerate(order):
        for k in range(n):
            unit[k, place] = vectors[k, i]
    for place, i in enumerate(order):
        scale = mp.sqrt(max(values[i], 0))
        for k in range(n):
            root[k, place] = scale * unit[k, place]
    return root * unit.T


def gradient_study() -> dict:
    """Directional derivatives of sum(C * S) along random symmetric directions, n = 4."""
    from mpmath import mp, mpf

    mp.dps = 60
    step = mpf(10) ** -25
    n, rows = 4, []
    generator = torch.Generator().manual_seed(5)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    cases = [("eigengap", gap, [1.0, 0.6 + gap, 0.6, 0.3]) for gap in GAPS]
    cases += [("smallest eigenvalue", least, [1.0, 0.6, 0.3, least]) for least in GAPS]
    for kind, value, spectrum in cases:
        matrix = (basis * torch.tensor(spectrum, dtype=torch.float64)) @ basis.mT
        matrix = ((matrix + matrix.mT) / 2)[None]
        for decomposition in ROOTS:
            leaf = matrix.clone().requires_grad_()
            # The pivots are the package's own, on a matrix that is positive definite already.
            if decomposition == "cholesky":
                root, _, _ = cholesky_root(leaf, tol=0.0)
                pivots = _pivot_order(root[0].detach())
            else:
                root, pivots = _roots(leaf, decomposition, 0.0), []
            errors, sizes_ = [], []
            for _ in range(3):
                cotangent = torch.randn(root.shape[1:], generator=generator, dtype=torch.float64)
                direction = torch.randn(n, n, generator=generator, dtype=torch.float64)
                direction = direction + direction.mT
                (grad,) = torch.autograd.grad((root[0] * cotangent).sum(), leaf, retain_graph=True)
                found = float((grad[0] * direction).sum())
                ends = []
                for sign in (1, -1):
                    moved = mp.matrix(matrix[0].tolist()) + sign * step * mp.matrix(
                        direction.tolist()
                    )
                    exact = _mp_root(moved, decomposition, root.shape[2], pivots)
                    ends.append(
                        sum(
                            exact[i, j] * mpf(float(cotangent[i, j]))
                            for i in range(n)
                            for j in range(exact.cols)
                        )
                    )
                expected = float((ends[0] - ends[1]) / (2 * step))
                errors.append(abs(found - expected))
                sizes_.append(abs(expected))
            rows.append(
                {
                    "case": kind,
                    "value": value,
                    "decomposition": decomposition,
                    "relative_error": max(errors) / max(sizes_),
                    "largest_derivative": max(sizes_),
                }
            )
    return {"rows": rows}


def _pivot_order(root: Tensor) -> list[int]:
    """The pivots of a Cholesky root: row p_k has its last non-zero entry in column k."""
    last = [(int(row.abs().gt(1e-8).nonzero().max()), i) for i, row in enumerate(root)]
    return [i for _, i in sorted(last)]


# 4. Other ways to the square root. -------------------------------------------------------------


def ways_study(matrices: int) -> dict:
    torch.manual_seed(7)
    sets: dict[str, list[Tensor]] = {}
    for similarity in SIMILARITIES:
        pool = GMPool(WIDTH, similarity=similarity)
        batches = []
        for n in (8, 26, 40, 100):
            for draw in (Untrained().draw, Clustered().draw):
                b = max(1, matrices // n)
                with torch.no_grad():
                    batches.append(pool.grouping(draw(n, b, pool)).double())
        sets[f"random, {similarity}"] = batches
    sets["well conditioned"] = [
        torch.eye(n, dtype=torch.float64) * 0.5 + _nearest(torch.rand(1, n, n).double()) / n
        for n in (8, 26, 40, 100)
        for _ in range(10)
    ]
    sets["well conditioned"] = [(m + m.mT) / 2 for m in sets["well conditioned"]]
    sets["adversarial"] = [
        each[None]
        for seed, n in enumerate(ADVERSARIAL_SIZES)
        for each in adversarial_matrices(n, seed).values()
    ]
    rows = []
    for name, way in WAYS.items():
        for label, batches in sets.items():
            for dtype in (torch.float32, torch.float64):
                rows.append(
                    {
                        "way": name,
                        "set": label,
                        "dtype": str(dtype)[6:],
                        **_one_way(way, batches, dtype, label == "well conditioned"),
                    }
                )
    return {"rows": rows}


#: An S S' this far off is no root of a matrix with entries in [0, 1].
DIVERGED = 0.1


def _one_way(way, batches: list[Tensor], dtype: torch.dtype, reference: bool) -> dict:
    count = forward = backward = 0
    errors, gradient_errors, seconds = [], [], 0.0
    for batch in batches:
        leaf = batch.to(dtype).clone().requires_grad_()
        cotangent = torch.randn_like(leaf)
        cotangent = (cotangent + cotangent.mT) / 2
        count += len(leaf)
        started = time.process_time()
        try:
            root = way(leaf)
            (root * cotangent).sum().backward()
        except Exception:
            # eigh refuses what does not converge; the whole batch is lost.
            forward += len(leaf)
            backward += len(leaf)
            errors += [math.inf] * len(leaf)
            continue
        seconds += time.process_time() - started
        finite = torch.isfinite(root).flatten(1).all(1)
        forward += int((~finite).sum())
        backward += int((~torch.isfinite(leaf.grad).flatten(1).all(1)).sum())
        found = root.detach().double()
        error = (found @ found.mT - _nearest(leaf.detach())).abs().flatten(1).amax(1)
        errors += error.tolist()
        if reference:
            grad = (leaf.grad + leaf.grad.mT).double() / 2
            for matrix, weight, given in zip(leaf.detach().double(), cotangent.double(), grad):
                values, vectors = torch.linalg.eigh(matrix)
                exact = (vectors * values.sqrt()) @ vectors.mT
                expected = torch.from_numpy(
                    solve_continuous_lyapunov(exact.numpy(), weight.numpy())
                )
                gradient_errors.append(float((given - expected).norm() / expected.norm()))
    good = [each for each in errors if each <= DIVERGED]
    out = {
        "matrices": count,
        "not_finite_forward": forward,
        "not_finite_backward": backward,
        "error_above_0.1": count - len(good),
        "median_error_of_the_rest": float(np.median(good)) if good else None,
        "largest_error_of_the_rest": max(good) if good else None,
        "cpu_microseconds": 1e6 * seconds / count,
    }
    if reference:
        clean = [each for each in gradient_errors if math.isfinite(each)]
        out["median_gradient_error"] = float(np.median(clean)) if clean else None
    return out


# Results. --------------------------------------------------------------------------------------


def _number(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.1e}" if abs(value) < 0.01 or abs(value) >= 1e5 else f"{value:.3g}"
    if isinstance(value, (int, float)):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.1e}"
    return str(value)


def _markdown(rows: list[dict]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|" + "---|" * len(names))
    lines += ["| " + " | ".join(_number(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def report(result: dict) -> str:
    setting = result["setting"]
    parts = [
        "# Numerics of the grouping matrix's square root",
        f"`{setting['command']}`, commit {setting['commit']}, {setting['cpu']}, one thread, "
        f"torch {setting['versions']['torch']}, {setting['seconds']:.0f} s.",
        "Errors are absolute, on matrices with entries in [0, 1]: the largest entry of "
        "S S' - M+, where M+ is the nearest positive semidefinite matrix. `eigen` and `cholesky` "
        "leave out up to 1 % of the trace by design (tol = 0.01); in the adversarial set tol = 0. "
        "`pivot` is no root and has no such error. Times are processor time.",
    ]
    titles = {
        "random": "Random grouping matrices, float32 features, forward and backward",
        "adversarial": "Adversarial matrices and features, forward and backward",
        "gradients": "Gradients against finite differences with 60 digits",
        "ways": "Ways to the square root",
    }
    for key, title in titles.items():
        if key in result:
            parts += [f"## {title}", _markdown(result[key]["rows"])]
            for failure in result[key].get("failures", [])[:20]:
                parts.append(f"- {failure}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--matrices", type=int, default=100_000, help="random grouping matrices")
    parser.add_argument("--ways-matrices", type=int, default=8000, help="nodes per set and size")
    parser.add_argument("--epochs", type=int, default=4, help="of the trained features' model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "numerics")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    result: dict = {
        "adversarial": adversarial_study(),
        "gradients": gradient_study(),
        "ways": ways_study(arguments.ways_matrices),
        "random": random_study(arguments.matrices, arguments.seed, arguments.epochs),
    }
    result["setting"] = {
        "command": " ".join(["python", "benchmarks/numerics.py", *sys.argv[1:]]),
        "commit": source_commit(),
        "cpu": machine()["cpu"],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "dgl", "numpy", "scipy")},
        "seconds": time.perf_counter() - started,
    }
    text = report(result)
    print(text)
    atomic_write_json(arguments.output.with_suffix(".json"), result)
    atomic_write_text(arguments.output.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
