"""Sections of gpu.py: CPU and GPU give the same results and gradients."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import dgl
import torch
from gpu_bench import (
    AGREEMENT,
    CPU,
    EDGE_FEATS,
    NODE_FEATS,
    WIDTH,
    Bench,
    capped,
    crossed,
    difference,
    features,
    label,
    made,
    model_variants,
    molecule,
    molecules,
    odd_batch,
    option_sets,
    perturbed,
    variants_of,
)
from torch import Tensor, nn

from dgl_gmpool import GroupExchange, MoleculePredictor, list_readouts
from dgl_gmpool.registry import readout_entry

#: Poolings that draw at random, so that two devices differ: compared in nothing but their shapes.
DRAWS = ("bnpool",)


def still(module: nn.Module) -> nn.Module:
    """As in training, where normalisation has most to do, without dropout."""
    for child in module.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    return module.train()


def twice(bench: Bench, module: nn.Module, *inputs: Tensor, call: Callable) -> dict[str, float]:
    """Run ``call(module, *inputs)`` and its gradients on the CPU and on the device; compare.

    ``call`` returns a dict of tensors; random numbers to weight them come from one seed.
    """
    found = []
    for device in (CPU, bench.device):
        here = still(copy.deepcopy(module)).to(device)
        leaves = [each.detach().to(device).requires_grad_() for each in inputs]
        torch.manual_seed(0)
        out = call(here, *leaves)
        loss = sum(
            (each * features(each.numel(), 1, seed=3).reshape(each.shape).to(device)).sum()
            for each in out.values()
            if each.requires_grad
        )
        grads = {name: each for name, each in here.named_parameters() if each.requires_grad}
        wanted = [*leaves, *grads.values()]
        taken = torch.autograd.grad(loss, wanted, allow_unused=True)
        names = [f"grad of input {i}" for i in range(len(leaves))]
        names += [f"grad of {each}" for each in grads]
        values = {name: grad for name, grad in zip(names, taken) if grad is not None}
        found.append({**out, **values})
    if found[0].keys() != found[1].keys():
        raise RuntimeError(f"other results: {sorted(found[0].keys() ^ found[1].keys())}")
    # A gradient that is a millionth of the others is rounding error of sums that cancel.
    size = {
        key: float(value.detach().abs().max()) if value.numel() else 0.0
        for key, value in found[0].items()
    }
    top = max((size[key] for key in size if key.startswith("grad")), default=0.0)
    return {
        key: difference(found[0][key], found[1][key])
        for key in found[0]
        if not (key.startswith("grad") and size[key] < 1e-6 * top)
    }


def judged(bench: Bench, what: str, found: dict[str, float], limit: float = AGREEMENT) -> dict:
    worst = max(found, key=lambda key: found[key])
    if not found[worst] <= limit:
        bench.fail(what, f"{worst} differs by {found[worst]:.1e}, more than {limit:.0e}")
    return {"what": what, "worst": worst, "difference": min(found[worst], 1e30)}


def readouts_agree(bench: Bench) -> Iterator[dict]:
    """Every registered readout with its defaults, out and gradients."""
    graph = odd_batch()
    feat = features(graph.num_nodes(), WIDTH)
    for name in list_readouts():
        with bench.attempt(name):
            module = made(name, {})
            if name in DRAWS:
                out = module.to(bench.device)(graph, feat.to(bench.device))
                if not torch.isfinite(out).all():
                    bench.fail(name, "not finite")
                continue
            call = lambda pool, x: {"out": pool(graph, x)}  # noqa: E731
            yield judged(bench, name, twice(bench, module, feat, call=call))


def options_agree(bench: Bench) -> Iterator[dict]:
    """GMPool and NGMPool with every option, on atoms that differ and on equivalent ones."""
    graph = odd_batch()
    for name, kinds in itertools.product(("gmpool", "ngmpool"), (0, 5)):
        feat = features(graph.num_nodes(), WIDTH, kinds=kinds)
        # A decomposition shows in the readout where that is made of the coarse nodes.
        for options in option_sets(name) + crossed(name, aggregate="mean"):
            what = label(name, options) + (", equivalent atoms" if kinds else "")
            with bench.attempt(what):
                module = made(name, options)
                call = lambda pool, x: {"out": pool(graph, x)}  # noqa: E731
                yield judged(bench, what, twice(bench, module, feat, call=call))


def dense(coarse: Any, like: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
    """X' and A' of a coarse batch. Eigenvectors have no sign of their own: each coarse node gets
    the sign of ``like``, X' of the other device."""
    source, destination = (each.long().to(coarse.feat.device) for each in coarse.graph.edges())
    nodes = coarse.feat.shape[0]
    adjacency = coarse.feat.new_zeros(nodes, nodes)
    adjacency = adjacency.index_put((source, destination), coarse.edge_weight, accumulate=True)
    sign = torch.ones(nodes, 1, device=coarse.feat.device)
    if like is not None and like.shape == coarse.feat.shape:
        sign = (coarse.feat.detach() * like.to(sign.device)).sum(1, keepdim=True).sign()
        sign = torch.where(sign == 0, 1.0, sign)
    return {
        "X'": coarse.feat * sign,
        "A'": adjacency * sign * sign.T,
        "lifted": coarse.lift(coarse.feat),
    }, coarse.feat.detach().cpu()


