"""Find the route of KATO's API that a request is for, and the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kato_tasks.embedded.kato import lifecycle, memory, service
from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.sessions import Session
from kato_tasks.kato_wire.answers import (
    Answer,
    BadRequest,
    Invalid,
    ServerError,
    bad_request,
    gone,
    gone_itself,
    invalid,
    not_allowed,
    not_found,
    redirect,
    server_error,
)


class Route(NamedTuple):
    """Describes a call on a session: its name, the function that carries it out, and whether it changes anything."""

    name: str
    handler: Callable[[Kato, Session, Request], Answer]
    changes: bool


class Found(NamedTuple):
    """Holds a request that has a route. ``carry_out`` may be called later; it looks up the session only then."""

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
_ON_ITSELF: dict[str, Callable[[Kato], Answer]] = {
    "/": service.root,
    "/health": service.health,
    "/sessions/count": service.count,
    "/openapi.json": lambda _kato: service.openapi(_METHODS),
}
_METHODS: dict[str, list[str]] = {
    "/sessions": ["post"],
    "/sessions/{session_id}/exists": ["get"],
    "/pattern/{pattern_id}": ["get"],
    **{path: ["get"] for path in _ON_ITSELF},
}
for _method, _action in _ON_SESSION:
    _path = "/sessions/{session_id}" + (f"/{_action}" if _action else "")
    _METHODS.setdefault(_path, []).append(_method.lower())

NAMES = frozenset(route.name for route in _ON_SESSION.values()) | {"create", "exists", "pattern", "health"}


def find(request: Request) -> Found | Answer:
    """Return the request with its route, or KATO's answer if it has no route."""
    parts = request.path.split("/")
    if parts[1] == "sessions":
        return _session_route(request, parts)
    if parts[1] == "pattern" and len(parts) == 3 and parts[2]:
        if request.method != "GET":
            return not_allowed("GET")
        name = parts[2]
        return Found("pattern", False, "", lambda kato: _guarded(lambda: memory.pattern(kato, name, request)))
    return _on_itself(request)


def _on_itself(request: Request) -> Found | Answer:
    answer = _ON_ITSELF.get(request.path)
    if answer is None:
        return _nowhere(request.path)
    if request.method != "GET":
        return not_allowed("GET")
    return Found(request.path.rpartition("/")[2] or "root", False, "", answer)


def _nowhere(path: str) -> Answer:
    """Return the answer for a path without a route.

    If the path without the slash at its end has a route, KATO redirects the caller there.
    """
    if path.endswith("/") and _template(path[:-1]) in _METHODS:
        return redirect(path[:-1])
    return not_found()


def _template(path: str) -> str:
    match path.split("/"):
        case ["", "sessions", name, *rest] if name and path != "/sessions/count":
            return "/".join(["/sessions/{session_id}", *rest])
        case ["", "pattern", name] if name:
            return "/pattern/{pattern_id}"
    return path


def _session_route(request: Request, parts: list[str]) -> Found | Answer:
    if len(parts) == 2:
        if request.method != "POST":
            return not_allowed("POST")
        return Found("create", True, "", lambda kato: _guarded(lambda: lifecycle.create(kato, request)))
    session_id = parts[2]
    action = parts[3] if len(parts) == 4 else ""
    route = _ON_SESSION.get((request.method, action)) if len(parts) <= 4 else None
    if route is not None and session_id and (action or len(parts) == 3):
        if request.path == "/sessions/count" and request.method == "GET":
            return _on_itself(request)
        handler = route.handler
        missing = gone_itself if route.handler is lifecycle.get else gone
        return Found(
            route.name,
            route.changes,
            session_id,
            lambda kato: _on_session(kato, handler, session_id, request, missing),
        )
    if action == "exists" and request.method == "GET" and session_id:
        return Found("exists", False, session_id, lambda kato: lifecycle.exists(kato, session_id))
    if not session_id:
        return _nowhere(request.path)
    return Found("other", False, session_id, lambda kato: _no_such_call(kato, request, session_id))


def _no_such_call(kato: Kato, request: Request, session_id: str) -> Answer:
    """Return the answer for an unknown call. KATO looks for the session before it looks for the route."""
    if kato.sessions.find(session_id) is None:
        return gone(session_id)
    methods = _METHODS.get(_template(request.path))
    return _nowhere(request.path) if methods is None else not_allowed(*(method.upper() for method in methods[:1]))


def _on_session(
    kato: Kato,
    handler: Callable[[Kato, Session, Request], Answer],
    session_id: str,
    request: Request,
    missing: Callable[[str], Answer],
) -> Answer:
    # KATO looks for the session before it looks at the body.
    session = kato.sessions.find(session_id)
    if session is None:
        return missing(session_id)
    return _guarded(lambda: handler(kato, session, request))


def _guarded(call: Callable[[], Answer]) -> Answer:
    try:
        try:
            return call()
        except Invalid as exc:
            return invalid(exc.args[0])
        except BadRequest as exc:
            return bad_request(exc.args[0])
    except (ServerError, ValueError):
        # A lone surrogate has no UTF-8, and a number that isn't finite no JSON: KATO fails where it writes them.
        return server_error()
