"""Adds to Flower's pages: arguments in the table of tasks, and the waiting events beside the queues.

Flower imports this with the app's other modules, after it has read its own options. In any other process it has no
visible effect.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any

from kato_tasks.api.status import read_counts
from kato_tasks.bootstrap import runtime
from kato_tasks.errors import KatoTasksError
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
TASKS_COLUMNS = "name,state,kwargs,received,runtime,uuid,worker"
"""The arguments show a task's session, so they stand before the ids, which are seldom read."""
WAITING_ROW = "Events that wait in sessions' logs, not in queues (kato-tasks status says more)"
UNKNOWN_ROW = "Events that wait in sessions' logs: unknown, because the store does not answer"


class _BrokerAndLog:
    """A broker as Flower asks it for its queues, with a row for the event log before them."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    async def queues(self, names: Sequence[str]) -> list[dict[str, Any]]:
        row = await asyncio.get_running_loop().run_in_executor(None, _waiting_row)
        try:
            return [row, *(await self._broker.queues(names) or ())]
        except Exception as exc:
            # Otherwise Flower would show nothing, and the number of waiting events does not depend on the broker.
            log_event(log, logging.WARNING, "flower.queues_unknown", error=exc)
            return [row]


def _waiting_row() -> dict[str, Any]:
    try:
        return {"name": WAITING_ROW, "messages": read_counts(runtime()).backlog}
    except KatoTasksError as exc:
        log_event(log, logging.WARNING, "flower.backlog_unknown", error=exc)
        return {"name": UNKNOWN_ROW}


def prepare_flower() -> None:
    """Set Flower's columns, unless others were given, and show the waiting events on its broker page.

    This depends on names inside Flower; a Flower that has changed them is left as it is.
    """
    options, broker = sys.modules.get("flower.options"), sys.modules.get("flower.views.broker")
    if options is None or broker is None:
        return
    try:
        _set_columns(options.default_options)
        _show_the_log(broker.BrokerView)
    except AttributeError as exc:
        log_event(log, logging.WARNING, "flower.unknown", error=exc, meaning="its pages are shown as Flower has them")


def _set_columns(options: Any) -> None:
    # Tornado has no public name for an option's default.
    (default,) = (one.default for one in options._options.values() if one.name == "tasks_columns")  # noqa: SLF001
    if options.tasks_columns == default:
        options.tasks_columns = TASKS_COLUMNS


def _show_the_log(view: Any) -> None:
    get_broker = view.get_broker
    if getattr(get_broker, "shows_the_log", False):
        return

    def get_broker_and_log(self: Any) -> _BrokerAndLog:
        return _BrokerAndLog(get_broker(self))

    get_broker_and_log.shows_the_log = True  # type: ignore[attr-defined]
    view.get_broker = get_broker_and_log


prepare_flower()
