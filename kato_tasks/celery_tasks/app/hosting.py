"""``kato_tasks.install`` puts our tasks on an application's own Celery app, beside the application's tasks.

The app's configuration is not read here, since a Django project's is not loaded yet when its app is made, and it is
never overwritten. ``queueing`` sees to queues and routes, a task's class has what the task needs (``home_task``), and
``host_check`` checks the rest when something is first sent and when a worker starts.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import import_modules
from celery.utils.imports import symbol_by_name

from kato_tasks.celery_tasks.app.given_settings import take_settings
from kato_tasks.celery_tasks.app.queueing import for_a_host
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings


def install(app: Celery, *, settings: Settings | None = None) -> Celery:
    """Put our tasks on ``app``: one broker, one result backend, one worker and one beat for both.

    Call it where the app is made, in every process of the application. A second call with the same app changes
    nothing.

    Args:
        app: Your Celery app. It may be configured before this call or after it.
        settings: This process's settings (store, KATO, …) in place of those of the environment. Broker and result
            backend are the app's in either case.

    Returns:
        ``app``.

    Raises:
        ConfigurationError: ``app`` is no Celery app, or in this process tasks of ours were already sent through
            another app, or the store was already used under other settings.
    """
    if not isinstance(app, Celery):
        raise ConfigurationError(f"kato_tasks.install takes a Celery app, not {type(app).__name__}")
    host: Celery = getattr(app, "_get_current_object", lambda: app)()  # celery.current_app is a proxy
    if settings is not None:
        take_settings(
            settings, "call kato_tasks.install where the Celery app is made, before anything is appended or read"
        )
    # Late: it reads the settings.
    from kato_tasks.celery_tasks.app import home

    before = home.home_app()
    if before is host:
        return host
    if home.used():
        raise ConfigurationError(
            f"the tasks of kato_tasks are in use on the Celery app {_name(before)}, and one process has one home for "
            f"them; call kato_tasks.install with {_name(host)} where that app is made, before anything is sent"
        )
    _move(before, host)
    return host


def _move(before: Celery, host: Celery) -> None:
    from kato_tasks.celery_tasks import tasks
    from kato_tasks.celery_tasks.app import home, own_app

    own_app.app.finalize()  # the tasks are made
    if before is not own_app.app:
        _leave(before)
    host.amqp_cls = for_a_host(symbol_by_name(host.amqp_cls))
    host.amqp_cls.kato_home = True
    host.__dict__.pop("amqp", None)  # an object that is there already does not know our queues
    home.move_home(host)
    for task in tasks.all_tasks():
        task.move(host)
        host._tasks[task.name] = task  # noqa: SLF001  app.tasks would finalize it
        if host.finalized:
            task.bind(host)
    import_modules.connect(_serve, sender=host, weak=False, dispatch_uid="kato_tasks.serve")
    host.on_after_finalize.connect(_add_to_beat, weak=False, dispatch_uid="kato_tasks.beat")
    loader = host.__dict__.get("loader")
    if loader is not None and loader.worker_initialized:
        _serve(host)  # called from a module that a worker imports, as by Django's AppConfig.ready


def _leave(before: Celery) -> None:
    """Take our tasks off an app that has not used them, as when an application is made again in tests."""
    from kato_tasks.celery_tasks import tasks

    before.amqp_cls.kato_home = False
    before.__dict__.pop("amqp", None)
    for task in tasks.all_tasks():
        before._tasks.pop(task.name, None)  # noqa: SLF001  app.tasks would finalize it


def _serve(sender: Any, **_: Any) -> None:
    """Import our modules when a worker, or beat, of the host imports its own. Ours decide what they start."""
    from kato_tasks.celery_tasks.app import home

    if sender is home.home_app():
        for module in ("kato_tasks.celery_tasks.worker.worker_signals", "kato_tasks.celery_tasks.worker.flower_pages"):
            sender.loader.import_task_module(module)
        _add_to_beat(sender)


def _add_to_beat(sender: Any, **_: Any) -> None:
    """Add our entries to the host's beat schedule, whatever its scheduler. A host's entry with the same name wins."""
    from kato_tasks.celery_tasks.app import configuration, home

    if sender is home.home_app():
        sender.conf.beat_schedule = {**configuration.beat_schedule(), **(sender.conf.beat_schedule or {})}


def _name(app: Celery) -> str:
    return repr(app.main or "(without a name)")


__all__ = ["install"]
