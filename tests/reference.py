"""The paper's equations as plain loops over one graph, in float64: slow, and easy to check."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg


def grouping_matrix(x, similarity, weight, bias=None):
    """Eq. 5-6, entry by entry."""
    n, d = x.shape
    matrix = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            if similarity == "linear":
                z = bias + sum(weight[k] * (x[i, k] - x[j, k]) ** 2 for k in range(d))
                matrix[i, j] = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
                continue
            distance = sum(
                math.log1p(math.exp(weight[k])) * (x[i, k] - x[j, k]) ** 2 for k in range(d)
            )
            if similarity == "cauchy":
                matrix[i, j] = 1 / (1 + math.exp(-bias) * distance)
            else:
                matrix[i, j] = math.exp(-distance)
    return matrix


def nearest_psd(matrix):
    """Negative eigenvalues to zero (Higham, 1988)."""
    values, vectors = np.linalg.eigh(matrix)
    return sum(
        (max(value, 0) * np.outer(v, v) for value, v in zip(values, vectors.T)),
        np.zeros_like(matrix),
    )


def columns_left(values, tol):
    """The smallest K for which the K largest positive eigenvalues leave out at most ``tol`` of the
    trace, and never half a node."""
    positive = sorted((max(value, 0) for value in values), reverse=True)
    limit = min(tol, 0.5 / len(positive)) * sum(positive)
    for k in range(1, len(positive) + 1):
        if sum(positive[k:]) <= limit:
            return k
    return len(positive)


def number_of_groups(matrix):
    """Eigenvalues above 0.7 of what the diagonal has on average; at least one."""
    node = np.trace(matrix) / len(matrix)
    return max(1, sum(value > 0.7 * node for value in np.linalg.eigvalsh(matrix)))


def pivots(psd, most, limit):
    """Longest column of the residual first, until its trace is at most ``limit``: nodes, columns
    of the Cholesky factor."""
    residual, nodes, columns = psd.copy(), [], []
    while len(nodes) < most and (not nodes or np.trace(residual) > limit):
        pivot = int(np.argmax([np.dot(column, column) for column in residual.T]))
        column = residual[:, pivot] / math.sqrt(residual[pivot, pivot])
        nodes.append(pivot)
        columns.append(column)
        residual = residual - np.outer(column, column)
    return nodes, columns


def assignment(matrix, decomposition, tol=0.01, num_clusters=None):
    """S of eq. 9-12: ``sqrtm``, ``eigen`` or ``cholesky``; shares in the groups of the first K
    pivots, ``pivot``; the matrix itself for ``none``."""
    if decomposition == "none":
        return matrix
    psd = nearest_psd(matrix)
    n = len(matrix)
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-values)
    columns = n if num_clusters is None else min(num_clusters, n)
    if decomposition == "pivot":
        most = number_of_groups(matrix) if num_clusters is None else columns
        nodes, _ = pivots(psd, most, 1e-12 * np.trace(psd))
        shares = np.zeros((n, len(nodes)))
        for i in range(n):
            for k, pivot in enumerate(nodes):
                shares[i, k] = matrix[i, pivot] / sum(matrix[i, other] for other in nodes)
        return shares
    if decomposition == "sqrtm":
        root = np.zeros((n, n))
        for i in order[:columns]:
            root += math.sqrt(max(values[i], 0)) * np.outer(vectors[:, i], vectors[:, i])
        return root
    if decomposition == "eigen":
        if num_clusters is None:
            columns = columns_left(values, tol)
        picked = []
        for i in order[:columns]:
            sign = -1 if vectors[:, i].sum() < 0 else 1
            picked.append(sign * math.sqrt(max(values[i], 0)) * vectors[:, i])
        return np.stack(picked, axis=1)
    share = min(tol, 0.5 / n) if num_clusters is None else 1e-12
    return np.stack(pivots(psd, columns, share * np.trace(psd))[1], axis=1)


def conductances(n, source, destination, values):
    """Both directions of every edge averaged, parallel edges added up, self-loops left out."""
    out = np.zeros((n, n))
    for u, v, value in zip(source, destination, values):
        if u != v:
            out[u, v] += value / 2
            out[v, u] += value / 2
    return out


def heat_kernel(adjacency, time):
    """exp(-t L), with 1 on the diagonal."""
    heat = _heat(adjacency, time)
    return heat / np.sqrt(np.outer(np.diag(heat), np.diag(heat)))


def _heat(adjacency, time):
    """exp(-t L) of the normalised Laplacian, by scipy; a node without edges keeps its heat."""
    n = len(adjacency)
    laplacian = np.zeros((n, n))
    degree = adjacency.sum(1)
    for i in range(n):
        for j in range(n):
            if adjacency[i, j]:
                laplacian[i, j] = (i == j) - adjacency[i, j] / math.sqrt(degree[i] * degree[j])
        laplacian[i, i] = 1.0 if degree[i] else 0.0
    return scipy.linalg.expm(-time * laplacian)


def averaged(adjacency, time, x):
    """Features averaged over near nodes: the heat of a quarter of the time, rows divided by their
    sums."""
    heat = _heat(adjacency, time / 4)
    return (heat / heat.sum(1, keepdims=True)) @ x


def group_readout(matrix, x, linear, bias):
    """What the default readout sees of groups before its normalisations: hidden rows W c_i + b and
    the weight 1 / n_i of each."""
    size = matrix.sum(1)
    rows = []
    for i in range(len(x)):
        mean = sum(matrix[i, j] * x[j] for j in range(len(x))) / size[i]
        rows.append(linear @ mean + bias)
    return np.array(rows), 1 / size


def pooled_features(assign, x):
    """Eq. 13: X' = S' X."""
    n, columns = assign.shape
    out = np.zeros((columns, x.shape[1]))
    for k in range(columns):
        for i in range(n):
            out[k] += assign[i, k] * x[i]
    return out


def readout(assign, x, aggregate):
    """Mean, sum or maximum of the rows of S' X, or several side by side."""
    return reduced(pooled_features(assign, x), aggregate)


