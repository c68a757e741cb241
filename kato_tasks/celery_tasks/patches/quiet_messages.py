"""Celery's messages without one monitoring event: Flower is not told that an idle sweep was sent."""

from __future__ import annotations

from typing import Any

QUIET_TASKS = frozenset({"kato_tasks.sweep", "kato_tasks.keep_alive"})
"""Tasks that beat sends every few seconds: on an idle system, Flower's first page would show nothing else."""


class QuietMessages:
    """Goes before Celery's ``AMQP``: no ``task-sent`` for these tasks. Their class leaves out the workers' events."""

    def as_task_v2(self, task_id: str, name: str, *args: Any, **more: Any) -> Any:
        """Return Celery's message of protocol 2, without the event if the task is a quiet one."""
        message = super().as_task_v2(task_id, name, *args, **more)  # type: ignore[misc]
        return message._replace(sent_event=None) if name in QUIET_TASKS else message


__all__ = ["QUIET_TASKS", "QuietMessages"]
