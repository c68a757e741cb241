"""Who calls: the key of a request, what it allows, and how much of it there may be."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kato_tasks.domain.api_keys import ApiKey, Scope, split_key
from kato_tasks.errors import KatoTasksError
from kato_tasks.http_server.answering import Scope as AsgiScope
from kato_tasks.http_server.answering import header_of
from kato_tasks.http_server.problems import Problem
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
REFRESH_SECONDS = 2.0
"""How often the keys are read again, and so how long a revoked one may still open something."""
STALE_SECONDS = 60.0
"""For how long the keys read last count while the store is away; after that nobody is let in."""
BURST_SECONDS = 2.0
"""A key may use the requests of so many seconds at once."""
ANYONE = ApiKey("anyone", "no keys, on loopback", ("admin",), "", 0, 0, 0, "")
"""Who calls a server on loopback for which no keys were made."""
_CHALLENGE = {"www-authenticate": 'Bearer realm="kato_tasks"'}


@dataclass(slots=True)
class _Bucket:
    """Requests that a key may still make now, as of a moment of the monotonic clock."""

    left: float
    at: float


class Access:
    """Knows the keys, and lets requests in or not.

    ``read_keys`` reads the keys from the store, in a thread. ``backlog`` returns how many events wait to be applied.
    A server on loopback is open to all who reach it there, until it sees the first key. From then on it is not, even
    when the last key is revoked: to revoke a key must never let anybody in.
    """

    def __init__(self, read_keys: Callable[[], list[ApiKey]], backlog: Callable[[], int], *, on_loopback: bool) -> None:
        self._read_keys = read_keys
        self._backlog = backlog
        self._on_loopback = on_loopback
        self._keys: dict[str, ApiKey] = {}
        self._saw_keys = False
        self._read_at = -math.inf
        self._buckets: dict[str, _Bucket] = {}

    async def refresh(self) -> None:
        """Read the keys. Raises StoreUnavailable or StoreFailed."""
        keys = await asyncio.to_thread(self._read_keys)
        self._keys = {key.id: key for key in keys}
        self._saw_keys = self._saw_keys or bool(keys)
        self._read_at = time.monotonic()
        self._buckets = {key_id: bucket for key_id, bucket in self._buckets.items() if key_id in self._keys}

    async def keep_fresh(self) -> None:
        """Read the keys again and again, until cancelled. While the store is away the last ones count for a while."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except KatoTasksError as exc:
                log_event(log, logging.WARNING, "keys.unread", error=exc)

    @property
    def limits_backlog(self) -> bool:
        """Whether some key may append only while few events wait."""
        return any(key.backlog for key in self._keys.values())

    def still_admits(self, key: ApiKey) -> bool:
        """Return whether a key that was admitted is one still: a stream lasts longer than a revoked key may."""
        return not self._saw_keys if key is ANYONE else self._keys.get(key.id) == key

    def admit(self, request: AsgiScope, scope: Scope) -> ApiKey:
        """Return the key of a request that may do what ``scope`` names. Raises Problem: 401, 403, 421, 429 or 503."""
        key = self._key_of(request)
        if not key.allows(scope):
            raise Problem(403, f"The key {key.id} has the scopes {', '.join(key.scopes)}; this needs {scope}.")
        if key.requests_per_second:
            self._count(key)
        if key.backlog and scope == "write" and self._backlog() > key.backlog:
            raise Problem(
                429,
                f"More than {key.backlog} events wait to be applied, up to which the key {key.id} may append. "
                "Nothing was accepted; repeat the request later.",
                headers={"retry-after": "1"},
            )
        return key

    def _key_of(self, request: AsgiScope) -> ApiKey:
        if time.monotonic() - self._read_at > STALE_SECONDS:
            raise Problem(503, "The keys cannot be read, since the store is away.", headers={"retry-after": "2"})
        if self._on_loopback and not self._saw_keys:
            check_host(request)
            return ANYONE
        given = header_of(request, b"authorization")
        if given is None:
            raise Problem(401, "Send a key as Authorization: Bearer kt_….", headers=_CHALLENGE)
        kind, _, text = given.decode("latin-1").partition(" ")
        parts = split_key(text.strip()) if kind.lower() == "bearer" else None
        key = self._keys.get(parts[0]) if parts is not None else None
        if parts is None or key is None or not key.matches(parts[1]):
            raise Problem(401, "This key is not known: it may have been revoked.", headers=_CHALLENGE)
        return key

    def _count(self, key: ApiKey) -> None:
        now = time.monotonic()
        most = max(1.0, key.requests_per_second * BURST_SECONDS)
        bucket = self._buckets.setdefault(key.id, _Bucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * key.requests_per_second)
        bucket.at = now
        if bucket.left < 1:
            wait = math.ceil((1 - bucket.left) / key.requests_per_second)
            raise Problem(
                429,
                f"The key {key.id} may make {key.requests_per_second:g} requests per second. Nothing was accepted.",
                headers={"retry-after": str(max(1, wait))},
            )
        bucket.left -= 1


def check_host(request: AsgiScope) -> None:
    """Raise Problem where an open server is asked under another name than loopback's.

    A web page whose name was made to point at 127.0.0.1 would be such a caller.
    """
    host = (header_of(request, b"host") or b"").decode("latin-1")
    if not is_loopback(_name_of(host)):
        raise Problem(
            421,
            f"This server has no keys, so it answers only as localhost or 127.0.0.1, and not as {host[:100]!r}. "
            "Make a key with kato-tasks keys create to use it under other names.",
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own, which no other machine reaches."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


__all__ = ["ANYONE", "Access", "check_host", "is_loopback"]
