"""Which of KATO's routes a request is for, and what carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kato_tasks.embedded.kato import lifecycle, memory
from kato_tasks.embedded.kato.answers import (
    Answer,
    BadRequest,
    Invalid,
    ServerError,
    bad_request,
    gone,
    invalid,
    not_allowed,
    not_found,
    ok,
    server_error,
)
from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.sessions import Session


class Route(NamedTuple):
    """A call on a session: its name, what carries it out, and whether it changes anything."""

    name: str
    handler: Callable[[Kato, Session, Request], Answer]
    changes: bool


class Found(NamedTuple):
    """A request that has a route; `carry_out` may be called later, and looks its session up only then."""

    name: str
    changes: bool
    session_id: str
    carry_out: Callable[[Kato], Answer]


_ON_SESSION: dict[tuple[str, str], Route] = {
    ("GET", ""): Route("get", lifecycle.get, False),
    ("DELETE", ""): Route("delete", lifecycle.delete, True),
    ("GET", "config"): Route("config", lifecycle.read_configuration, False),
    ("POST", "config"): Route("config", lifecycle.configure, True),
    ("POST", "extend"): Route("extend", lifecycle.extend, True),
    ("POST", "observe"): Route("observe", memory.observe, True),
    ("POST", "observe-sequence"): Route("observe-sequence", memory.observe_sequence, True),
    ("GET", "stm"): Route("stm", memory.stm, False),
    ("POST", "learn"): Route("learn", memory.learn, True),
    ("POST", "finalize-training"): Route("finalize-training", memory.finalize_training, True),
    ("POST", "clear-stm"): Route("clear-stm", memory.clear_stm, True),
    ("POST", "clear-all"): Route("clear-all", memory.clear_all, True),
    ("GET", "predictions"): Route("predictions", memory.predictions, False),
    ("GET", "cognition-data"): Route("cognition-data", memory.cognition_data, False),
    ("GET", "percept-data"): Route("percept-data", memory.percept_data, False),
}
_ACTIONS = frozenset(action for _, action in _ON_SESSION) | {"exists"}
NAMES = frozenset(route.name for route in _ON_SESSION.values()) | {"create", "exists", "pattern", "health"}


def find(request: Request) -> Found | Answer:
    """The route of `request`, or KATO's answer to one that has none."""
    parts = request.path.split("/")
    if parts[1] == "sessions":
        return _session_route(request, parts)
    if parts[1] == "pattern" and len(parts) == 3 and request.method == "GET":
        name = parts[2]
        return Found("pattern", False, "", lambda kato: _guarded(lambda: memory.pattern(kato, name, request)))
    if request.path == "/health" and request.method == "GET":
        return Found("health", False, "", _health)
    return not_found()


def _session_route(request: Request, parts: list[str]) -> Found | Answer:
    if len(parts) == 2:
        if request.method != "POST":
            return not_allowed()
        return Found("create", True, "", lambda kato: _guarded(lambda: lifecycle.create(kato, request)))
    if len(parts) > 4 or not parts[2]:
        return not_found()
    session_id = parts[2]
    action = parts[3] if len(parts) == 4 else ""
    route = _ON_SESSION.get((request.method, action))
    if route is not None:
        handler = route.handler
        return Found(
            route.name,
            route.changes,
            session_id,
            lambda kato: _on_session(kato, handler, session_id, request),
        )
    if action == "exists" and request.method == "GET":
        return Found("exists", False, session_id, lambda kato: lifecycle.exists(kato, session_id))
    return not_allowed() if action in _ACTIONS else not_found()


def _on_session(
    kato: Kato, handler: Callable[[Kato, Session, Request], Answer], session_id: str, request: Request
) -> Answer:
    # KATO looks for the session before it looks at the body.
    session = kato.sessions.find(session_id)
    if session is None:
        return gone(session_id)
    return _guarded(lambda: handler(kato, session, request))


def _guarded(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except Invalid as exc:
        return invalid(exc.args[0])
    except BadRequest as exc:
        return bad_request(exc.args[0])
    except (ServerError, UnicodeEncodeError):
        # A lone surrogate cannot be written as UTF-8: KATO fails on it only when it is read back.
        return server_error()


def _health(kato: Kato) -> Answer:
    """Always 200, whatever is down."""
    return ok({"status": "healthy", "service_name": "kato", "active_sessions": kato.sessions.kept()})
