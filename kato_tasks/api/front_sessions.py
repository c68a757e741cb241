"""Make, find and change sessions as a client of KATO's own API knows them. Protocols: they do no I/O themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kato_tasks.domain.front_session import FrontSession, config_text
from kato_tasks.domain.ids import lane_of, node_id_of
from kato_tasks.engine.append import AppendProtocol
from kato_tasks.engine.store_protocol import StoreProtocol
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.front_sessions import FindFrontSession, FrontState, KeepFrontSession


@dataclass(frozen=True, slots=True)
class FoundSession:
    """A session that exists: its id, its node as KATO is told it, what its client made it with, and how it stands."""

    session_id: str
    node: str
    front: FrontSession
    state: FrontState

    @property
    def node_id(self) -> str:
        """The node as the client named it."""
        return node_id_of(self.session_id, self.node)

    @property
    def lane(self) -> str:
        """The lane of the session."""
        return lane_of(self.node)


def find_session(protocol: AppendProtocol, session_id: str) -> StoreProtocol[FoundSession | None]:
    """Return a session that was made or has had an event, or None. Raises StoreUnavailable and UnreadableRow."""
    node = yield from protocol.node_of(session_id)
    if node is None:
        return None
    (state,) = raise_errors((yield [FindFrontSession(lane_of(node), session_id)]))
    if state is None:
        return None
    return FoundSession(session_id, node, FrontSession.load(state.row) if state.row else FrontSession(), state)


def make_session(
    protocol: AppendProtocol, session_id: str, node_id: str | None, front: FrontSession
) -> StoreProtocol[str]:
    """Make a session on a node (None: one of its own), and return the node as KATO is told it.

    A session that is there stays as it is. Raises NodeConflict where it belongs to another node, and StoreUnavailable.
    """
    node = yield from protocol.node_for(session_id, node_id)
    config = config_text(front.kato_config())
    raise_errors((yield [KeepFrontSession(lane_of(node), session_id, node, front.dump(), config)]))
    return node


def change_session(
    protocol: AppendProtocol, found: FoundSession, change: Callable[[FrontSession], FrontSession]
) -> StoreProtocol[FrontSession | None]:
    """Change what is kept of a session, and return it; None if the session was forgotten meanwhile.

    ``change`` is asked again where another client changed the session at the same time.
    """
    current: FoundSession | None = found
    while current is not None:
        after = change(current.front)
        keep = KeepFrontSession(
            current.lane,
            current.session_id,
            current.node,
            after.dump(),
            config_text(after.kato_config()),
            current.state.row,
        )
        (kept,) = raise_errors((yield [keep]))
        if kept:
            return after
        current = yield from find_session(protocol, found.session_id)
    return None


__all__ = ["FoundSession", "change_session", "find_session", "make_session"]
