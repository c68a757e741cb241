"""The pytest plug-in that runs each rule once, and every variant of it where that is asked for.

Some rules are proven over a matrix: brokers by pools, faults by routes. The mark `variant` stands at those rows of a
matrix whose rule another row proves, too. They are left out of `make test`, which says how many there were; `make test
VARIANTS=all` runs all of them. A test that is named with its row always runs.
"""

from __future__ import annotations

from typing import Any

import pytest

_left_out = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--variants",
        choices=("once", "all"),
        default="once",
        help="run each rule once, or all its variants, too (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_left_out] = 0


@pytest.hookimpl(trylast=True)  # of what other options leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--variants") == "all" or any("[" in word for word in config.args):
        return
    variants = [item for item in items if item.get_closest_marker("variant")]
    items[:] = [item for item in items if item not in variants]
    config.hook.pytest_deselected(items=variants)
    config.stash[_left_out] = len(variants)
    if hasattr(config, "workeroutput"):  # one of several processes, which all collect the same
        config.workeroutput["variants"] = len(variants)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_left_out] = max(node.config.stash[_left_out], node.workeroutput.get("variants", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash[_left_out]:
        if count == 1:
            words = "1 variant of a rule that was proven once; `make test VARIANTS=all` runs it, too"
        else:
            words = f"{count} variants of rules that were proven once; `make test VARIANTS=all` runs them, too"
        terminalreporter.write_line(f"LEFT OUT: {words}", yellow=True)
