"""The port `DeadLetters`."""

from __future__ import annotations

import json
from typing import Any

from kato_tasks import ports
from kato_tasks.domain.ids import lane_of
from tests.contract.store.pieces import Pieces


def letter(session: str, node: str, position: int | None, last_ms: int = 2, **more: Any) -> str:
    event = {"event_id": f"{session}-{position}", "session_id": session}
    kept = {"session_id": session, "node_id": node, "lane": lane_of(node), "position": position, "event": event}
    return json.dumps({**kept, "reason": "refused", "attempts": 3, "first_ms": 1, "last_ms": last_ms, **more})


def test_a_letter_has_all_that_was_kept_of_it(pieces: Pieces) -> None:
    assert list(pieces.dead_letters.rows()) == []
    pieces.bury("n", "kept", letter("a", "n", 4, last_answer="422"))
    (row,) = pieces.dead_letters.rows()
    assert (row.kept_as, row.session, row.node, row.lane, row.position) == ("kept", "a", "n", lane_of("n"), 4)
    assert (row.reason, row.last_answer, row.attempts, row.first_ms, row.last_ms) == ("refused", "422", 3, 1, 2)
    assert row.event == {"event_id": "a-4", "session_id": "a"}


def test_a_letter_of_an_event_that_was_in_the_log_has_that_event(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    work = pieces.log.taken("n", "token")
    entry = work.entries[0]
    raw = "\n".join((f"{entry.kind}0s", entry.event_id, entry.head, entry.body))
    kept = json.loads(letter("a", "n", 1))
    del kept["event"]
    pieces.bury("n", "kept", json.dumps({**kept, "raw": raw}))
    (row,) = pieces.dead_letters.rows()
    assert row.event["observation"]["strings"] == ["x"]
    assert row.last_answer == ""


def test_a_sessions_letters_come_in_the_order_of_their_positions(pieces: Pieces) -> None:
    for position in (7, 3, 11, None):
        pieces.bury("n", f"a{position}", letter("a", "n", position))
    pieces.bury("m", "b", letter("b", "m", 1))
    assert [row.position for row in pieces.dead_letters.rows() if row.session == "a"] == [None, 3, 7, 11]


def test_many_letters_of_many_nodes_are_all_read_and_one_that_was_dropped_is_not(pieces: Pieces) -> None:
    for i in range(200):
        pieces.bury(f"n{i % 9}", f"kept {i}", letter(f"s{i}", f"n{i % 9}", 1))
    pieces.log.do(ports.DropDeadLetter(lane_of("n3"), "kept 3"))
    assert {row.kept_as for row in pieces.dead_letters.rows()} == {f"kept {i}" for i in range(200) if i != 3}