def coarse_agree(bench: Bench) -> Iterator[dict]:
    """Coarse graphs: X', A' as a dense matrix, X' lifted back, and their gradients."""
    graph = odd_batch()
    large = dgl.batch([molecule(nodes, nodes // 10, random.Random(0)) for nodes in (400, 30)])
    sets = [(graph, n, each) for n in ("gmpool", "ngmpool") for each in option_sets(n)]
    sets += [(graph, name, {}) for name in list_readouts() if readout_entry(name).coarsens]
    sets += [(large, "gmpool", each) for each in capped(8)]
    for batch, name, options in sets:
        what = label(name, options)
        with bench.attempt(what):
            module = made(name, options)
            if name in DRAWS:
                continue
            first: list[Tensor] = []
            feat = features(batch.num_nodes(), WIDTH)

            def call(pool, x, batch=batch, first=first):  # type: ignore[no-untyped-def]
                coarse = pool.coarsen(batch, x)
                out, raw = dense(coarse, first[0] if first else None)
                first.append(raw)
                return out

            yield judged(bench, what, twice(bench, module, feat, call=call))


def models_agree(bench: Bench) -> Iterator[dict]:
    """Whole models, one and two levels, and the layer of exchange if there is one."""
    graph = molecules(24)
    inputs = (
        features(graph.num_nodes(), NODE_FEATS),
        features(graph.num_edges(), EDGE_FEATS, seed=1),
    )
    variants = model_variants()
    for what, options in variants_of("gmpool").items():
        deep = {"readout": "gmpool", "readout_options": options, "levels": 2}
        variants[f"2 levels, {what}"] = deep
    for what, options in variants.items():
        with bench.attempt(what):
            torch.manual_seed(0)
            sizes = {"hidden_feats": 64, "dropout": 0.0}
            model = perturbed(MoleculePredictor(NODE_FEATS, EDGE_FEATS, **sizes, **options))
            call = lambda model, x, e: {"out": model(graph, x, e)}  # noqa: E731
            yield judged(bench, f"model: {what}", twice(bench, model, *inputs, call=call))
    with bench.attempt("GroupExchange"):
        feat = features(graph.num_nodes(), WIDTH)
        call = lambda layer, x: {"out": layer(graph, x)}  # noqa: E731
        found = twice(bench, perturbed(GroupExchange(WIDTH)), feat, call=call)
        yield judged(bench, "GroupExchange", found)
