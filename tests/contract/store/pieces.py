"""The reading ports of one store, and what fills it: all in the words of the ports, whatever stands behind them."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.dead_letters import RedisDeadLetters
from kato_tasks.adapters.redis.figures import RedisFigures
from kato_tasks.adapters.redis.import_checkpoints import RedisImports
from kato_tasks.adapters.redis.sessions import RedisSessions
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.wakeup_marks import WakeupMarks
from kato_tasks.ports.dead_letters import DeadLetters
from kato_tasks.ports.figures import Figures
from kato_tasks.ports.imports import Imports
from kato_tasks.ports.sessions import SessionRow, Sessions
from tests.contract.store.log import Log, binding, new_token

SHARDS = 16


@dataclass(frozen=True)
class Pieces:
    """What a process builds on one store."""

    log: Log
    mailbox: Mailbox
    sessions: Sessions
    dead_letters: DeadLetters
    figures: Figures
    imports: Imports
    marks: WakeupMarks

    def append(self, session: str, *strings: str, node: str | None = None, first: int = 1) -> None:
        """Append an event for each string, `e1`, `e2`, … by their ids, and make the session if it is new."""
        events = [
            {"event_id": f"e{i}", "session_id": session, "node_id": node, "observation": {"strings": [text]}}
            for i, text in enumerate(strings, first)
        ]
        self.mailbox.append([entry_of(parse_event(event), event_id=str(event["event_id"])) for event in events])

    def row(self, session: str) -> SessionRow:
        """How a known session stands."""
        node = self.sessions.node_of(session)
        assert node is not None
        (row,) = self.sessions.read({session: node})
        return row

    def park(self, session: str, why: str) -> None:
        self.log.do(ports.ParkByHand(self.sessions.lane_of(session), session, why))

    def fail(self, node: str, error: str, *, wait_ms: int = 60_000) -> ports.Work:
        """Take up a lane of one session, and let its first try fail."""
        token = new_token()
        work = self.log.taken(node, token)
        held = self.log.held(node, token)
        self.log.do(ports.Defer(held, work.session, wait_ms, 1, 0, error, go_on=False))
        return work

    def lose(self, node: str) -> None:
        """Apply what is due, and say that KATO lost the node's patterns."""
        token = new_token()
        work = self.log.taken(node, token)
        held = self.log.held(node, token)
        self.log.intent(held, work, "call")
        self.log.do(ports.Bind(held, work.session, work.cursor, binding(node), closes_call="call", ltm_lost=True))
        self.log.commit(held, work, go_on=False)

    def bury(self, node: str, kept_as: str, letter: str) -> None:
        self.log.do(ports.KeepDeadLetter(lane_of(node), kept_as, letter))


def pieces_of(client: redis.Redis) -> Pieces:
    """The pieces on Redis; another store has a function of its own, and passes the same suite."""
    log = Log(client)
    return Pieces(
        log=log,
        mailbox=Mailbox(log.store),
        sessions=RedisSessions(log.store),
        dead_letters=RedisDeadLetters(client),
        figures=RedisFigures(client),
        imports=RedisImports(client),
        marks=WakeupMarks(log.store, SHARDS),
    )
