"""A guard against a worker's end when its Redis broker is cut (kombu 5.7).

kombu puts unacknowledged messages back when a channel closes. If the channel closes because the connection is
gone, that needs a connection again, fails with AttributeError or a connection error, and ends the worker's main
process. Nothing is lost by leaving it: the visibility timeout brings those messages back.
"""

from __future__ import annotations

import logging
from typing import Any

from kato_tasks.instrumentation import say

log = logging.getLogger(__name__)


def guard_redis_transport() -> None:
    """Make kombu's Redis channels of this process survive the loss of their connection."""
    from kombu.transport import redis as transport
    from redis.exceptions import RedisError

    if getattr(transport.Channel.QoS, "kato_guarded", False):
        return

    class GuardedQoS(transport.Channel.QoS):  # type: ignore[misc, valid-type]
        kato_guarded = True

        def restore_unacked(self, client: Any = None) -> None:
            held = len(self._delivered)
            try:
                super().restore_unacked(client)
            except (AttributeError, OSError, RedisError) as exc:
                say(log, logging.WARNING, "broker.messages_left", messages=held, error=exc)
                self._delivered.clear()

    transport.Channel.QoS = GuardedQoS
