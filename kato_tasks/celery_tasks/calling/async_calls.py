"""Calls a task from an event loop: ``await observe.adelay(…)``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from kato_tasks.bootstrap.loops import LoopRuntime, on_this_loop
from kato_tasks.celery_tasks.answers import Place
from kato_tasks.celery_tasks.calling.awaiting import (
    AwaitableEagerResult,
    AwaitableResult,
    awaitable,
)
from kato_tasks.celery_tasks.calling.publishing import CANNOT_BE_SENT, publisher
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import KatoTasksError


class AsyncCalls:
    """Gives a task ``adelay`` and ``aapply_async``: ``delay`` and ``apply_async`` that do not block the event loop.

    The event goes to the store over the loop's own connection, together with those of other calls under way. The
    process's one publishing thread sends the Celery message. Neither takes a thread of its own for the call.
    """

    async def adelay(self, *args: Any, **kwargs: Any) -> AwaitableResult | AwaitableEagerResult:
        """Do what ``delay`` does, and let the event loop go on meanwhile.

        When this returns, the event is in the store; ``await result.aget(timeout=…)`` gives its result. Takes and
        raises what ``delay`` does: TypeError, InvalidEvent (``field`` names the field), NodeConflict, EventConflict,
        StoreUnavailable, ConfigurationError. A call that is cancelled (also by
        ``asyncio.timeout``) has appended its event or not: repeat it with the same ``event_id``, which makes both one.
        """
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AwaitableResult | AwaitableEagerResult:
        """Like ``apply_async``, with its options except ``producer`` and ``connection``; see ``adelay``."""
        result, _ = await self.aplace(args, kwargs, task_id, link, link_error, shadow, **options)
        return result

    async def aplace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> tuple[AwaitableResult | AwaitableEagerResult, Place]:
        """Do what ``aapply_async`` does, and return the place of the call's event beside the result.

        An eager call has no place.
        """
        task: Any = self
        for name in ("producer", "connection"):
            if options.get(name) is not None:
                raise TypeError(f"aapply_async takes no {name}: the message is published in another thread")
        task_id = task_id or str(uuid.uuid4())
        options |= {"task_id": task_id, "link": link, "link_error": link_error, "shadow": shadow}
        task.send_from_home(options)
        if task.app.conf.task_always_eager:
            return AwaitableEagerResult.of(await asyncio.to_thread(task.apply_async, args, kwargs, **options)), {}
        here = await on_this_loop()
        await here.turn()
        call = task.call(args, kwargs)
        await here.store.check()
        due_ms, until = task.times(options)
        if due_ms is None:
            place: Place = await here.ask(task.append_call(here.protocol, call, task_id, until))
        else:
            place = await here.ask(task.keep_call_for_later(here.protocol, call, task_id, due_ms, until))
        await _publish(task, here, call, task.message(place, options, here.settings.shards))
        return self.AsyncResult(task_id), place

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AwaitableResult:  # noqa: N802  Celery's name
        """Return the result of a task by its id: Celery's own, with ``aget``, on any app that has the task."""
        task: Any = self
        made = awaitable(task.app)(task_id, backend=task.backend, task_name=task.name, **kwargs)
        return cast(AwaitableResult, made)


async def _publish(task: Any, here: LoopRuntime, call: dict[str, Any], message: dict[str, Any]) -> None:
    """Publish a call's task; while the broker is away, keep its message in the store."""
    try:
        await publisher().submit(_publishing(task, call, message), broker_is_away)
    except CANNOT_BE_SENT:
        raise
    except Exception as exc:
        raise_errors(await here.store.execute([task.keep_unpublished(call, message, exc)]))


def _publishing(task: Any, call: dict[str, Any], message: dict[str, Any]) -> Callable[[], None]:
    def publish() -> None:
        task.publish(call, message)

    return publish


def broker_is_away(exc: Exception) -> bool:
    """Whether an error raised by publishing is about the broker and not about the message."""
    return not isinstance(exc, (*CANNOT_BE_SENT, KatoTasksError, ValueError, LookupError))


__all__ = ["AsyncCalls", "broker_is_away"]
