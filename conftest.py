"""``--every N``: a quick look at the whole suite; and how tests go to several processes."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every", type=int, default=1, metavar="N", help="every Nth test, without the slow ones"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """With pytest-xdist tests go to the processes in stretches, so that what the tests of a module
    share, such as a trained run, is made once and not in every process."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    step = config.getoption("--every")
    if step > 1:
        quick = [item for item in items if item.get_closest_marker("slow") is None]
        chosen = quick[::step]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
