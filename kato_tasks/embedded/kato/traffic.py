"""Watch the calls in flight. No client may have two calls at once on one node.

A call is in flight from the arrival of its whole request until its answer is written. Two calls overlap
when the second arrives while the first one's caller still waits, both on live sessions of one node.
A call whose client has gone does not overlap with another. It lands late, and is counted as such.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from kato_tasks.embedded.kato.sessions import Session, Sessions

# A client that gives up closes its connection and then sends on another one; the server may read
# both in either order when they come in together.
SAME_MOMENT = 0.05


class Connection(Protocol):
    """Describes what a call needs from its connection."""

    def abort(self) -> None:
        """Close the connection at once. Data that was not sent yet is dropped."""

    def close(self) -> None:
        """Close the connection once everything that was written has been sent."""


class Call:
    """Represents one call in flight."""

    __slots__ = ("arrived", "connection", "done", "gone_at", "path", "rivals", "session")

    def __init__(self, path: str, session: Session | None, connection: Connection | None) -> None:
        self.path = path
        self.session = session
        self.connection = connection
        self.arrived = time.monotonic()
        self.gone_at: float | None = None
        self.done = False
        self.rivals: list[Call] | None = None


class Traffic:
    """Counts overlaps, late landings and calls in flight."""

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self._sessions = sessions
        self._by_node: dict[str, list[Call]] = {}
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Start counting again; calls in flight stay known."""
        self.overlapped: deque[str] = deque(maxlen=20)
        self.overlaps = self.late_landings = self.late_refused = 0
        self.max_in_flight = self.in_flight

    def arrive(self, path: str, connection: Connection | None) -> Call:
        """Note that a whole request for ``path`` has arrived, and return its call."""
        session = None
        if path.startswith("/sessions/"):
            end = path.find("/", 10)
            session = self._sessions().peek_live(path[10:] if end < 0 else path[10:end])
        call = Call(path, session, connection)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if session is not None:
            others = self._by_node.get(session.node.key)
            if others is None:
                self._by_node[session.node.key] = [call]
            else:
                for other in others:
                    if other.rivals is None:
                        other.rivals = [call]
                    else:
                        other.rivals.append(call)
                others.append(call)
        return call

    def leave(self, call: Call) -> None:
        """Note that the client of ``call`` has closed its connection, or was cut off."""
        if call.done or call.gone_at is not None:
            return
        call.gone_at = time.monotonic()
        self._settle(call)

    def finish(self, call: Call) -> None:
        """Note that the answer of ``call`` is about to be written, or that its client is gone."""
        if call.done:
            return
        call.done = True
        self.in_flight -= 1
        if call.gone_at is None:
            self._settle(call)

    def landed(self, call: Call, *, applied: bool) -> None:
        """Note a changing call that was carried out after its client had gone."""
        if call.gone_at is not None:
            if applied:
                self.late_landings += 1
            else:
                self.late_refused += 1

    def _settle(self, call: Call) -> None:
        if call.session is None:
            return
        key = call.session.node.key
        others = self._by_node[key]
        others.remove(call)
        if not others:
            del self._by_node[key]
        for rival in call.rivals or ():
            waited = call.gone_at is None or call.gone_at - rival.arrived > SAME_MOMENT
            live = call.session.alive and rival.session is not None and rival.session.alive
            if waited and live:
                self.overlaps += 1
                self.overlapped.append(_met(call, rival))
        call.rivals = None


def _met(call: Call, rival: Call) -> str:
    """Describe an overlap: the two paths, and how the times of the two calls relate."""
    node = call.session.node.key if call.session is not None else ""
    later = rival.arrived - call.arrived
    waits = time.monotonic() - call.arrived
    end = "its caller left" if call.gone_at is not None else "it was answered"
    when = f"{end} after {waits:.3f} s, {datetime.now(UTC):%H:%M:%S}"
    return f"{node}: {call.path} met {rival.path} after {later:.3f} s; {when}"
