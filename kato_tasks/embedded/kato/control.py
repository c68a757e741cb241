"""Answer the routes beside KATO's own, under ``/_embedded/``: they tell what happened, and make faults on demand."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.faults import Faults
from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.recalling import recall
from kato_tasks.embedded.kato.routes import NAMES
from kato_tasks.embedded.kato.traffic import Traffic
from kato_tasks.kato_wire.answers import Answer, bad_request, not_allowed, not_found, ok
from kato_tasks.kato_wire.names import sanitised

PREFIX = "/_embedded/"


class State:
    """Holds everything that one embedded KATO knows."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._changes = Changes() if options.data is not None else None
        self.kato = Kato(options, self._changes)
        self._keeper = recall(options.data, self.kato) if options.data is not None else None
        self.faults = Faults()
        self.traffic = Traffic(lambda: self.kato.sessions)
        self.requests: dict[str, int] = {}

    def reset(self) -> None:
        """Return to the state of a new start: no session, no pattern, no rule, and all counts at 0."""
        self.kato.sessions.lose_all()
        self.kato = Kato(self.options, self._changes)
        self.faults = Faults()
        self.traffic.reset()
        self.requests = {}

    def keep(self) -> bool:
        """Write down what has changed, if a directory keeps it.

        Returns False if that failed. The caller must then answer with an error instead of the result.
        """
        if self._keeper is None or self._changes is None:
            return True
        return not self._changes or self._keeper.keep(self.kato, self._changes)

    def close(self) -> None:
        """Stop keeping anything, and free the directory for another KATO."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def stats(self) -> dict[str, Any]:
        """Return what ``GET /_embedded/stats`` answers."""
        return {
            "overlaps": self.traffic.overlaps,
            "overlapped": list(self.traffic.overlapped),
            "late_landings": self.traffic.late_landings,
            "late_refused": self.traffic.late_refused,
            "in_flight": self.traffic.in_flight,
            "max_in_flight": self.traffic.max_in_flight,
            "observes": self.kato.brain.observes,
            "learns": self.kato.brain.learns,
            "predictions": self.kato.brain.predictions,
            "sessions_created": self.kato.sessions.created,
            "sessions_live": self.kato.sessions.live(),
            "requests": self.requests,
            "faults": self.faults.counts,
        }


def answer(state: State, request: Request) -> Answer:
    """Answer one request whose path begins with ``PREFIX``."""
    asked = parse_qs(request.query.decode("latin-1"), encoding="utf-8")
    given = {name: values[0] for name, values in asked.items()}
    name, _, rest = request.path.removeprefix(PREFIX).partition("/")
    match request.method, name:
        case "GET", "stats":
            return ok(state.stats())
        case "POST", "reset":
            state.reset()
            return ok({"status": "reset"})
        case "GET", "sessions":
            return _session(state, rest)
        case "GET", "patterns":
            return _patterns(state, given.get("node", ""))
        case "GET", "journal":
            return _journal(state, given.get("node", ""))
        case "GET" | "POST" | "DELETE", "faults":
            return _faults(state, request)
        case _, "stats" | "reset" | "sessions" | "patterns" | "journal" | "faults":
            return not_allowed()
    return not_found()


def _session(state: State, session_id: str) -> Answer:
    session = state.kato.sessions.peek(session_id)
    if session is None:
        return not_found()
    shown = {
        "node": session.node.key,
        "node_id": session.node_id,
        "time": session.time,
        "stm": session.stm,
        "applied": list(session.history),
        "alive": session.alive,
        "expires": session.ends,
    }
    # The answer is ASCII, so that a lone surrogate can be read back too.
    return Answer(200, json.dumps(shown).encode())


def _patterns(state: State, node_id: str) -> Answer:
    node = state.kato.sessions.node(sanitised(node_id))
    shown = {}
    if node is not None:
        state.kato.brain.show(node)
        shown = {
            name: {
                "frequency": node.patterns.counts.get(name, 0),
                "data": node.patterns.visible[name].events if name in node.patterns.visible else None,
            }
            for name in {**node.patterns.counts, **node.patterns.visible}
        }
    return Answer(200, json.dumps(shown).encode())


def _journal(state: State, node_id: str) -> Answer:
    if not state.options.journal:
        return bad_request("no journal is kept; start with --journal")
    node = state.kato.sessions.node(sanitised(node_id))
    entries = list(node.journal or ()) if node is not None else []
    return ok(
        {
            "node": sanitised(node_id),
            "applied": [unique_id for _, unique_id in entries],
            "sessions": [session_id for session_id, _ in entries],
            "dropped": node.journal_dropped if node is not None else 0,
        }
    )


def _faults(state: State, request: Request) -> Answer:
    if request.method == "DELETE":
        state.faults.clear()
    elif request.method == "POST":
        try:
            state.faults.set(json.loads(request.body), NAMES)
        except ValueError as exc:
            return bad_request(str(exc))
    return ok({"rules": [rule.shown() for rule in state.faults.rules], "seed": state.faults.seed})
