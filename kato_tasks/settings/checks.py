"""Checks of single settings (addresses, tokens, headers, files), and how they are shown without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from kato_tasks.domain.instance import Instance

PREFIX = "KATO_TASKS_"
_BROKER = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,6}))?")
"""A host of Kafka, with its port or without."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset(
    ["host", "accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "te", "trailer"]
) | {"transfer-encoding", "upgrade"}
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp", "memory")
"""Schemes of brokers that keep messages in order and confirm them; ``memory`` is for tests within one process."""
_BACKENDS = frozenset(
    {
        "redis",
        "rediss",
        "rpc",
        "cache",
        "db",
        "database",
        "mongodb",
        "elasticsearch",
        "cassandra",
        "couchbase",
        "couchdb",
        "cosmosdbsql",
        "file",
        "filesystem",
        "disabled",
        "consul",
        "dynamodb",
        "azureblockblob",
        "arangodb",
        "s3",
        "gs",
        "memory",
    }
)
"""Celery's result backends, by the part of their scheme before a ``+``."""


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


# ------------------------------------------------------------------------------------ addresses


def check_broker(url: str) -> str:
    """Return the address if it is of a supported broker.

    Raises ValueError otherwise, as all checks here do, with a message that never contains a password.
    """
    for one in url.split(";"):
        scheme = _scheme(one, "redis://host:port/db or amqp://host:port/vhost")
        if scheme == "sentinel":
            raise ValueError("is of Redis Sentinel, which is not supported; write redis://host:port/db")
        if scheme not in BROKERS:
            raise ValueError(
                f"{hide_secrets(one)!r} is no broker that works here; write redis://host:port/db, rediss://…, "
                "redis+socket:///path, amqp://host:port/vhost or amqps://…"
            )
    return url


def check_backend(url: str) -> str:
    """Return the address if it is of a result backend that Celery has; an empty one means that results are not kept."""
    if not url:
        return url
    scheme = _scheme(url, "redis://host:port/db")
    if scheme == "sentinel":
        raise ValueError("is of Redis Sentinel, which is not supported; write redis://host:port/db")
    kind = scheme.partition("+")[0]
    if kind not in _BACKENDS and kind not in {one.name for one in entry_points(group="celery.result_backends")}:
        raise ValueError(f"{hide_secrets(url)!r} is no result backend of Celery; write redis://host:port/db")
    return url


def check_store(url: str) -> str:
    """Return the address if redis-py accepts it as that of a Redis; raises ValueError otherwise."""
    if _scheme(url, "redis://host:port/db") not in ("redis", "rediss", "unix"):
        remedy = "unix:///path/to/redis.sock" if url.startswith("redis+socket:") else "redis://host:port/db"
        raise ValueError(f"{hide_secrets(url)!r} is not the address of a Redis; write {remedy}")
    return url


def check_rabbitmq(url: str) -> str:
    """Return the address, or several with ``;`` between them, if each is of a RabbitMQ; raises ValueError otherwise."""
    example = "amqp://user:password@host:5672/vhost"
    for one in url.split(";"):
        if _scheme(one, example) not in ("amqp", "amqps", "pyamqp"):
            raise ValueError(f"{hide_secrets(one)!r} is not the address of a RabbitMQ; write {example} or amqps://…")
    return url


def check_kafka(brokers: str) -> str:
    """Return Kafka's brokers if each is a host, with a port or without one; raises ValueError otherwise."""
    for one in brokers.split(","):
        broker = _BROKER.fullmatch(one.strip())
        if broker is None or int(broker[1] or 1) not in range(1, 65_536):
            if not one.strip():
                raise ValueError("names no broker, or one that is empty; write host:9092, or host1:9092,host2:9092")
            raise ValueError(f"{hide_secrets(one.strip())!r} is no broker of Kafka; write host:9092 without a scheme")
    return brokers


def check_archive(url: str) -> str:
    """Return the address if it is of a PostgreSQL or SQLite database, or empty (no archive); raises ValueError."""
    example = "postgresql://user:password@host/database or sqlite:////absolute/path"
    if not url:
        return url
    scheme = _scheme(url, example)
    path = urlsplit(url).path
    if scheme == "sqlite":
        # Each process would take a relative path from the directory in which it was started.
        if not path.startswith("//") or not path.strip("/"):
            raise ValueError(f"{hide_secrets(url)!r} names no file by its whole path; write sqlite:////absolute/path")
    elif scheme not in ("postgresql", "postgresql+psycopg"):
        raise ValueError(f"{hide_secrets(url)!r} is no database that works here; write {example}")
    elif not path.strip("/"):
        raise ValueError(f"{hide_secrets(url)!r} names no database; write {example}")
    return url


