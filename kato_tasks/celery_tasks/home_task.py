"""The base class of our tasks, which sets the options that they need, whatever their app's configuration says."""

from __future__ import annotations

from typing import Any

from celery import Task

from kato_tasks.celery_tasks.app.home import home_app


class HomeTask(Task):
    """A task that belongs to one app, the home of our tasks, though other apps in the process may know it."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = False
    acks_on_failure = True
    acks_on_timeout = True
    serializer = "json"
    ignore_result = False
    rate_limit = 0
    """There is no rate limit, since the log decides what is applied and how fast."""

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the task to ``app`` only if that is its home, and return the app.

        Celery binds each task to every app that knows it. Ours stay where they are.
        """
        return super().bind(app) if app is home_app() else app

    @classmethod
    def move(cls, app: Any) -> None:
        """Move the task to another app, without reading that app's configuration, which may not be loaded yet."""
        cls.app = cls._app = app
        cls._exec_options = None


__all__ = ["HomeTask"]
