"""Connections to RabbitMQ, and what its errors mean."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import kombu
from amqp.exceptions import AccessRefused, AMQPError, ConnectionForced, NotAllowed, NotFound

from kato_tasks.adapters.rabbitmq.gathering import GatheringConnection
from kato_tasks.errors import ConfigurationError

CONNECT_SECONDS = 3.0
CLOSE_SECONDS = 2.0
BLOCKED = "has blocked publishers, since it is short of memory or disk: make room there"
ERRORS = (AMQPError, OSError)
"""What py-amqp raises where RabbitMQ, or the way to it, fails."""


def connect(url: str, seconds: float, on_blocked: Callable[[str], None], on_unblocked: Callable[[], None]) -> Any:
    """Return an open AMQP connection (py-amqp's) to the address, or to the first of several that answers.

    ``seconds`` is how long one answer, or the sending of one frame, may take. ``on_blocked`` and ``on_unblocked`` are
    called when RabbitMQ says that it takes no messages for now. Raises AMQPError and OSError, and ConfigurationError
    for text that is no address.
    """
    options = {
        "read_timeout": seconds,
        "write_timeout": seconds,
        "on_blocked": on_blocked,
        "on_unblocked": on_unblocked,
        # py-amqp's own second is over whenever a busy RabbitMQ reads nothing for so long.
        "socket_settings": {socket.TCP_USER_TIMEOUT: int(seconds * 1000)},
    }
    *others, last = url.split(";")
    for one in others:
        with contextlib.suppress(*ERRORS):
            return _open(one, seconds, options)
    return _open(last, seconds, options)


def _open(url: str, seconds: float, options: dict[str, Any]) -> Any:
    try:
        parts: Any = kombu.Connection(url)  # type: ignore[no-untyped-call]
        usual = parts.transport.default_connection_params
    except (ValueError, KeyError):
        raise ConfigurationError(
            f"the address of RabbitMQ at {address_of(url)} cannot be read; write amqp://user:password@host:5672/vhost"
        ) from None
    host = parts.hostname or usual["hostname"]
    # Without the name, a certificate of any other server would do.
    tls = {"server_hostname": host} | (parts.ssl if isinstance(parts.ssl, dict) else {}) if parts.ssl else False
    connection = GatheringConnection(
        f"{host}:{parts.port or usual['port']}",
        userid=parts.userid or usual["userid"],
        password=parts.password or usual["password"],
        login_method=parts.login_method or usual["login_method"],
        virtual_host=parts.virtual_host,
        ssl=tls,
        connect_timeout=min(seconds, CONNECT_SECONDS),
        **options,
    )
    try:
        connection.connect()
    except BaseException:
        drop(connection)
        raise
    return connection


def address_of(url: str) -> str:
    """Return where the RabbitMQ is, without user and password; of several, all of them."""
    places = []
    for one in url.split(";"):
        with contextlib.suppress(ValueError):
            parts = urlsplit(one)
            default = 5671 if parts.scheme == "amqps" else 5672
            places.append(f"{parts.hostname or 'localhost'}:{parts.port or default}")
    return " or ".join(places) or "an unreadable address"


def disconnect(connection: Any) -> None:
    """Say goodbye and close the connection, in a few seconds at most. Never raises."""
    with contextlib.suppress(Exception), connection.transport.having_timeout(CLOSE_SECONDS):
        connection.close()
    drop(connection)


def drop(connection: Any) -> None:
    """Close the connection without a word. Never raises."""
    with contextlib.suppress(Exception):
        connection.collect()


def clause(exc: Exception) -> str:
    """Return what is the matter with RabbitMQ, and what to do about it."""
    said = str(getattr(exc, "reply_text", None) or exc).rstrip(".")
    if isinstance(exc, AccessRefused):
        if "login" in said.lower() or "auth" in said.lower():
            return "refuses the user: correct the name and password in its address"
        return f"does not let this user do that ({said}): grant the user the right"
    if isinstance(exc, NotAllowed):
        return f"does not let this user into the virtual host ({said}): correct it in the address, or grant the right"
    if isinstance(exc, ConnectionForced):
        return f"closed the connection ({said}): it is being stopped"
    if isinstance(exc, NotFound):
        return f"does not have what is needed ({said})"
    if isinstance(exc, ssl.SSLError):
        return (
            f"cannot be reached by TLS ({said}): correct the name and port in its address, its certificate, or the "
            "authorities that are trusted here (SSL_CERT_FILE)"
        )
    if isinstance(exc, TimeoutError):
        return "did not answer in time: see whether it is overloaded, or correct its address"
    if isinstance(exc, AMQPError):
        return f"failed ({said})"
    return f"does not answer ({said}): start it, or correct its address"


__all__ = ["BLOCKED", "ERRORS", "address_of", "clause", "connect", "disconnect", "drop"]
