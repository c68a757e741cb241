"""Decide what a process's pieces connect to: servers, unless a test puts doubles in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from kato_tasks.adapters.redis.store import StoreRun
from kato_tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Outside:
    """How to open the store for threads, the store for event loops, and KATO."""

    store: Callable[[StoreRun], redis.Redis]
    loop_store: Callable[[StoreRun], Any]
    kato: Callable[[Settings], Any]
    """returns a ``ports.kato.KatoTransport`` that also has ``close``"""


_outside: Outside | None = None


def stand_on(outside: Outside | None) -> None:
    """Open the pieces of this process on ``outside`` from now on.

    None stands for the servers that the settings name. This is for tests (``kato_tasks.testing``), which call it before
    anything is opened.
    """
    global _outside
    _outside = outside


def doubles() -> Outside | None:
    """Return what stands in the servers' place, or None if the servers are used."""
    return _outside


__all__ = ["Outside", "doubles", "stand_on"]
