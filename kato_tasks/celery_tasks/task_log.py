"""Correct what Celery's log says of our tasks: a waiting task is not "ignored", and one that was told is not news.

Celery writes one line for each task that raises. A task raises ``Ignore`` to leave its slot while its request waits in
its lane, and ``Reject`` to send its message back to its queue. A filter on Celery's own logger corrects the lines of
our tasks that do so, and no others.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.exceptions import Ignore, Reject

CELERYS_LOGGER = "celery.app.trace"


class LeftWaiting(Ignore):
    """The task waits in its lane. The worker that applies its event completes it."""

    def __repr__(self) -> str:
        return f"{_WAITS}{self}"


class Told(Ignore):
    """The task has its end already, or gets it in another way, so there is nothing left to log."""

    def __repr__(self) -> str:
        return _TOLD


class GoesBack(Reject):
    """The task's message goes back to its queue. This was logged already."""

    def __repr__(self) -> str:
        return _TOLD


_WAITS = "kato_tasks waits "
_TOLD = "kato_tasks was told"


def waits_where(session: str, place: dict[str, Any] | Any, kind: str) -> str:
    """Return what a task waits for, in the words of its log line. ``kind`` is its event's type."""
    position = int(place["position"] or 0)
    if position:
        return f"at position {position} of session {session!r}"
    if place.get("due"):
        return f"for its time in session {session!r}"
    return f"for its turn in session {session!r} ({kind})"


class OurTasksLines(logging.Filter):
    """The filter on Celery's logger of tasks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Correct the line of a waiting task. Return False for a line that must not be written."""
        said = record.args if isinstance(record.args, dict) else {}
        how = str(said.get("exc", ""))
        if how == _TOLD:
            return False
        if how.startswith(_WAITS):
            record.msg = "Task %(name)s[%(id)s] waits %(where)s"
            record.args = {**said, "description": "waiting", "where": how.removeprefix(_WAITS)}
        return True


def put_lines_right() -> None:
    """Add the filter to Celery's logger, once in each worker. A forked pool process inherits it."""
    logger = logging.getLogger(CELERYS_LOGGER)
    if not any(isinstance(one, OurTasksLines) for one in logger.filters):
        logger.addFilter(OurTasksLines())
