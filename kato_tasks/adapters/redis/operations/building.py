"""What the tables of operations are made of.

A table's entry says which script an operation calls, under which key, and what fills the script's slots. A slot that
the entry does not name is filled by the operation's field of the slot's name (``encoding.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from kato_tasks.adapters.redis.calls import Arg, Call, Command, Decode
from kato_tasks.adapters.redis.decoding import nothing
from kato_tasks.adapters.redis.encoding import Each, Fill, compile_encoder, each
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.retention import Retention
from kato_tasks.adapters.redis.scripts import script
from kato_tasks.domain.ids import partition_of

Encode = Callable[[Any, Retention], Call]

LEASE = {"lane": "lease.lane", "token": "lease.token", "lease_ms": "lease.lease_ms"}
"""What fills the slots of a script that writes under a lease."""


@lru_cache(maxsize=65_536)
def lane_prefix(lane: str) -> str:
    """Return what every key of a lane's partition begins with."""
    return prefix(partition_of(lane))


def of_partition(op: Any, _keep: Retention) -> str:
    """Return the key of an operation on a partition."""
    return prefix(op.partition)


def of_lane(op: Any, _keep: Retention) -> str:
    """Return the key of an operation on a lane."""
    return lane_prefix(op.lane)


def of_lease(op: Any, _keep: Retention) -> str:
    """Return the key of an operation on a lane that the caller leases."""
    return lane_prefix(op.lease.lane)


def call_of(operation: type, name: str, key: str | Fill, decode: Decode, /, **slots: str | Fill | Each) -> Encode:
    """Return how an operation calls the script ``name``. Raises SlotError where the two do not agree."""
    return compile_encoder(script(name).card, operation, Retention, key, decode, slots)


def write_of(operation: type, command: str, key: Fill, words: Fill, /) -> Encode:
    """Return a plain write that a full store must not refuse, because drains depend on it."""
    return call_of(operation, "write", key, nothing, command=lambda op, keep: command, words=each(words, "word"))


def command_of(words: Callable[[Any], Sequence[Arg]], decode: Decode) -> Encode:
    """Return a plain command, which ``words`` makes from the operation."""
    return lambda op, keep: Command(words(op), op, decode)
