"""Turn whatever RabbitMQ, the network or py-amqp raises into one sentence that says what to do, without secrets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import amqp
from amqp.exceptions import ConsumerCancelled

from kato_tasks.errors import SourceUnavailable

ERRORS: tuple[type[Exception], ...] = (amqp.AMQPError, OSError)
"""What using a connection can raise; a timeout is an OSError, and so are TLS's errors."""
_CLAUSES = {
    402: "has no such vhost, or does not let this user into it{reason}: correct RABBITMQ_URL, or grant the permissions",
    403: "refuses this to its user{reason}: grant configure, write and read on the queue and the exchange",
    404: "lacks something that is needed{reason}: open the source again, or make it",
    405: "has that queue for another connection alone{reason}: name another queue",
    406: "has something of that name with other properties{reason}: use it as it is, or delete it",
    530: "has no such vhost, or does not let this user into it{reason}: correct RABBITMQ_URL, or grant the permissions",
}


def unavailable(where: str, exc: Exception) -> SourceUnavailable:
    """Return the error for the RabbitMQ ``where``, its address without secrets, and what was raised."""
    if isinstance(exc, ConsumerCancelled):
        clause = "took the queue away from its reader: it was deleted, or its node left; open the source again"
    elif isinstance(exc, amqp.AMQPError) and exc.reply_code == 403 and "ogin was refused" in str(exc.reply_text):
        clause = "refuses the login: correct user and password in RABBITMQ_URL"
    elif isinstance(exc, amqp.AMQPError) and exc.reply_code in _CLAUSES:
        clause = _CLAUSES[exc.reply_code].format(reason=f" ({_reason(exc)})")
    else:
        clause = f"does not answer ({_reason(exc)}): start it, or correct RABBITMQ_URL"
    return SourceUnavailable(f"RabbitMQ at {where} {clause}")


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError) and not exc.strerror:
        return "no answer in time"
    if isinstance(exc, amqp.AMQPError):
        return str(exc.reply_text or type(exc).__name__)[:300]
    return (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)[:300]


@contextlib.contextmanager
def amqp_errors(where: str) -> Iterator[None]:
    """Raise SourceUnavailable, with a sentence that names ``where``, for every error of a connection."""
    try:
        yield
    except ERRORS as exc:
        raise unavailable(where, exc) from exc


__all__ = ["ERRORS", "amqp_errors", "unavailable"]
