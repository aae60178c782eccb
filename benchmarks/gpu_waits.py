"""Section of gpu.py: what makes the host wait for the GPU, line by line."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_bench import PACKAGE, WIDTH, Bench, features, model_variants, molecules, variants_of
from gpu_times import pass_of, step_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dgl_gmpool import get_readout

#: Where torch's own code is.
TORCH = str(Path(torch.__file__).parent)


def place_of(stack: list[traceback.FrameSummary]) -> str:
    """The innermost line of the package on a stack; where it is not there, of who called torch."""
    callers = [
        each
        for each in stack
        if not each.filename.startswith(TORCH) and each.name not in ("note", "__torch_dispatch__")
    ]
    frame = ([each for each in callers if each.filename.startswith(PACKAGE)] or callers)[-1]
    parts = Path(frame.filename).parts
    return f"{'/'.join(parts[-2:])}:{frame.lineno} {frame.line}"


#: Operations whose result, or its shape, is a value: a GPU has to be waited for.
READS_VALUES = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "equal",
    "repeat_interleave",
    "is_nonzero",
}


class ValuesRead(TorchDispatchMode):
    """Counts, line by line, the operations that need the values of a tensor on the host.

    On a CPU this stands in for what a GPU would wait for. It also sees node counts and edges, which
    are in the memory of the host anyway: lines that read these are no wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in READS_VALUES:
            kinds = {
                str(t.dtype).removeprefix("torch.")
                for t in tree_leaves(args)
                if isinstance(t, Tensor)
            }
            self.places[f"{place_of(traceback.extract_stack())} [{', '.join(kinds)}]"] += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def waits() -> Iterator[Counter[str]]:
    """Count, line by line, what makes the host wait for the GPU."""
    places: Counter[str] = Counter()

    def note(message: Any, *rest: Any, **more: Any) -> None:
        if "called a synchronizing" in str(message):
            places[place_of(traceback.extract_stack())] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before, warnings.showwarning = warnings.showwarning, note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = before  # type: ignore[assignment]


def profiled(step: Callable[[], None]) -> dict[str, Any]:
    """What torch's profiler counts in one step: waits, copies, kernels and their time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    counted: Counter[str] = Counter()
    busy = 0.0
    for event in profiler.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            busy += event.self_device_time_total
        for name in (
            "cudaStreamSynchronize",
            "cudaDeviceSynchronize",
            "cudaEventSynchronize",
            "cudaLaunchKernel",
            "cudaMemcpyAsync",
            "Memcpy DtoH",
            "Memcpy HtoD",
        ):
            if event.key.startswith(name):
                counted[name] += event.count
    return {**counted, "gpu_busy_ms": busy / 1000}


def host_waits(bench: Bench) -> Iterator[dict]:
    """Waits of a training step, of a coarsening and of a readout, and the lines that cause them."""
    steps: dict[str, Callable[[], Callable[[], None]]] = {
        f"step: {name}": partial(step_of, options, 80, bench.device)
        for name, options in model_variants().items()
    }

    def pooling(name: str, options: dict[str, Any], coarsen: bool) -> Callable[[], None]:
        graph = molecules(80, sizes=(20, 40))
        module = get_readout(name, in_feats=WIDTH, **options).to(bench.device)
        feat = features(graph.num_nodes(), WIDTH).to(bench.device)
        return pass_of(module, graph, feat, coarsen=coarsen)

    for name in ("ngmpool", "gmpool"):
        for what, options in variants_of(name).items():
            for coarsen in (False, True):
                face = "coarsen" if coarsen else "readout"
                steps[f"{face}: {what}"] = partial(pooling, name, options, coarsen)
    for what, make in steps.items():
        with bench.attempt(what):
            step = make()
            for _ in range(2):
                step()
            bench.wait()
            if bench.device.type == "cuda":
                with waits() as places:
                    step()
                row = {"what": what, "waits": sum(places.values()), **profiled(step)}
            else:
                with ValuesRead() as read:
                    step()
                places = read.places
                row = {"what": what, "values_read": sum(places.values())}
            yield {**row, "places": [f"{n} x {p}" for p, n in places.most_common(20)]}
