"""Send a task for a request, and wait for its answer as long as the request says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeoutError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from kato_tasks.bootstrap.loops import loop_runtime
from kato_tasks.celery_tasks.answers import read_answer
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import EventConflict, NotAppliedYet, StoreFailed, StoreFull, StoreUnavailable, TooManyPredicts
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.events import idempotency_key
from kato_tasks.http_server.problems import Problem, broken, field_problem, full
from kato_tasks.ports.waiting_tasks import ReadResults

LOOK_SECONDS = 1.0
"""After this many seconds without the task's end, and again and again, the store is asked for the event's result."""
MOST_SECONDS = 600.0
"""How long a request may ask to wait."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a request waits for its answer, and the preference by which it said so ('' for none)."""

    seconds: float
    applied: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A task that was sent for a request: its result to wait for, and the event's place (position 0: it has none)."""

    result: Any
    lane: str
    session_id: str
    event_id: str
    position: int


class StillWaiting(Exception):
    """Raised when a request has waited long enough: its task goes on without it."""


def preference(request: Request, context: Context) -> Wait:
    """Return what the request's ``Prefer`` says (RFC 7240): ``respond-async``, or ``wait`` with whole seconds."""
    for text in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = text.partition(";")[0].strip().partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            return Wait(0.0, "respond-async")
        if name == "wait" and value.isascii() and value.isdigit() and len(value) < 10:
            seconds = min(float(value), MOST_SECONDS)
            return Wait(seconds, f"wait={seconds:g}")
    return Wait(context.runtime.settings.http_wait_seconds)


@dataclass(frozen=True, slots=True)
class Names:
    """The ids of a request's event and of its task. ``given``: its ``Idempotency-Key`` says them."""

    event_id: str
    task_id: str
    given: bool


def names_of(request: Request, session_id: str) -> Names:
    """Return the ids for a request. The same key for the same session always gives the same ids. Raises Problem 422."""
    key = idempotency_key(request.scope)
    if not key:
        made = uuid.uuid4().hex
        return Names(f"obs-{made}", made, given=False)
    # Task ids are shared by all sessions; two clients may have chosen one key.
    task_id = hashlib.sha256(f"{session_id}\n{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Names(key, task_id, given=True)


async def send(context: Context, task: Any, task_id: str, **call: Any) -> Sent:
    """Append a call's event and send its task. Raises InvalidEvent, and Problem where nothing was accepted."""
    try:
        result, place = await context.patiently(lambda: task.aplace((), call, task_id=task_id))
    except EventConflict:
        why = "was sent before with another request; choose another key for a new request"
        raise field_problem("Idempotency-Key", why, 409) from None
    except TooManyPredicts as exc:
        raise Problem(429, str(exc), headers={"retry-after": "1"}) from None
    except StoreFull:
        raise full() from None
    except StoreFailed:
        raise broken() from None
    except StoreUnavailable:
        raise away() from None
    event_id, position = str(place.get("event_id") or task_id), int(place.get("position") or 0)
    return Sent(result, str(place.get("lane") or ""), str(call["session_id"]), event_id, position)


async def answer_of(context: Context, sent: Sent, wait: Wait) -> Any:
    """Return what the task returned. Raises its error, and StillWaiting when the time is over or the server stops.

    The store is asked for the event's result, too: where the worker that had the task was killed, the task comes to
    another one after minutes, and its event was applied long before.
    """
    if wait.seconds <= 0 or context.stopping.is_set():
        raise StillWaiting
    told = asyncio.ensure_future(sent.result.aget(timeout=wait.seconds))
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        while not told.done():
            done, _ = await asyncio.wait({told, stopping}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if stopping in done and told not in done:
                raise StillWaiting
            if not done and (known := await _known_result(sent)) is not None:
                return read_answer(known)
        return told.result()
    except (CeleryTimeoutError, NotAppliedYet):
        raise StillWaiting from None
    finally:
        for one in (told, stopping):
            one.cancel()


async def _known_result(sent: Sent) -> str | None:
    """Return the event's result (JSON) if the store has it. A store that is away has none."""
    with contextlib.suppress(StoreUnavailable):
        here = await loop_runtime()
        (found,) = raise_errors(await here.store.execute([ReadResults(sent.lane, sent.session_id, [sent.event_id])]))
        text: str | None = found[0]
        return text
    return None


def accepted(sent: Sent, wait: Wait) -> Response:
    """Return 202: the store has what the request asked for, and its task's address tells the rest."""
    address = f"/v1/tasks/{sent.result.id}"
    told: dict[str, Any] = {
        "status": "accepted",
        "task_id": sent.result.id,
        "task": address,
        "session_id": sent.session_id,
        "event_id": sent.event_id,
        "position": sent.position or None,
    }
    headers = {"location": address, **applied(wait)}
    return Response(to_json(told), 202, headers, "application/json")


def applied(wait: Wait) -> Mapping[str, str]:
    """Return the header that tells a client which of its preferences was followed."""
    return {"preference-applied": wait.applied} if wait.applied else {}


def away() -> Problem:
    """Return the problem of a store that does not answer."""
    return Problem(
        503,
        "The store does not answer. It may have the event all the same: with an Idempotency-Key the request can be "
        "repeated, and nothing is applied twice.",
        headers={"retry-after": "2"},
    )


__all__ = [
    "Names",
    "Sent",
    "StillWaiting",
    "Wait",
    "accepted",
    "answer_of",
    "applied",
    "names_of",
    "preference",
    "send",
]
