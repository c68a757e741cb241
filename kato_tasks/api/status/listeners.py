"""Find the listeners that gave a sign of life lately, and say what is wrong with those of one machine."""

from __future__ import annotations

import socket

from kato_tasks.api.status.presence import ListenerStatus, presence_of
from kato_tasks.bootstrap import Runtime


def read_listeners(rt: Runtime) -> list[ListenerStatus]:
    """Return all listeners, those that are gone last. Raises StoreUnavailable."""
    return presence_of(rt.figures.whole([], 0), rt.settings.shards).listeners


def listener_problem(rt: Runtime, source: str, within: float) -> str | None:
    """Return what is wrong with this machine's listeners of a source, or None if each goes on.

    ``source`` is a part of the source's name ('': of any). A listener gives a sign with each of its steps, also while
    it stands by or has nothing to read, so one that hangs is missed after ``within`` seconds. Raises StoreUnavailable.
    """
    host = socket.gethostname()
    mine = [one for one in read_listeners(rt) if one.host == host and source in one.source]
    live = [one for one in mine if one.sign_seconds <= within]
    if live:
        return None
    what = f"listener of {source}" if source else "listener"
    if not mine:
        return f"no {what} runs on this machine; start one with kato-tasks listen"
    last = min(mine, key=lambda one: one.sign_seconds)
    return f"the {what} with pid {last.pid} made its last step {last.sign_seconds:.0f} s ago; start it again"


__all__ = ["listener_problem", "read_listeners"]
