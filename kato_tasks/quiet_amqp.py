"""Messages as Celery makes them, apart from one event: nobody is told that an idle sweep was sent."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP

QUIET_TASKS = frozenset({"kato_tasks.sweep", "kato_tasks.keep_alive"})
"""Tasks that beat sends every few seconds. Flower's first page would show nothing else of an idle system."""


class QuietAMQP(AMQP):  # type: ignore[misc]
    """Sends no ``task-sent`` for these tasks; their class has ``send_events`` off for what the worker would tell."""

    def as_task_v2(self, task_id: str, name: str, *args: Any, **more: Any) -> Any:
        """Celery's message of protocol 2, without the event for a quiet task."""
        message = super().as_task_v2(task_id, name, *args, **more)
        return message._replace(sent_event=None) if name in QUIET_TASKS else message


__all__ = ["QUIET_TASKS", "QuietAMQP"]
