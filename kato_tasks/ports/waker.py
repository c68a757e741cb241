"""What the plain calls need of Celery: that workers are told of work, and to know whether the broker answers."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol


class Waker(Protocol):
    """Sends wake-ups, the messages that say "this shard has work", and knows the broker that they go to.

    Losing, repeating or reordering wake-ups is harmless, because every worker's sweep finds what is due. So neither
    way of waking raises when the broker is away.
    """

    def wake(self, shards: Iterable[int]) -> None:
        """Send one wake-up to each shard. The caller has set the shards' marks, so that none is sent twice."""
        ...

    def wake_from_loop(self, shards: Iterable[int]) -> Awaitable[None]:
        """Do the same for an event loop, which goes on while a thread publishes; await it to know that it is done."""
        ...

    def try_broker(self, seconds: float) -> tuple[str, str]:
        """Connect to the broker once, within about ``seconds``.

        Returns its address without a password, and why it cannot be reached ('' when it answers).
        """
        ...
