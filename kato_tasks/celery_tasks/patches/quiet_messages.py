"""Messages as Celery makes them, apart from one event: nothing tells Flower that an idle sweep was sent."""

from __future__ import annotations

from typing import Any

QUIET_TASKS = frozenset({"kato_tasks.sweep", "kato_tasks.keep_alive"})
"""Tasks that beat sends every few seconds. Flower's first page would show nothing else of an idle system."""


class QuietMessages:
    """Before Celery's ``AMQP``: no ``task-sent`` for these tasks. What workers would tell, their class leaves out."""

    def as_task_v2(self, task_id: str, name: str, *args: Any, **more: Any) -> Any:
        """Celery's message of protocol 2, without the event for a quiet task."""
        message = super().as_task_v2(task_id, name, *args, **more)  # type: ignore[misc]
        return message._replace(sent_event=None) if name in QUIET_TASKS else message


__all__ = ["QUIET_TASKS", "QuietMessages"]
