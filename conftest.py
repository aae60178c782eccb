"""``--every N``: a quick look at the whole suite; the tests' order; less garbage collection."""

from __future__ import annotations

import gc

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every", type=int, default=1, metavar="N", help="every Nth test, without the slow ones"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    step = config.getoption("--every")
    if step > 1:
        quick = [item for item in items if item.get_closest_marker("slow") is None]
        chosen = quick[::step]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
    # Most slow tests are of training and tuning. Taken first, they leave short ones for the end,
    # where one processor would otherwise wait for the other.
    items.sort(key=lambda item: item.path.name, reverse=True)


def pytest_collection_finish() -> None:
    # Some 3 % of the suite's time goes into looking through what lives until the end anyway.
    gc.collect()
    gc.freeze()
