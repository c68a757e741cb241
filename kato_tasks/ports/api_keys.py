"""Describe where the keys of HTTP callers are kept. Every method raises StoreUnavailable if the store is away."""

from __future__ import annotations

from typing import Protocol

from kato_tasks.domain.api_keys import ApiKey


class ApiKeys(Protocol):
    """Keeps keys, without their secrets."""

    def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        ...

    def revoke(self, key_id: str) -> bool:
        """Forget a key, so that it opens nothing any more. Returns False if there is none of this id."""
        ...

    def all(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        ...
