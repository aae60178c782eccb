"""A command that trains, stopped after some steps: what sizes.py runs.

python benchmarks/size_steps.py STEPS FOLDER train csv ...
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from sizes import memory  # noqa: E402

from dgl_gmpool import cli  # noqa: E402
from dgl_gmpool.training import fold_trainer  # noqa: E402


def stop_after(steps: int, folder: Path) -> None:
    """End the process ``steps`` steps after the first, with a line about it in ``folder``."""
    times: list[float] = []
    used: list[float] = []
    counts: list[int] = []
    step, count = torch.optim.Adam.step, fold_trainer.count_batches

    def counted(*given: Any) -> int:
        counts.append(count(*given))
        return counts[-1]

    def timed(self: torch.optim.Adam, *given: Any) -> Any:
        result = step(self, *given)
        times.append(time.perf_counter())
        used.append(time.process_time())
        if len(times) > steps:
            found = {
                "start_s": times[0] - STARTED,
                "start_cpu_s": used[0],  # of this process, from its first moment
                "step_s": (times[-1] - times[0]) / max(steps, 1),
                "steps_an_epoch": counts[0],
                **memory(),
            }
            (folder / os.environ.get("RANK", "0")).write_text(json.dumps(found))
            time.sleep(1)  # until the other has written
            os._exit(0)
        return result

    fold_trainer.count_batches = counted
    torch.optim.Adam.step = timed  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="train csv ...")
    args = parser.parse_args()
    stop_after(args.steps, args.folder)
    sys.exit(cli.main(args.command))


if __name__ == "__main__":
    main()
