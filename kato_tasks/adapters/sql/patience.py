"""Stop waiting for a PostgreSQL that is connected and says nothing: a machine that hangs, a process that was stopped.

Its kernel still acknowledges what is sent, so no timeout of TCP runs out, and its own statement timeout stands still.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def cut_after(driver: Any, seconds: float) -> Iterator[None]:
    """Shut psycopg's connection ``driver`` down if the body takes longer, which ends the wait with an error."""
    watched = socket.socket(fileno=os.dup(driver.pgconn.socket))
    timer = threading.Timer(seconds, _shut, (watched,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        watched.close()


def _shut(watched: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed at this moment
        watched.shutdown(socket.SHUT_RDWR)


__all__ = ["cut_after"]
