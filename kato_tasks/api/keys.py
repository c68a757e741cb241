"""Make, list and revoke the keys of HTTP callers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.api_keys import ApiKey, Scope, make_key
from kato_tasks.errors import KatoTasksError


class UnknownKey(KatoTasksError):
    """There is no key of this id."""


def create_key(
    rt: Runtime,
    scopes: Sequence[Scope],
    *,
    name: str = "",
    session_prefix: str = "",
    requests_per_second: float = 0,
    backlog: int = 0,
) -> tuple[ApiKey, str]:
    """Keep a new key, and return it with the text that its holder sends. That text cannot be read again later.

    Args:
        rt: The process's pieces.
        scopes: What it allows: ``write`` events, ``read`` sessions and results, ``admin`` for everything.
        name: Whose key it is, for lists.
        session_prefix: It reaches only sessions whose ids begin so.
        requests_per_second: How many requests per second it allows, in the mean of two seconds (0: no limit).
        backlog: While more events than this wait to be applied, it appends none (0: no limit).

    Raises:
        InvalidEvent: An argument is wrong; ``field`` names it.
        StoreUnavailable: The store does not answer.
    """
    key, text = make_key(
        tuple(scopes),
        name=name,
        session_prefix=session_prefix,
        requests_per_second=requests_per_second,
        backlog=backlog,
        now_ms=int(time.time() * 1000),
    )
    rt.keys.add(key)
    return key, text


def revoke_key(rt: Runtime, key_id: str) -> None:
    """Revoke a key. Servers notice within two seconds. Raises UnknownKey or StoreUnavailable."""
    if not rt.keys.revoke(key_id):
        raise UnknownKey(f"there is no key {key_id!r}: see kato-tasks keys list")


def list_keys(rt: Runtime) -> list[ApiKey]:
    """Return all keys, the oldest first. Raises StoreUnavailable."""
    return rt.keys.all()


__all__ = ["UnknownKey", "create_key", "list_keys", "revoke_key"]
