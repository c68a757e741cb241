"""The base class of our tasks: what they need of Celery's configuration, whatever the app that they are on says."""

from __future__ import annotations

from typing import Any

from celery import Task

from kato_tasks.celery_tasks.app.home import home_app


class HomeTask(Task):
    """A task that is on one app, the home of our tasks, though others in the process may know it."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = False
    acks_on_failure = True
    acks_on_timeout = True
    serializer = "json"
    ignore_result = False
    rate_limit = 0
    """None: what is applied, and how fast, is the log's word."""

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Celery binds each task that an app knows to it. Ours stay where they are."""
        return super().bind(app) if app is home_app() else app

    @classmethod
    def move(cls, app: Any) -> None:
        """Be on another app from now on, without a look at its configuration, which may not be loaded yet."""
        cls.app = cls._app = app
        cls._exec_options = None


__all__ = ["HomeTask"]
