"""The pytest plug-in that shares tests out to the processes of pytest-xdist as `tests.sharing_out` says.

It also keeps apart what would disturb each other. A test with the mark `heavy` keeps every core busy for seconds, and
one with the mark `timed` measures how long others wait. Of all these, one runs at a time.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.sharing_out import longest_first, piece_of

ONE_AT_A_TIME = ("heavy", "timed")


class InPieces(LoadScopeScheduling):
    """xdist's scheduler for groups of tests; the groups are our pieces, and they begin in our order."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process its next piece late: meanwhile another process may have the time for it.

        A process begins a test when it knows which one comes after it. So it always has two.
        """
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> InPieces | None:
    if config.getoption("dist") != "load":
        return None  # another way was asked for by name
    config.option.loadscopereorder = False  # which would begin with the files of most tests
    return InPieces(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # a single process runs the tests in the order of the files
    places = {nodeid: place for place, nodeid in enumerate(longest_first(item.nodeid for item in items))}
    items.sort(key=lambda item: places[item.nodeid])


# Outermost, so that the time in which a test waits for its turn is no part of its time-out.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    if run is None or not any(item.get_closest_marker(mark) for mark in ONE_AT_A_TIME):
        return (yield)
    with Path(tempfile.gettempdir(), f"kato-tasks-{run}.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)
