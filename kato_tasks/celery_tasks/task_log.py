"""How Celery's log speaks of our tasks: a waiting one is not "ignored", and one that was told already is no news.

Celery writes one line for whatever a task raises. ``Ignore`` is how a task leaves its slot (its request waits in its
lane), ``Reject`` how its message goes back to its queue; the lines of those, and of no other task's, are put right by a
filter on Celery's own logger.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.exceptions import Ignore, Reject

CELERYS_LOGGER = "celery.app.trace"


class Waits(Ignore):
    """The task waits in its lane, and is completed by whoever applies its event."""

    def __repr__(self) -> str:
        return f"{_WAITS}{self}"


class Told(Ignore):
    """The task has its end already, or is given it in another way: nothing is left to say."""

    def __repr__(self) -> str:
        return _TOLD


class GoesBack(Reject):
    """The task's message goes back to its queue, which was said already."""

    def __repr__(self) -> str:
        return _TOLD


_WAITS = "kato_tasks waits "
_TOLD = "kato_tasks was told"


def waits_where(session: str, place: dict[str, Any] | Any, kind: str) -> str:
    """What a task waits for, as its log line says it; ``kind`` is its event's type."""
    position = int(place["position"] or 0)
    if position:
        return f"at position {position} of session {session!r}"
    if place.get("due"):
        return f"for its time in session {session!r}"
    return f"for its turn in session {session!r} ({kind})"


class OurTasksLines(logging.Filter):
    """On Celery's logger of tasks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the line of a waiting task right; False: this line is not written."""
        said = record.args if isinstance(record.args, dict) else {}
        how = str(said.get("exc", ""))
        if how == _TOLD:
            return False
        if how.startswith(_WAITS):
            record.msg = "Task %(name)s[%(id)s] waits %(where)s"
            record.args = {**said, "description": "waiting", "where": how.removeprefix(_WAITS)}
        return True


def put_lines_right() -> None:
    """Once in each worker; a pool process that is forked has it, too."""
    logger = logging.getLogger(CELERYS_LOGGER)
    if not any(isinstance(one, OurTasksLines) for one in logger.filters):
        logger.addFilter(OurTasksLines())
