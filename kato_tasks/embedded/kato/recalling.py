"""Read back what was written down, so that a KATO has the state that it had before its process ended."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from kato_tasks.embedded.kato.kato import Kato
from kato_tasks.embedded.kato.keeping import Keeper
from kato_tasks.embedded.kato.kept_file import KeptFile
from kato_tasks.embedded.kato.patterns import Fixed, Pattern
from kato_tasks.embedded.kato.sessions import Percept, Session
from kato_tasks.kato_wire.bodies import Observation


def recall(directory: Path, kato: Kato) -> Keeper:
    """Fill ``kato``, which must be new, with the state that ``directory`` holds.

    Returns the keeper that writes down its changes there from now on. Raises Unusable.
    """
    file = KeptFile(directory)
    try:
        try:
            sessions = _sessions(file.connection, kato)
            _patterns(file.connection, kato)
            _vectors(file.connection, kato)
            file.accept()
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as exc:
            raise file.damaged(exc) from None
        keeper = Keeper(file)
        keeper.begin(sessions, kato)
    except BaseException:
        file.close()
        raise
    if kato.sessions.changes is not None:
        # Nothing that was read back counts as changed. Dropping the sessions that expired meanwhile is a change.
        kato.sessions.changes.clear()
    for node in kato.sessions.nodes():
        if not node.sessions and not node.patterns:
            kato.sessions.forget_node(node)
    for session, _, _ in sessions:
        if session.kept_until <= time.time():
            kato.sessions.drop(session)
    return keeper


def _sessions(db: sqlite3.Connection, kato: Kato) -> list[tuple[Session, int, int]]:
    lists: dict[int, list[list[Any]]] = {}
    pieces: dict[int, int] = {}
    for number, piece, body in db.execute("SELECT session, piece, body FROM observed ORDER BY session, piece"):
        stm, emotives, said = json.loads(body)
        whole = lists.setdefault(number, [[], [], []])
        for kept, added in zip(whole, (stm, emotives, said), strict=True):
            kept.extend(added)
        pieces[number] = piece + 1
    found = []
    for number, made, state in db.execute("SELECT number, made, state FROM sessions ORDER BY number"):
        session_id, node_id, created, ttl, metadata = json.loads(made)
        now, expires, kept_until, config, predictions, last, lengths = json.loads(state)
        session = kato.sessions.begin(node_id, ttl=ttl, config=config, metadata=metadata)
        session.id, session.created = session_id, created
        session.time, session.expires, session.kept_until = now, expires, kept_until
        session.predictions = predictions
        stm, emotives, said = (
            _newest(each, length) for each, length in zip(lists.get(number, [[], [], []]), lengths[:3], strict=True)
        )
        session.stm, session.said = stm, said
        session.emotives = emotives
        if last is not None:
            session.percept = Percept(Observation(*last), emotives)
            session.emotives = _newest(emotives, lengths[3])
        kato.sessions.enter(session)
        found.append((session, number, pieces.get(number, 0)))
    return found


def _newest(each: list[Any], length: int) -> list[Any]:
    if len(each) < length:
        raise ValueError("observations are missing")
    return each[len(each) - length :]


def _patterns(db: sqlite3.Connection, kato: Kato) -> None:
    for node, learned in db.execute("SELECT node, patterns FROM nodes"):
        kato.sessions.made_node(json.loads(node)).patterns.statistics.patterns = learned
    rows = db.execute("SELECT node, name, count, events, emotives, metadata, fixed FROM patterns ORDER BY number")
    for node, name, count, events, emotives, metadata, fixed in rows:
        pattern = None
        if events is not None:
            pattern = Pattern(json.loads(name), json.loads(events))
            pattern.emotives = json.loads(emotives) if emotives else []
            pattern.metadata = json.loads(metadata) if metadata else {}
            if fixed is not None:
                spread, shares = json.loads(fixed)
                pattern.fixed = Fixed(tuple(spread), shares)
        kato.sessions.made_node(json.loads(node)).patterns.recall(json.loads(name), count, pattern)
    for node, quoted, members, occurrences, affinities in db.execute("SELECT * FROM symbols"):
        symbol = json.loads(quoted)
        statistics = kato.sessions.made_node(json.loads(node)).patterns.statistics
        statistics.occurrences[symbol] = occurrences
        if members:
            statistics.members[symbol] = members
        if affinities is not None:
            statistics.affinities[symbol] = json.loads(affinities)


def _vectors(db: sqlite3.Connection, kato: Kato) -> None:
    sizes = dict(db.execute("SELECT node, vector_size FROM nodes WHERE vector_size IS NOT NULL"))
    kept: dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]] = {node: ({}, {}) for node in sizes}
    for node, learned, name, body in db.execute("SELECT node, learned, name, body FROM vectors ORDER BY number"):
        kept.setdefault(node, ({}, {}))[0 if learned else 1][json.loads(name)] = json.loads(body)
    for node, (learned_ones, waiting) in kept.items():
        kato.brain.vectors.of(json.loads(node)).recall(learned_ones, waiting, sizes.get(node))
