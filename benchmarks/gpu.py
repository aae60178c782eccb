"""Everything that wants a GPU, in one command of a few minutes: agreement, time, memory, waits.

    python benchmarks/gpu.py --device cuda --output FOLDER
    OMP_NUM_THREADS=1 python benchmarks/gpu.py --device cpu --output FOLDER --quick

Needs nothing but the package and what it depends on; torch-geometric's poolings are timed beside
ours where they are installed. DGL may be a CPU build: graphs stay in the memory of the host, which
is where the package reads edges and node counts, and everything is computed on the device of the
features.

The graphs are random, of the size of molecules: trees of bounded degree with a few rings closed.
Every section stands alone, a failure is recorded and the run goes on, and after ``--seconds`` what
is left is skipped and named. Writes gpu.json and gpu.md, what failed first, anew after each
section.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dgl_gmpool  # noqa: F401  # isort: skip - first: it lets DGL 2.1.0 load
import torch
from gpu_agreement import coarse_agree, models_agree, options_agree, readouts_agree, still
from gpu_bench import (
    AGREEMENT,
    EDGE_FEATS,
    NODE_FEATS,
    WIDTH,
    Bench,
    OutOfTime,
    difference,
    features,
    model_variants,
    molecules,
)
from gpu_times import large_graphs, pooling_times, size_32_and_33, timed, training_steps
from gpu_waits import host_waits
from setting import command_line, load_average, setting
from text_table import text_table
from torch import Tensor, nn

from dgl_gmpool import MoleculePredictor, collect_losses, get_readout, list_readouts
from dgl_gmpool._io import atomic_write_json, atomic_write_text, without_nan
from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix


def bfloat16(bench: Bench) -> Iterator[dict]:
    """Under autocast to bfloat16, results, losses and gradients are finite and near float32."""
    graph = molecules(24)
    nodes = features(graph.num_nodes(), NODE_FEATS).to(bench.device)
    edges = features(graph.num_edges(), EDGE_FEATS, seed=1).to(bench.device)
    runs: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}
    for name, options in model_variants().items():
        with bench.attempt(name):
            torch.manual_seed(0)
            model = MoleculePredictor(NODE_FEATS, EDGE_FEATS, hidden_feats=64, **options)
            runs[f"model: {name}"] = (model, (nodes, edges))
    for name in list_readouts():
        with bench.attempt(name):
            torch.manual_seed(0)
            runs[name] = (get_readout(name, in_feats=NODE_FEATS), (nodes,))
    for what, (module, inputs) in runs.items():
        with bench.attempt(what):
            still(module.to(bench.device))
            torch.manual_seed(0)
            plain = module(graph, *inputs)
            leaves = [each.clone().requires_grad_() for each in inputs]
            torch.manual_seed(0)
            low = torch.autocast(bench.device.type, dtype=torch.bfloat16)
            with low, collect_losses() as losses:
                out = module(graph, *leaves)
                loss = out.float().square().mean() + sum(losses.values())
            loss.backward()
            values = [out, loss, *(p.grad for p in module.parameters()), *(x.grad for x in leaves)]
            if not all(torch.isfinite(each).all() for each in values if each is not None):
                bench.fail(what, "not finite under autocast to bfloat16")
            yield {"what": what, "from_float32": min(difference(plain, out), 1e30)}


def compiled(bench: Bench) -> Iterator[dict]:
    """torch.compile of the grouping matrix, from node features to M, forward and backward."""
    x = features(64 * 40, WIDTH).reshape(64, 40, WIDTH).to(bench.device)
    for similarity, backend in itertools.product(SIMILARITIES, ("inductor", "aot_eager")):
        what = f"{similarity}, {backend}"
        with bench.attempt(what):
            torch._dynamo.reset()
            grouping = GroupingMatrix(WIDTH, similarity=similarity).to(bench.device)
            faster = torch.compile(grouping, fullgraph=True, backend=backend)
            started = time.perf_counter()
            results = []
            for module in (grouping, faster):
                leaf = x.clone().requires_grad_()
                out = module(leaf)
                out.square().sum().backward()
                results.append((out, leaf.grad))
            seconds = time.perf_counter() - started
            apart = max(difference(*pair) for pair in zip(*results))
            if apart > AGREEMENT:
                bench.fail(what, f"compiled differs by {apart:.1e}")
            times = {}
            for name, module in (("eager", grouping), ("compiled", faster)):

                def step(module: Any = module) -> None:
                    module(x.clone().requires_grad_()).square().sum().backward()

                times[f"{name}_ms"] = timed(bench, step)["ms"]
            yield {"what": what, "difference": apart, "compile_s": seconds, **times}


def in_another_process(bench: Bench, section: str, limit: float) -> list[dict]:
    """A section in a process of its own, which can be ended: a compiler can hang."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--only", section, "--output", folder]
        words += ["--device", str(bench.device), "--seconds", str(limit)]
        words += ["--quick"] if bench.quick else []
        try:
            subprocess.run(words, timeout=limit + 20, check=True, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            bench.fail(section, f"took more than {limit + 20:.0f} s")
        except subprocess.CalledProcessError as error:
            bench.fail(section, (error.stderr or "no message").strip().split("\n")[-1][:300])
        file = Path(folder) / "gpu.json"
        if not file.exists():
            return []
        record = json.loads(file.read_text(encoding="utf-8"))
    for each in record["failures"]:
        bench.fail(each["what"], each["why"])
    bench.skipped += record["skipped"]
    return record["sections"].get(section, [])


#: Section: what does it, and which share of the time it may take.
SECTIONS: dict[str, tuple[Callable[[Bench], Iterator[dict]], float]] = {
    "readouts agree": (readouts_agree, 0.15),
    "options agree": (options_agree, 0.25),
    "coarse graphs agree": (coarse_agree, 0.25),
    "models agree": (models_agree, 0.15),
    "training steps": (training_steps, 0.25),
    "host waits": (host_waits, 0.2),
    "n = 32 and 33": (size_32_and_33, 0.15),
    "large graphs": (large_graphs, 0.2),
    "bfloat16": (bfloat16, 0.1),
    "poolings": (pooling_times, 0.4),
    "compile": (compiled, 0.3),
}


def run(bench: Bench, names: list[str], store: Callable[[], None]) -> None:
    """The sections, one after the other."""
    for name in names:
        section, share = SECTIONS[name]
        if time.monotonic() > bench.end - 5:
            bench.skipped.append(f"{name}: the time was up")
            continue
        bench.begin(name, share if len(names) > 1 else 1.0)
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        rows: list[dict] = []
        try:
            if name == "compile" and len(names) > 1:
                left = min(bench.end, bench.section_end) - time.monotonic() - 20
                rows += in_another_process(bench, name, max(left, 10))
            else:
                for row in section(bench):
                    rows.append(row)  # one by one: those before the time was up are kept
        except OutOfTime:
            bench.skipped.append(f"{name}: not to its end, the time was up")
        except Exception as error:
            bench.fail(name, f"{type(error).__name__}: {str(error)[:300]}")
        bench.sections[name] = rows
        print(f"  {len(rows)} rows, {time.monotonic() - started:.0f} s", flush=True)
        store()


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.01 or abs(value) > 1e6 else f"{value:.2f}"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def report(record: dict[str, Any]) -> str:
    """The record in Markdown: setting, failures, then a table for each section."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    parts = [
        f"# {record['device']}",
        f"`{record['command']}`, commit {record['commit']}, {record['seconds']:.0f} s; {versions}",
        f"## Failures: {len(record['failures'])}",
        "\n".join(f"- {e['section']}: {e['what']}: {e['why']}" for e in record["failures"]),
        "\n".join(f"Skipped: {each}" for each in record["skipped"]),
    ]
    for name, rows in record["sections"].items():
        places = [key for row in rows for key in row]
        head = [key for key in dict.fromkeys(places) if key != "places"]
        parts += [f"## {name}", SECTIONS[name][0].__doc__ or ""]
        if rows:
            parts.append(text_table(head, [[cell(r.get(key, "")) for key in head] for r in rows]))
        for row in rows:
            if row.get("places"):
                listing = "\n".join(f"  - `{each}`" for each in row["places"])
                parts.append(f"- {row['what']}\n{listing}")
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds")
    parser.add_argument("--seconds", type=float, default=330, help="then the rest is skipped")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help="these alone: " + ", ".join(SECTIONS),
    )
    parser.add_argument("--commit", help="of the code, where it is no checkout")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} sees no GPU; give --device cpu")
    # The agreement is about float32; torch lets cuDNN's recurrent layers use less by default.
    torch.backends.cudnn.allow_tf32 = False
    bench = Bench(torch.device(args.device), quick=args.quick, seconds=args.seconds)
    cuda = bench.device.type == "cuda"
    about = {
        **setting(command_line(), "torch-geometric", "torch-geometric-pool", "triton"),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "cuda": torch.version.cuda,
        "load_average_before": load_average(),
    }
    about["commit"] = args.commit or about["commit"]

    def store() -> None:
        record = {
            **about,
            "seconds": time.monotonic() - bench.started,
            "failures": bench.failures,
            "skipped": bench.skipped,
            "sections": bench.sections,
        }
        atomic_write_json(args.output / "gpu.json", without_nan(record))
        atomic_write_text(args.output / "gpu.md", report(record))

    run(bench, list(args.only or SECTIONS), store)
    store()
    print(f"\n{len(bench.failures)} failures, {len(bench.skipped)} skipped:")
    for each in bench.failures:
        print(f"- {each['section']}: {each['what']}: {each['why']}")
    for line in bench.skipped:
        print(f"- skipped: {line}")


if __name__ == "__main__":
    main()
