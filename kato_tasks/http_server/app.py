"""The ASGI application: the gate that every request passes, and the FastAPI application behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from kato_tasks.api.call_figures import read_call_figures
from kato_tasks.api.dead_letters import NoSuchDeadLetter
from kato_tasks.api.keys import UnknownKey, list_keys
from kato_tasks.api.status import Counts, read_counts, read_listeners
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.bootstrap.loops import loop_runtime
from kato_tasks.errors import (
    ArchiveUnavailable,
    BrokerUnavailable,
    InvalidEvent,
    KatoTasksError,
    ReplayBusy,
    StoreFull,
    StoreUnavailable,
    UnknownReplay,
)
from kato_tasks.http_server import dead_letters, events, health, keys, replays, server_sent, sessions, tasks
from kato_tasks.http_server.access import Access
from kato_tasks.http_server.answering import SAFE, Message, Receive, Scope, Send, answer_problem
from kato_tasks.http_server.bodies import Gone, bounded
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.kato_front import events as kato_events
from kato_tasks.http_server.kato_front import lifecycle, reads, sequence
from kato_tasks.http_server.kato_front.answers import not_served
from kato_tasks.http_server.metrics import Metrics
from kato_tasks.http_server.openapi import describe, docs_page_headers
from kato_tasks.http_server.problems import MEDIA_TYPE, Problem, failed, field_problem, full
from kato_tasks.telemetry.log_events import log_event
from kato_tasks.version import __version__

log = logging.getLogger(__name__)
_STATUSES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((NoSuchDeadLetter, UnknownReplay, UnknownKey), 404),
    ((ReplayBusy,), 409),
)
_AWAY = {StoreUnavailable: "store", ArchiveUnavailable: "archive", BrokerUnavailable: "broker"}
OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE"]
BACKLOG_SECONDS = 1.0
"""How old the number of waiting events may be by which keys are limited."""


class Gate:
    """Answers ``POST /v1/events`` itself and hands everything else to the application. It measures every request.

    That one route is the hot one, and an application's layers would take as long as the append.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context: Context = self.app.state.context
        began = time.perf_counter()
        status, route = 500, "unknown"
        answering = _Answering(send, docs_page_headers(scope["path"]))
        try:
            if scope["path"] == events.PATH and scope["method"] == "POST":
                route = events.PATH
                key = context.access.admit(scope, "write")
                status = await events.append_events(context, scope, receive, send, key)
            else:
                if b"%" in scope["raw_path"]:
                    scope["path"] = scope["raw_path"].decode("ascii")  # an encoded slash is a part of a name
                await self.app(scope, bounded(scope, receive, context.runtime.settings), answering)
                status, route = answering.status, _route_of(scope)
        except Problem as problem:
            status = problem.status
            await answer_problem(send, problem, receive)
        except Gone:
            status = 499  # nginx' word for a client that has gone; it is only counted
        except Exception as exc:
            log_event(log, logging.ERROR, "http.failed", route=route, error=exc, exc_info=exc)
            if not answering.status:
                await answer_problem(send, failed(), receive)
        finally:
            context.metrics.count_request(route, scope["method"], status, time.perf_counter() - began)


def create_app(*, on_loopback: bool, started: Callable[[Context], None] = lambda _context: None) -> Gate:
    """Return the application. Without any key it is open, which is for a server ``on_loopback`` only.

    ``started`` is called with its pieces once it can serve.
    """
    app = FastAPI(
        title="kato_tasks",
        version=__version__,
        summary="Events in, applied to KATO once and in order.",
        lifespan=lambda app: _opened(app, on_loopback=on_loopback, started=started),
        docs_url="/docs",
        redoc_url=None,
    )
    for part in (
        health,
        sessions,
        server_sent,
        tasks,
        dead_letters,
        replays,
        keys,
        lifecycle,
        kato_events,
        sequence,
        reads,
    ):
        app.include_router(part.router)
    app.add_api_route(events.PATH, _only_post, methods=OTHER_METHODS, include_in_schema=False)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(KatoTasksError, _error_problem)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return Gate(app)


