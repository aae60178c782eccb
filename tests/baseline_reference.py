"""The baselines' equations as plain loops over one graph, in float64: slow, and easy to check.

A graph is its number of nodes and a list of edges ``(i, j, weight)`` from i to j.
"""

from __future__ import annotations

import math

import numpy as np


def softmax(values):
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def best(scores, k):
    """The k nodes with the highest scores, in the order of the nodes."""
    return sorted(sorted(range(len(scores)), key=lambda i: -scores[i])[:k])


def graph_conv(x, edges, rel, bias, root):
    out = []
    for i in range(len(x)):
        total = np.zeros(x.shape[1])
        for source, destination, weight in edges:
            if destination == i:
                total += weight * x[source]
        out.append(rel @ total + bias + root @ x[i])
    return np.array(out)


def gate(x, scores, kept):
    return np.array([x[i] * math.tanh(scores[i]) for i in kept])


def adjacency(n, edges):
    matrix = np.zeros((n, n))
    for source, destination, weight in edges:
        matrix[source, destination] += weight
    return matrix


def pooled_edges(assign, n, edges, values):
    """S' E S, channel by channel; values (edges, channels)."""
    k = assign.shape[1]
    out = np.zeros((k, k, values.shape[1]))
    for (source, destination, _), row in zip(edges, values):
        for a in range(k):
            for b in range(k):
                out[a, b] += assign[source, a] * assign[destination, b] * row
    return out


def link_loss(matrix, assign):
    n = len(matrix)
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += (matrix[i, j] - assign[i] @ assign[j]) ** 2
    return math.sqrt(total) / n**2


def entropy_loss(assign):
    return sum(-p * math.log(p) for row in assign for p in row) / len(assign)


def memory_shares(x, keys, mixing, tau):
    """S of MemPool: keys (heads, K, D), mixing (heads,)."""
    rows = []
    for row in x:
        logits = np.zeros(keys.shape[1])
        for head, weight in zip(keys, mixing):
            kernel = [(1 + ((row - key) ** 2).sum() / tau) ** (-(1 + tau) / 2) for key in head]
            logits += weight * np.array(kernel) / sum(kernel)
        rows.append(softmax(logits))
    return np.array(rows)


def kl_loss(assign):
    total = 0.0
    for row in assign:
        squares = [p * p / column for p, column in zip(row, assign.sum(0))]
        for p, square in zip(row, squares):
            target = square / sum(squares)
            total += target * math.log(target / p)
    return total


def asap(x, edges, k, lin, lin_bias, att, att_bias, le, slope=0.2):
    """X', S restricted to the clusters kept, and A' without its diagonal.

    ``le``: W1, b1, W2, W3, b3 of LEConv, one output channel.
    """
    n = len(x)
    loops = {source for source, destination, _ in edges if source == destination}
    edges = [*edges, *((i, i, 1.0) for i in range(n) if i not in loops)]
    assign, clusters = np.zeros((n, n)), np.zeros_like(x)
    for j in range(n):
        members = [source for source, destination, _ in edges if destination == j]
        master = lin @ np.max([x[i] for i in members], axis=0) + lin_bias
        scores = [float(att @ np.concatenate([master, x[i]]) + att_bias) for i in members]
        shares = softmax([score if score > 0 else slope * score for score in scores])
        for i, share in zip(members, shares):
            assign[i, j] += share
            clusters[j] += share * x[i]
    w1, b1, w2, w3, b3 = le
    fitness = []
    for j in range(n):
        value = w3 @ clusters[j] + b3
        for source, destination, _ in edges:
            if destination == j:
                value += w1 @ clusters[source] + b1 - w2 @ clusters[j]
        fitness.append(1 / (1 + math.exp(-float(value))))
    kept = best(fitness, k)
    assign = assign[:, kept]
    coarse = assign.T @ adjacency(n, edges) @ assign
    np.fill_diagonal(coarse, 0)
    return np.array([clusters[j] * fitness[j] for j in kept]), assign, coarse


def mincut_losses(matrix, assign):
    n, k = assign.shape
    inside = sum(matrix[i, j] * (assign[i] @ assign[j]) for i in range(n) for j in range(n))
    total = sum(matrix[i].sum() * (assign[i] @ assign[i]) for i in range(n))
    overlap = assign.T @ assign
    gap = overlap / np.linalg.norm(overlap) - np.eye(k) / math.sqrt(k)
    return -inside / total, np.linalg.norm(gap)


def sticks(fractions):
    """Stick-breaking shares of one node."""
    left, out = 1.0, []
    for fraction in fractions:
        out.append(left * fraction)
        left *= 1 - fraction
    return [*out, left]


def reconstruction_loss(matrix, assign, links):
    n = len(matrix)
    edges = int((matrix != 0).sum())
    total = 0.0
    for i in range(n):
        for j in range(n):
            probability = 1 / (1 + math.exp(-float(assign[i] @ links @ assign[j])))
            if matrix[i, j]:
                total -= (n * n - edges) / edges * math.log(probability)
            else:
                total -= math.log(1 - probability)
    return total / n**2