def reduced(rows, aggregate):
    """Mean, sum or maximum over rows, or several side by side."""
    one = {"mean": rows.mean(0), "sum": rows.sum(0), "max": rows.max(0)}
    one["mean_and_max"] = np.concatenate([one["mean"], one["max"]])
    one["mean_max_and_sum"] = np.concatenate([one["mean"], one["max"], one["sum"]])
    return one[aggregate]


def dense_edges(n, source, destination, values):
    """Edge values in an n x n array; parallel edges add up."""
    out = np.zeros((n, n, *np.shape(values)[1:]))
    for u, v, value in zip(source, destination, values):
        out[u, v] += value
    return out


def pooled_edges(assign, dense):
    """Eq. 14-15: S' A S, or S' E S for every channel."""
    n, columns = assign.shape
    out = np.zeros((columns, columns, *dense.shape[2:]))
    for k in range(columns):
        for m in range(columns):
            for i in range(n):
                for j in range(n):
                    out[k, m] += assign[i, k] * dense[i, j] * assign[j, m]
    return out


def reverse_of(edges):
    """{edge: its reverse}: the k-th u -> v belongs to the k-th v -> u; self-loops have none."""
    places = {}
    for index, (u, v) in enumerate(edges):
        places.setdefault((u, v), []).append(index)
    out = {}
    for (u, v), there in places.items():
        if u != v:
            out.update(zip(there, places.get((v, u), [])))
    return out


def dmpnn(model, n, edges, x, e, weight=None):
    """Eq. 1-4 with dictionaries; ``model`` lends its weights. Node and edge states."""
    w_i = model.edge_init.weight.detach().numpy()
    w_e = model.edge_update.weight.detach().numpy()
    w_n, b_n = (p.detach().numpy() for p in model.node_update.parameters())
    weight = np.ones(len(edges)) if weight is None else weight
    reverse = reverse_of(edges)

    def relu(values):
        return np.maximum(values, 0)

    first = {k: relu(w_i @ np.concatenate([x[u], e[k]])) for k, (u, _) in enumerate(edges)}
    states = dict(first)
    for _ in range(model.num_steps):
        after = {}
        for k, (u, _) in enumerate(edges):
            message = np.zeros(model.hidden_feats)
            for other, (_, target) in enumerate(edges):
                if target == u and other != reverse.get(k):
                    message += weight[other] * states[other]
            after[k] = relu(first[k] + w_e @ message)
        states = after
    nodes = []
    for i in range(n):
        message = np.zeros(model.hidden_feats)
        for k, (_, target) in enumerate(edges):
            if target == i:
                message += weight[k] * states[k]
        nodes.append(relu(w_n @ np.concatenate([x[i], message]) + b_n))
    width = model.hidden_feats
    return np.array(nodes).reshape(n, width), np.array(
        [states[k] for k in range(len(edges))]
    ).reshape(len(edges), width)