class _Answering:
    """Adds the headers that every answer has to what the application answers, and notes its status."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self._headers]}
        await self._send(message)


def _route_of(scope: Scope) -> str:
    """Return the route's template, so that ids in paths do not make figures of their own."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))


@contextlib.asynccontextmanager
async def _opened(app: FastAPI, *, on_loopback: bool, started: Callable[[Context], None]) -> AsyncIterator[None]:
    rt = await asyncio.to_thread(runtime)
    await loop_runtime()
    backlog = _Backlog(rt)
    access = Access(lambda: list_keys(rt), lambda: backlog.events, on_loopback=on_loopback)
    await access.refresh()
    metrics = Metrics(lambda: read_counts(rt), lambda: read_call_figures(rt), lambda: read_listeners(rt))
    context = app.state.context = Context(rt, access, metrics, rt.settings.limits)
    tasks = [asyncio.create_task(access.keep_fresh()), asyncio.create_task(backlog.keep_fresh(access))]
    started(context)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Backlog:
    """How many events wait to be applied, as of a moment ago; only where some key is limited by it."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self.events = 0

    async def keep_fresh(self, access: Access) -> None:
        while True:
            if access.limits_backlog:
                with contextlib.suppress(KatoTasksError):
                    counts: Counts = await asyncio.to_thread(read_counts, self._rt)
                    self.events = counts.backlog
            await asyncio.sleep(BACKLOG_SECONDS)


async def _only_post() -> None:
    raise Problem(405, "Events are sent here with POST.", headers={"allow": "POST"})


def _respond(problem: Problem) -> Response:
    headers = {**problem.headers, "connection": "close"} if problem.close else problem.headers
    return Response(problem.body(), problem.status, headers, MEDIA_TYPE.decode())


async def _problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return _respond(exc)


async def _http_problem(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if isinstance(exc.__cause__, Problem):  # the body could not be read
        return _respond(exc.__cause__)
    allowed = ", ".join(sorted(_methods_at(request))) if exc.status_code == 405 else ""
    in_katos_form = not_served(request.url.path, exc.status_code, allowed) if exc.status_code in (404, 405) else None
    if in_katos_form is not None:
        return in_katos_form
    if exc.status_code == 405:
        return _respond(Problem(405, f"Here are served: {allowed}.", headers={"allow": allowed}))
    said = f"Nothing is served at {request.url.path[:200]}; see /docs." if exc.status_code == 404 else str(exc.detail)
    return _respond(Problem(exc.status_code, said, headers=exc.headers))


def _methods_at(request: Request) -> set[str]:
    """Return the methods of all routes that have this path; of several, Starlette names only the first one's."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


async def _validation_problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    wrong: list[dict[str, Any]] = [
        {"field": ".".join(str(part) for part in one["loc"][1:]) or "body", "reason": one["msg"]}
        for one in exc.errors()[:100]
    ]
    return _respond(Problem(422, "; ".join(f"{one['field']}: {one['reason']}" for one in wrong[:3]), errors=wrong))


async def _error_problem(request: Request, exc: Exception) -> Response:
    if isinstance(exc, InvalidEvent):
        return _respond(field_problem(exc.field, exc.reason))
    for kinds, status in _STATUSES:
        if isinstance(exc, kinds):
            return _respond(Problem(status, str(exc)[:500]))
    if isinstance(exc, StoreFull):
        return _respond(full())
    for kind, what in _AWAY.items():
        if isinstance(exc, kind):
            said = f"The {what} does not answer. Repeat the request later."
            return _respond(Problem(503, said, headers={"retry-after": "2"}))
    log_event(log, logging.ERROR, "http.failed", route=request.url.path, error=exc, exc_info=exc)
    return _respond(failed())


__all__ = ["SAFE", "Gate", "create_app"]
