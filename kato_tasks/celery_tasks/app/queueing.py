"""Choose the queue that a message goes to, on our own app and on a host's. This is our part of Celery's ``AMQP``.

It does not touch Celery's configuration, so a host's own queues, routes and defaults stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from celery.app.amqp import AMQP, Queues
from celery.app.routes import Router
from kombu import Exchange, Queue

from kato_tasks.celery_tasks.patches.quiet_messages import QuietMessages
from kato_tasks.domain.ids import CONTROL_QUEUE, REPLAY_QUEUE, queue_of
from kato_tasks.settings import settings

EXCHANGE = Exchange("kato", type="direct", durable=True)
OURS = "kato_tasks."
"""The prefix of our tasks' names."""
CELERYS = "celery."
"""The prefix of the names of the tasks that every worker knows, such as ``celery.chord_unlock``."""


def own_queue(name: str) -> Queue:
    """Return a queue on our exchange with a routing key of its own (a queue given by name only would share a key)."""
    return Queue(name, EXCHANGE, routing_key=name, durable=True)


def queues(shards: int) -> list[Queue]:
    """Return one queue per shard, and the queues of replay and control."""
    names = [queue_of(shard) for shard in range(shards)] + [REPLAY_QUEUE, CONTROL_QUEUE]
    return [own_queue(name) for name in names]


class PatternQueues(Queues):
    """Celery's queues, which ``-Q`` can choose, and ``-X`` can leave out, also by pattern, as ``-X 'kato.*'``."""

    def select(self, include: Any) -> None:
        super().select(self._named(include))

    def deselect(self, exclude: Any) -> None:
        super().deselect(self._named(exclude))

    def _named(self, names: Any) -> Any:
        if not names:
            return names
        given = [names] if isinstance(names, str) else list(names)
        found: list[str] = []
        for name in given:
            known = [one for one in self if fnmatchcase(one, name)] if set("*?[") & set(name) else []
            found += known or [name]
        return list(dict.fromkeys(found))

    def also_consumed(self, more: Iterable[Queue]) -> None:
        """Add queues as they are, without the app's defaults, to those that a worker without ``-Q`` consumes."""
        for queue in more:
            dict.__setitem__(self, queue.name, queue)
            self._default_consume_from[queue.name] = queue


class Elsewhere(Queue):
    """A queue that another app declares with arguments of its own.

    If it does not exist yet, it is made with Celery's defaults.
    """

    def declare(self, nowait: bool = False, channel: Any = None) -> Any:
        """Declare the queue, unless a queue with this name exists, which is then used as it was declared."""
        if _exists(channel or self.channel, self.name):
            return self.name
        return super().declare(nowait=nowait, channel=channel)


def _exists(channel: Any, name: str) -> bool:
    """Return whether RabbitMQ has the queue. On Redis, where a declaration has no arguments, return False.

    RabbitMQ refuses to declare a queue with other arguments than it has. The question is asked on a channel of its own,
    since the answer "no" closes the channel.
    """
    connection = getattr(channel, "connection", None)
    if not hasattr(channel, "basic_publish_confirm") or connection is None:
        return False
    from amqp.exceptions import NotFound

    probe = connection.channel()
    try:
        probe.queue_declare(name, passive=True)
    except NotFound:
        return False
    with contextlib.suppress(OSError):
        probe.close()
    return True


class LaneRouter(Router):
    """Routes our tasks to the queue that they name, whatever the app's routes say.

    Without one those of replays go to ``kato.replay``, and all others to ``kato.control``.
    """

    def route(self, options: Any, name: str, args: Any = (), kwargs: Any = None, task_type: Any = None) -> Any:
        if name.startswith(OURS):
            rest = {key: value for key, value in options.items() if key not in _DESTINATION}
            usual = REPLAY_QUEUE if name.startswith(_REPLAYS) else CONTROL_QUEUE
            return Router.expand_destination(self, {**rest, "queue": options.get("queue") or usual})
        return super().route(options, name, args, kwargs, task_type)


_REPLAYS = f"{OURS}replay"
_DESTINATION = frozenset({"queue", "exchange", "exchange_type", "routing_key"})


class OwnRouter(LaneRouter):
    """The router of our own app.

    Celery's own tasks go to ``kato.control``. An application's tasks go to its own queue, or to the queue that it
    names.
    """

    def route(self, options: Any, name: str, args: Any = (), kwargs: Any = None, task_type: Any = None) -> Any:
        if name.startswith(CELERYS) and not options.get("queue"):
            options = {**options, "queue": CONTROL_QUEUE}
        return super().route(options, name, args, kwargs, task_type)

    def expand_destination(self, route: Any) -> Any:
        """Use a queue that a signature or a route names though nothing here declares it. ``-Q`` does not know it."""
        name = route if isinstance(route, str) else route.get("queue")
        if isinstance(name, str) and name not in self.queues and not name.startswith("kato."):
            rest = {} if isinstance(route, str) else route
            return {**rest, "queue": Elsewhere(name, Exchange(name), routing_key=name)}
        return super().expand_destination(route)


class OwnAMQP(QuietMessages, AMQP):
    """The ``AMQP`` of our own app. It knows the application's own queue, which is consumed only if ``-Q`` names it."""

    queues_cls = PatternQueues

    def Queues(self, queues: Any, *args: Any, **options: Any) -> Any:  # noqa: N802  Celery's name
        """Return Celery's queues with the one for an application's own tasks beside them."""
        made = super().Queues(queues, *args, **options)
        made.add(own_queue(settings().own_queue))
        return made

    def Router(self, queues: Any = None, create_missing: Any = None) -> Any:  # noqa: ARG002, N802  Celery's names
        """Return the router of our own app, which sends an application's tasks to their own queue."""
        return OwnRouter(self.routes, queues or self.queues, create_missing=False, app=self.app)


def for_a_host(base: type[AMQP]) -> type[AMQP]:
    """Return a host's ``AMQP`` class with our queues beside its own. The host's configuration stays as it is."""
    if getattr(base, "kato_hosted", False):
        return base
    queues_base = base.queues_cls

    class HostedQueues(PatternQueues, queues_base):  # type: ignore[misc, valid-type]
        pass

    class HostedAMQP(QuietMessages, base):
        kato_hosted = True
        kato_home = True
        """This is False once another app is the home of our tasks."""
        queues_cls = HostedQueues

        def Queues(self, given: Any, *args: Any, **options: Any) -> Any:  # noqa: N802  Celery's name
            made = super().Queues(given, *args, **options)
            if type(self).kato_home:
                made.also_consumed(queues(settings().shards))
            return made

        def Router(self, queues: Any = None, create_missing: Any = None) -> Any:  # noqa: N802  Celery's name
            if not type(self).kato_home:
                return super().Router(queues, create_missing)
            missing = self.app.either("task_create_missing_queues", create_missing)
            return LaneRouter(self.routes, queues or self.queues, missing, app=self.app)

    return HostedAMQP


def serves_lanes(app: Any) -> bool:
    """Return whether a worker of this app, with its ``-Q`` and ``-X``, takes messages of ours."""
    ours = {queue.name for queue in queues(settings().shards)}
    return bool(ours & set(app.amqp.queues.consume_from))


__all__ = [
    "CELERYS",
    "CONTROL_QUEUE",
    "EXCHANGE",
    "OURS",
    "REPLAY_QUEUE",
    "Elsewhere",
    "OwnAMQP",
    "for_a_host",
    "own_queue",
    "queues",
    "serves_lanes",
]
