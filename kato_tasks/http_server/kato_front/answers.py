"""Answers in KATO's own words, as the responses of this server."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from typing import ParamSpec

from starlette.responses import Response

from kato_tasks.errors import InvalidEvent, NodeConflict
from kato_tasks.kato_wire.answers import (
    Answer,
    BadRequest,
    Invalid,
    ServerError,
    bad_request,
    invalid,
    not_allowed,
    not_found,
)

P = ParamSpec("P")


def respond(answer: Answer) -> Response:
    """Return KATO's answer as a response of this server."""
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers, answer.content_type.decode() or None)


def refused(message: str, *location: str | int, given: object = None) -> Answer:
    """Return 422 in KATO's form, with one thing that is wrong in the body."""
    return invalid([{"type": "value_error", "loc": ["body", *location], "msg": message, "input": given}])


def _location(field: str) -> list[str | int]:
    """Return where a field is, as KATO tells it: ``observation.strings[0]`` is ``strings`` and 0."""
    parts = re.findall(r"[^.\[\]]+", field.removeprefix("observation."))
    return [int(part) if part.isdigit() else part for part in parts]


def not_served(path: str, status: int, allowed: str = "") -> Response | None:
    """Return KATO's answer for a path or a method that it does not have; None where the path is no path of KATO's."""
    if not path.startswith(("/sessions", "/pattern", "/health")):
        return None
    return respond(not_allowed(allowed) if status == 405 else not_found())


def in_katos_words(route: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """Return the route with every refusal of its request told as KATO tells it."""

    @functools.wraps(route)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await route(*args, **kwargs)
        except Invalid as exc:
            try:
                return respond(invalid(exc.args[0]))
            except ValueError:  # what is wrong cannot be quoted in JSON, which is why it is wrong
                return respond(refused("holds a value that JSON cannot express"))
        except BadRequest as exc:
            return respond(bad_request(exc.args[0]))
        except ServerError as exc:
            # KATO fails here; this server says what it is that fails.
            return respond(refused(str(exc)))
        except NodeConflict as exc:
            return respond(refused(exc.reason, "node_id"))
        except InvalidEvent as exc:
            return respond(refused(exc.reason, *_location(exc.field)))

    return answered


__all__ = ["in_katos_words", "not_served", "refused", "respond"]
