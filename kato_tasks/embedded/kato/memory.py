"""Answer KATO's routes that observe, learn, predict, and read back."""

from __future__ import annotations

import time
from typing import Any

from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.sessions import Session
from kato_tasks.embedded.kato.weighing import fix_figures
from kato_tasks.kato_wire.answers import Answer, BadRequest, ServerError, ok, quote, text_of
from kato_tasks.kato_wire.bodies import read_observation, read_sequence
from kato_tasks.kato_wire.names import processor_id, sanitised


def observe(kato: Kato, session: Session, request: Request) -> Answer:
    """Apply one observation, and answer with the length of the short-term memory."""
    length, now, unique_id, learned = kato.brain.observe(session, read_observation(request.body, request.content_type))
    return Answer(
        200,
        (
            f'{{"status":"okay","session_id":"{session.id}","processor_id":{session.node_text}'
            f',"stm_length":{length},"time":{now},"unique_id":"{unique_id}"'
            f',"auto_learned_pattern":{_quoted(learned)}}}'
        ).encode(),
    )


def observe_sequence(kato: Kato, session: Session, request: Request) -> Answer:
    """Apply a sequence of observations, and answer with the result of each."""
    sequence = read_sequence(request.body, request.content_type)
    before = len(session.stm)
    results, learned, final = kato.brain.sequence(session, sequence)
    after = results[-1][0] if results and final is None else before if not results else 0
    rows = ",".join(
        [
            f'{{"status":"okay","sequence_position":{index},"stm_length":{length},"time":{now}'
            f',"unique_id":{quote(unique_id)},"auto_learned_pattern":{_quoted(auto)}}}'
            for index, (length, now, unique_id, auto) in enumerate(results)
        ]
    )
    return Answer(
        200,
        (
            f'{{"status":"completed","processor_id":{session.node_text}'
            f',"observations_processed":{len(results)},"initial_stm_length":{before}'
            f',"final_stm_length":{after},"results":[{rows}]'
            f',"auto_learned_patterns":{text_of(learned)},"final_learned_pattern":{_quoted(final)}'
            f',"isolated":{"true" if sequence.clear_stm_between else "false"}}}'
        ).encode(),
    )


def stm(_kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with the session's short-term memory."""
    return ok({"stm": session.stm, "session_id": session.id, "length": len(session.stm)})


def learn(kato: Kato, session: Session, _request: Request) -> Answer:
    """Learn the short-term memory as a pattern. Raises ``BadRequest`` if it is empty."""
    if not session.stm:
        raise BadRequest("Cannot learn from empty STM")
    name = kato.brain.learn(session)
    return ok(
        {
            "status": "learned",
            "pattern_name": name,
            "session_id": session.id,
            "processor_id": None,
            # KATO counts the events after it has cleared them, so its message always says 0.
            "message": f"Learned pattern {name} from 0 events",
        }
    )


def finalize_training(kato: Kato, session: Session, _request: Request) -> Answer:
    """Compute the figures of all the node's patterns. Raises ``ServerError`` if ClickHouse is down."""
    _refuse_quoted_node(session)
    if not kato.brain.clickhouse_up:
        raise ServerError("ClickHouse is down")
    started = time.perf_counter()
    kato.brain.show(session.node, everything=True)
    count = fix_figures(session.node.patterns)
    kato.brain.note_patterns(session.node)
    took = round((time.perf_counter() - started) * 1000, 2)
    return ok(
        {
            "status": "completed",
            "patterns_processed": count,
            "time_ms": took,
            "session_id": session.id,
            "node_id": session.node_id,
            "message": f"Computed Shannon entropy and TF vectors for {count} patterns in {took}ms",
        }
    )


def clear_stm(kato: Kato, session: Session, _request: Request) -> Answer:
    """Clear the session's short-term memory."""
    kato.brain.clear(session)
    return ok({"status": "cleared", "session_id": session.id})


def clear_all(kato: Kato, session: Session, _request: Request) -> Answer:
    """Forget the node's patterns, and clear the session's short-term memory."""
    _refuse_quoted_node(session)
    if kato.brain.saving:
        kato.brain.forget(session.node)
    kato.brain.clear(session)
    return ok({"status": "cleared", "session_id": session.id, "scope": "all"})


def predictions(kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with what KATO predicts for the session."""
    predicted = kato.brain.predict(session)
    return Answer(
        200,
        (
            f'{{"predictions":{predicted.predictions},"future_potentials":{predicted.futures}'
            f',"session_id":"{session.id}","processor_id":null,"count":{predicted.number}'
            f',"time":null,"unique_id":null}}'
        ).encode(),
    )


def cognition_data(kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with the session's last predictions and its state."""
    kato.brain.vectors.of(session.node.key)
    rest = {
        "emotives": session.emotives[-1] if session.emotives else {},
        "symbols": [symbol for event in session.stm for symbol in event],
        "command": "",
        "metadata": {},
        "path": [],
        "strings": [],
        "vectors": [],
        "short_term_memory": session.stm,
        "time": session.time,
    }
    return Answer(
        200,
        (
            f'{{"cognition_data":{{"predictions":{session.predictions},{text_of(rest)[1:]}'
            f',"session_id":"{session.id}","node_id":{session.node_text}}}'
        ).encode(),
    )


def percept_data(_kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with the session's last observation."""
    percept = session.percept.shown() if session.percept else {}
    return ok({"percept_data": percept, "session_id": session.id, "node_id": session.node_id})


def pattern(kato: Kato, name: str, request: Request) -> Answer:
    """Answer with one pattern of a node. KATO answers 200 also for an unknown pattern, and while ClickHouse is down."""
    node_id = request.asked("node_id")
    node_id = "default_node" if node_id is None else node_id
    key = sanitised(node_id)
    node = kato.sessions.node(key)
    kato.brain.vectors.of(key)
    shown: dict[str, Any] = {"status": "error", "message": f"Pattern {name} not found"}
    # A quote breaks the query, and KATO treats that as a query that found no row.
    if node is not None and kato.brain.clickhouse_up and "'" not in key:
        kato.brain.show(node)
        pattern = node.patterns.visible.get(name if name.startswith("PTRN|") else f"PTRN|{name}")
        if pattern is not None:
            shown = {
                "status": "okay",
                "pattern": {
                    "name": pattern.name,
                    "pattern_data": pattern.events,
                    "length": len(pattern.symbols),
                    "frequency": node.patterns.frequency(pattern),
                    "emotives": pattern.emotives,
                    "metadata": pattern.metadata,
                },
            }
    return ok({"pattern": shown, "node_id": processor_id(node_id)})


def _refuse_quoted_node(session: Session) -> None:
    if "'" in session.node.key:
        raise ServerError("the node's name goes into SQL as it is")


def _quoted(name: str | None) -> str:
    return "null" if name is None else f'"{name}"'
