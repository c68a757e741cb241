"""The home of our tasks: the Celery app that they are on in this process."""

from __future__ import annotations

from celery import Celery

from kato_tasks.celery_tasks.app.host_check import refuse_what_cannot_work
from kato_tasks.celery_tasks.app.own_app import app
from kato_tasks.settings import hide_secrets, settings

_home: Celery = app
_host_used = False


def home_app() -> Celery:
    """Return the app that our tasks are on in this process. Code that sends through the app calls ``home`` instead."""
    return _home


def home() -> Celery:
    """Return the app that our tasks are on, to be used now. After this call our tasks cannot move to another app.

    Raises ConfigurationError when an application's app is configured so that our tasks cannot run.
    """
    global _host_used
    if not installed():
        app.used = True
    elif not _host_used:
        refuse_what_cannot_work(_home)
        _host_used = True
    return _home


def installed() -> bool:
    """Return whether our tasks are on an application's own app."""
    return _home is not app


def used() -> bool:
    """Return whether anything was sent through the tasks' home, or received by it."""
    return _host_used if installed() else app.used


def move_home(host: Celery) -> None:
    """Make ``host`` the tasks' home. Call ``hosting.install``, which does all else that a move needs."""
    global _home, _host_used
    _home, _host_used = host, False


def addresses() -> dict[str, str]:
    """Return the URLs of the tasks' broker and result backend, without passwords, under the settings' names."""
    if not installed():
        config = settings()
        return {"broker_url": hide_secrets(config.broker_url), "result_backend": hide_secrets(config.result_backend)}
    broker = _home.conf.broker_write_url
    shown = hide_secrets(broker) if isinstance(broker, str) else _home.connection_for_write().as_uri()
    backend = _home.conf.result_backend
    return {"broker_url": shown, "result_backend": hide_secrets(backend) if isinstance(backend, str) else ""}