def _scheme(url: str, example: str) -> str:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise ValueError(
            f"{hide_secrets(url)!r} is no address: a port is a number below 65536, and signs such as / and ? in a "
            f"password are written as %2F and %3F; write {example}"
        ) from None
    if not url:
        raise ValueError(f"is empty; write {example}")
    database = parts.path.strip("/")
    if parts.scheme in ("redis", "rediss") and database and not re.fullmatch("[0-9]+", database):
        # redis-py would take it for database 0.
        raise ValueError(f"{hide_secrets(url)!r} names no database of Redis: those are numbers; write {example}")
    return parts.scheme


def check_instances(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return KATO's addresses without repetitions; raises ValueError for one that cannot work."""
    if not urls:
        raise ValueError("is empty; give KATO's address, such as http://127.0.0.1:8000")
    found: dict[str, Instance] = {}
    for url in urls:
        instance = Instance.parse(url)
        if found.setdefault(instance.name, instance) != instance:
            raise ValueError(f"{instance.name!r} is listed twice, with different credentials")
    return tuple(dict.fromkeys(url.rstrip("/") for url in urls))


# --------------------------------------------------------------------- what KATO is sent, files


def read_token(value: Any, data: Mapping[str, Any]) -> SecretStr:
    """Return the token, or the one in the file that ``KATO_TOKEN_FILE`` names; raises ValueError for a bad one."""
    token = _or_from_file(_revealed(value), data, "kato_token_file")
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise ValueError("is no token: it has a space, a line end or a character that is not ASCII")
    return SecretStr(token)


def read_headers(value: Any, data: Mapping[str, Any]) -> dict[str, SecretStr]:
    """Return the headers by their lower-case names, or those in the file that ``KATO_HEADERS_FILE`` names.

    Raises ValueError for text that is not a JSON object, or for a header that cannot be sent.
    """
    if isinstance(value, dict) and value:
        value = json.dumps({name: _revealed(item) for name, item in value.items()})
    text = _or_from_file(value or "", data, "kato_headers_file")
    try:
        headers = json.loads(text or "{}")
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError('is no JSON object of header → value; write {"x-api-key": "…"}')
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"{name!r} cannot be set: the client of KATO writes it itself")
        if not re.fullmatch(r"[\x20-\x7e]*", value):
            raise ValueError(f"the value of {name!r} has a line end or a character that is not ASCII")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("names a header twice")
    return {name.lower(): SecretStr(value) for name, value in headers.items()}


def read_session_config(value: Any) -> Any:
    """Return the session config that the JSON text holds; raises ValueError for text that is not a JSON object."""
    if not isinstance(value, str):
        return value
    try:
        config = json.loads(value) if value.strip() else {}
    except ValueError as exc:
        raise ValueError(f'is no JSON ({exc}); write {{"recall_threshold": 0.3}}') from None
    if not isinstance(config, dict):
        raise ValueError('is no JSON object of key → value; write {"recall_threshold": 0.3}')
    return config


def check_readable(path: str) -> str:
    """Return the path if the text file there can be read, or if it is empty (no file); raises ValueError otherwise."""
    if path:
        _text_of(path)
    return path


def _revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise ValueError(f"{path} cannot be read ({getattr(exc, 'strerror', None) or 'it is not UTF-8'})") from None


def _or_from_file(value: str, data: Mapping[str, Any], name: str) -> str:
    path = data.get(name)
    if path and value:
        raise ValueError(f"is set, and so is {variable(name)}; keep one")
    return _text_of(path) if path else value.strip()


# -------------------------------------------------------------------------------- what is shown

_SECRET_IN_QUERY = re.compile(r"(?i)([?&][^=&;]*(?:password|secret|token|key)[^=&;]*=)[^&;]*")
_USER_IN_ADDRESS = re.compile(r"^\s*([A-Za-z][\w+.-]*://)?([^:@/]*)(:?).*@")
_NEXT_ADDRESS = re.compile(r";(?=[A-Za-z][\w+.-]*://)")


def hide_secrets(url: str) -> str:
    """Return an address, or several with ``;`` between them, with every password hidden."""
    if "://" not in url:
        return url
    return ";".join(_without_password(part) for part in _NEXT_ADDRESS.split(url))


def hidden(value: Any) -> Any:
    """Return a JSON value with the passwords of all addresses in it hidden."""
    if isinstance(value, list):
        return [hidden(item) for item in value]
    if isinstance(value, dict):
        return {name: hidden(item) for name, item in value.items()}
    return hide_secrets(value) if isinstance(value, str) else value


def _without_password(url: str) -> str:
    url = _SECRET_IN_QUERY.sub(r"\1***", url)
    address, question, query = url.partition("?")
    if "@" in query and "/" not in address.partition("://")[2]:
        address, question, query = url, "", ""  # a raw question mark in the password
    return _USER_IN_ADDRESS.sub(_hidden_user, address) + question + query


def _hidden_user(found: re.Match[str]) -> str:
    # A user without a password may be a token.
    user = found[2] if found[3] else "***"
    return f"{found[1] or ''}{user}{':***' if found[3] else ''}@"
