"""Read when a call is due and when it expires: Celery's ``countdown``, ``eta`` and ``expires``, in ms."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.known_names import shown
from kato_tasks.errors import (
    InvalidEvent,
)


def expires_ms(expires: Any) -> int:
    """Return when a task expires, in ms since 1970, or 0 if it never does.

    ``expires`` is in seconds from now, or a datetime or ISO 8601 text. Raises InvalidEvent, which names the field.
    """
    if expires is None:
        return 0
    if isinstance(expires, int | float) and math.isfinite(expires):
        return int((time.time() + expires) * 1000)
    return due_ms_of(None, expires, "expires") or 0


def due_ms_of(countdown: Any, eta: Any, name: str = "eta") -> int | None:
    """Return when a call is due in ms since 1970, or None for at once.

    ``countdown`` is in seconds; ``eta`` is a datetime or ISO 8601 text, in UTC where it names no zone. Raises
    InvalidEvent, which names the field ``countdown`` or ``name``.
    """
    if countdown is not None:
        if isinstance(countdown, bool) or not isinstance(countdown, int | float) or not math.isfinite(countdown):
            raise InvalidEvent("countdown", f"must be a number of seconds, not {shown(countdown)}")
        return int((time.time() + float(countdown)) * 1000) if countdown > 0 else None
    if eta is None:
        return None
    try:
        when = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    except ValueError:
        when = None
    if not isinstance(when, datetime):
        raise InvalidEvent(name, f"must be a datetime or ISO 8601 text, not {shown(eta)}")
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)
