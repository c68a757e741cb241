"""How often each reading port goes to Redis: what its method's words promise, however much there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from kato_tasks import ports
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from tests.contract.store.log import observation
from tests.contract.store.pieces import Pieces

NODES = {f"s{i}": f"n{i % 40}" for i in range(120)}
ALL = range(PARTITIONS)
LETTER = json.dumps(
    {
        "session_id": "s",
        "node_id": "",
        "lane": "",
        "reason": "",
        "attempts": 0,
        "first_ms": 1,
        "last_ms": 1,
        "event": {},
    }
)
AGES = {"overdue_ms": 1, "owed_ms": 1, "unseen_ms": 1, "ahead_ms": 1}
CALLS: dict[str, tuple[int, Callable[[Pieces], Any]]] = {
    "nodes": (1, lambda p: p.sessions.nodes(NODES)),
    "lane_of": (1, lambda p: p.sessions.lane_of("s1")),
    "read": (2, lambda p: p.sessions.read(NODES)),
    "backlogs": (1, lambda p: p.sessions.backlogs(NODES)),
    "last_event_times": (1, lambda p: p.sessions.last_event_times(NODES)),
    "events": (1, lambda p: p.sessions.events("s1", "n1")),
    "heads": (1, lambda p: p.sessions.heads(NODES)),
    "read_lane": (1, lambda p: p.log.do(ports.ReadLane("n1", 0, 10))),
    "append": (1, lambda p: p.mailbox.append([observation("s1", "again")])),
    "append at a position": (1, lambda p: p.mailbox.append([observation("s1", "again")], expected=1)),
    "parked": (1, lambda p: p.sessions.parked()),
    "pages": (PARTITIONS, lambda p: list(p.sessions.pages())),
    "dead letters": (PARTITIONS, lambda p: list(p.dead_letters.rows())),
    "partitions": (1, lambda p: p.figures.partitions()),
    "sweep": (2, lambda p: p.figures.sweep(**AGES)),
    "waiting": (1, lambda p: p.figures.waiting(ALL, frozenset(ALL), ALL, 20)),
    "errors_of": (1, lambda p: p.figures.errors_of([(partition, "s1") for partition in ALL])),
    "whole": (1, lambda p: p.figures.whole(ALL, 3)),
    "acknowledged_losses": (1, lambda p: p.figures.acknowledged_losses(ALL, 10)),
    "lost_lanes": (1, lambda p: p.figures.lost_lanes()),
    "marks": (1, lambda p: p.marks.set(ALL)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_as_many_round_trips_as_it_says(
    name: str, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session, node in NODES.items():
        pieces.append(session, "x", node=node)
    pieces.park("s1", "{}")
    for i in range(40):
        pieces.bury(f"n{i}", f"kept {i}", LETTER)
        pieces.log.do(ports.AcknowledgeLost(partition_of(lane_of(f"n{i}")), (lane_of(f"n{i}"),), "{}"))
    pieces.append("applied", "x", node="n1")
    assert pieces.log.drained("n1")
    expected, call = CALLS[name]
    sent = 0
    send: Callable[..., Any] = redis.connection.AbstractConnection.send_packed_command

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal sent
        sent += 1
        return send(self, *args, **kwargs)

    call(pieces)  # the server has every script now
    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)
    call(pieces)
    assert sent == expected
