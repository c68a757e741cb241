"""What an answer means: whether it speaks of an event, of KATO, or of what stands before KATO. Pure.

Measured on KATO 3.10.1: what KATO refuses it refuses in one form, ``{"detail": …}``; a session that is gone as
``{"error": {"code": "SESSION_NOT_FOUND", …}}`` or, where the session itself is asked for, as ``{"detail": …}``; and its
server answers 503 at its connection limit before KATO sees anything. Everything else comes from a proxy, a gateway, a
firewall, or another program.
"""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.parse import urlsplit

from kato_tasks.ports.kato import KatoReply

Meaning = Literal["answer", "gone", "refused", "busy", "unknown", "gateway", "misdirected"]
"""What a reply means:

- ``answer``: KATO's, or it looks so; its body is still to be read
- ``gone``: KATO's own 404
- ``refused``: KATO refuses this call, and changed nothing
- ``busy``: KATO's server did not take the call
- ``unknown``: KATO failed; the call may have been applied
- ``gateway``: something before KATO answered; the call may have been applied
- ``misdirected``: something before KATO refused the call, which never reached KATO
"""

NEVER_PASSED_ON = frozenset(
    {*range(300, 400), *range(400, 408), *range(410, 425), 425, 426, 428, 431, 451},
)
"""Statuses with which a call is refused before it reaches KATO. Some gateways answer 408, 409, 429, 499 and 5xx after
they passed a call on, so these are not among them."""


def find_meaning(reply: KatoReply) -> Meaning:
    """Return what a reply means by its status and form alone. The caller looks into the body of a 200."""
    status = reply.status
    if status == 200:
        return "answer"
    if status == 404 and _is_gone(reply):
        return "gone"
    if status in (400, 413, 422) and "detail" in _only_member(reply):
        return "refused"
    if status == 503 and _is_connection_limit(reply):
        return "busy"
    if status in NEVER_PASSED_ON:
        return "misdirected"
    if status >= 500 and status != 503:
        return "unknown"
    return "gateway"


def is_katos_500(reply: KatoReply) -> bool:
    """Return whether KATO itself failed in the middle of the call, and not a gateway that waited for it in vain."""
    return reply.status == 500 and reply.body == b"Internal Server Error"


def counts_as_failure(reply: KatoReply) -> bool:
    """Return whether a reply says that its KATO instance cannot be used now: it fails, or something else answers."""
    if reply.status == 200:
        # Every answer of KATO's is a JSON object.
        return reply.body[:64].lstrip()[:1] != b"{"
    return find_meaning(reply) not in ("gone", "refused")


def _is_gone(reply: KatoReply) -> bool:
    member = _only_member(reply)
    error = member.get("error")
    if isinstance(error, dict):
        return bool(error.get("code") == "SESSION_NOT_FOUND")
    # "Not Found" alone is for a path without a route: it is another program, or KATO_URLS has a wrong path.
    return bool(member.get("detail", "Not Found") != "Not Found")


def _is_connection_limit(reply: KatoReply) -> bool:
    """Return whether this is KATO's server, uvicorn, at KATO_LIMIT_CONCURRENCY. A gateway would drop ``connection``."""
    if reply.server.lower() != "uvicorn" or reply.connection.lower() != "close":
        return False
    return reply.body == b"Service Unavailable" and reply.content_type.lower().startswith("text/plain")


def _only_member(reply: KatoReply) -> dict[str, Any]:
    """Return the JSON object of an error where it has one member, else {}: gateways' problem documents have more."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and len(found) == 1 else {}


def strip_address(url: str) -> str:
    """Return an address without user, password and query, so that it may stand in a log."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def describe_remedy(url: str, reply: KatoReply) -> str:
    """Return one sentence for the operator: what stands before KATO, and what to mend. It holds no secrets."""
    status = reply.status
    at = f"{strip_address(url)} answers {status}"
    if 300 <= status < 400:
        to = strip_address(reply.location) if reply.location else "another address"
        return f"{at}: KATO_TASKS_KATO_URLS redirects to {to}; name KATO's own address there"
    advice = {
        200: "that is no answer of KATO's (a maintenance page, or another program); mend the gateway or "
        "KATO_TASKS_KATO_URLS",
        400: "that is not KATO's form of a refusal; something before KATO refuses the request",
        401: "set KATO_TASKS_KATO_TOKEN or KATO_TASKS_KATO_HEADERS",
        403: "something before KATO forbids the call; mend its rules, KATO_TASKS_KATO_TOKEN or KATO_TASKS_KATO_HEADERS",
        404: "that is not KATO's; check the host and the path in KATO_TASKS_KATO_URLS",
        405: "something before KATO does not let this method through; check the path in KATO_TASKS_KATO_URLS",
        407: "a proxy before KATO asks for credentials",
        413: "something before KATO limits the size of a request; raise its limit above KATO_TASKS_BATCH_BYTES and "
        "KATO_TASKS_MAX_EVENT_BYTES, or lower those",
        414: "something before KATO limits the length of an address; raise its limit",
        431: "something before KATO limits the size of headers; raise its limit, or shorten KATO_TASKS_KATO_HEADERS",
    }
    return f"{at}: {advice.get(status, 'that is no answer of KATO; something stands before it')}"
