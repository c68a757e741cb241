"""Read the body of a request whole, within its limits of size and time, and find the events in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json

from kato_tasks.domain.cloud_events import of_headers
from kato_tasks.http_server.answering import WHOLE, Receive, Scope, header_of
from kato_tasks.http_server.problems import Problem
from kato_tasks.settings import Settings

Form = Literal["json", "cloudevent", "cloudevents", "binary", "ndjson"]
MEDIA: dict[str, Form] = {
    "application/json": "json",
    "application/cloudevents+json": "cloudevent",
    "application/cloudevents-batch+json": "cloudevents",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
ACCEPTED = ", ".join(MEDIA)


class Gone(Exception):
    """The client closed the connection before its request was whole."""


@dataclass(frozen=True, slots=True)
class Given:
    """The events of a body as they came. ``single`` says that it held one event by itself."""

    events: Sequence[Any]
    single: bool
    cloud: bool


def form_of(scope: Scope) -> Form:
    """Return in which form the events of a request are. Raises Problem 415."""
    if (header_of(scope, b"content-encoding") or b"identity").lower() != b"identity":
        raise Problem(415, "The body must not be compressed: leave Content-Encoding out.", close=True)
    text = (header_of(scope, b"content-type") or b"").decode("latin-1")
    media, _, parameters = text.partition(";")
    media = media.strip().lower()
    form = MEDIA.get(media)
    charset = parameters.replace(" ", "").lower()
    if charset.startswith("charset=") and charset[8:].strip('"') not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"The body must be UTF-8, and not {parameters.strip()[:60]!r}.", close=True)
    # The CloudEvents SDK leaves out the Content-Type of JSON where the event has no datacontenttype.
    if (form == "json" or not media) and header_of(scope, b"ce-specversion") is not None:
        return "binary"
    if form is None:
        said = f"is {media[:100]!r}" if media else "is missing"
        headers = {"accept-post": ACCEPTED}
        raise Problem(415, f"Content-Type {said}; send one of {ACCEPTED}.", headers=headers, close=True)
    return form


def size_of(scope: Scope, most: int) -> int:
    """Return how large the request says that its body is. Raises Problem 413 if that is more than ``most``.

    A body that does not say so counts as the largest one.
    """
    declared = header_of(scope, b"content-length")
    if declared is None:
        return 0 if WHOLE in scope else most
    size = int(declared)  # the server has checked that it is a number
    if size > most:
        raise too_large(most)
    return size


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """Return the whole body. Raises Problem (408, 413) or Gone."""
    # Nearly every request of events comes whole, and a deadline costs more than reading it.
    message = await receive() if WHOLE in scope else await _in_time(receive, seconds)
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Gone
    if not message.get("more_body"):
        return body if len(body) <= most else _refuse(most)
    parts, size = [body], len(body)
    deadline = asyncio.get_running_loop().time() + seconds
    while message.get("more_body"):
        message = await _in_time(receive, deadline - asyncio.get_running_loop().time())
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_large(most)
    return b"".join(parts)


def _refuse(most: int) -> bytes:
    raise too_large(most)


async def _in_time(receive: Receive, seconds: float) -> Any:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await receive()
    except TimeoutError:
        raise too_slow() from None


def too_large(most: int) -> Problem:
    """Return the problem of a body that is larger than it may be."""
    return Problem(
        413,
        f"The body has more than {most:,} bytes (HTTP_MAX_BODY_BYTES). Send fewer events at once, or send NDJSON, "
        "which may be of any length.",
        close=True,
    )


def too_slow() -> Problem:
    """Return the problem of a body that does not arrive."""
    return Problem(408, "The body did not arrive in time. Nothing was accepted.", close=True)


def parse_json(body: bytes) -> Any:
    """Return what JSON text says. Raises Problem 400."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise Problem(400, f"The body is no JSON: {str(exc)[:200]}.") from None


def find_events(scope: Scope, form: Form, body: bytes, most: int) -> Given:
    """Return the events in a whole body. Raises Problem: 400, 413, 422."""
    if form == "binary":
        data = parse_json(body) if body.strip() else None
        return Given([of_headers(scope["headers"], data)], single=True, cloud=True)
    told = parse_json(body)
    if form == "cloudevents" and not isinstance(told, list):
        raise Problem(422, "A batch of CloudEvents must be an array.")
    if form == "cloudevent" or not isinstance(told, list):
        return Given([told], single=True, cloud=form == "cloudevent")
    if len(told) > most:
        raise Problem(
            413, f"The array has {len(told):,} events, at most {most:,} are allowed (HTTP_MAX_EVENTS); send NDJSON."
        )
    if not told:
        raise Problem(422, "The array holds no event.")
    return Given(told, single=False, cloud=form == "cloudevents")


def bounded(scope: Scope, receive: Receive, config: Settings) -> Receive:
    """Return a ``receive`` whose body stays within the limits of size and time. It raises Problem: 408 or 413."""
    if scope["method"] in ("GET", "HEAD"):
        return receive
    left = config.http_max_body_bytes
    loop = asyncio.get_running_loop()
    deadline = loop.time() + config.http_body_seconds
    more = True

    async def received() -> Any:
        nonlocal left, more
        if not more:
            return await receive()  # it waits for the client to go
        message = await _in_time(receive, deadline - loop.time())
        more = message.get("more_body", False)
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large(config.http_max_body_bytes)
        return message

    return received


__all__ = [
    "ACCEPTED",
    "MEDIA",
    "Form",
    "Given",
    "Gone",
    "bounded",
    "find_events",
    "form_of",
    "parse_json",
    "read_body",
    "size_of",
    "too_large",
    "too_slow",
]
