"""Our own Celery app, for ``celery -A kato_tasks worker|beat|flower``, which needs nothing but the settings.

A process has one such app for life, so tasks that an application defines on it stay where they are. Which settings it
is configured with is decided at the first use of its configuration, and again after each ``close``.
"""

from __future__ import annotations

import contextlib
import os
from copy import copy
from importlib.util import find_spec
from typing import Any

from celery import Celery
from celery.app.base import PendingConfiguration
from celery.signals import import_modules
from celery.utils.collections import ConfigurationView
from celery.utils.imports import symbol_by_name
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from kato_tasks.bootstrap import forget_runtime
from kato_tasks.celery_tasks.app.command_line import end_with_a_bad_setting
from kato_tasks.celery_tasks.app.configuration import configuration
from kato_tasks.celery_tasks.app.queueing import OwnAMQP
from kato_tasks.celery_tasks.calling.awaiting import AwaitableResult
from kato_tasks.settings import settings, use


class OwnApp(Celery):
    """A Celery app whose configuration follows the process's settings, which it reads when it first needs them.

    What an application sets on ``conf`` itself stays, whichever settings come.
    """

    # These attributes are Celery's own, which have no types.
    configured: bool
    _pool: Any
    _backend: Any
    _local: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        self.used = False
        """Says whether anything was sent through this app, or received by it, under its present settings."""
        self._from_settings: dict[str, Any] = {}
        super().__init__(*args, **options)

    # Settings that cannot be used raise before Celery begins, since Celery would otherwise leave tasks half made.

    def _load_config(self) -> Any:
        self._from_settings = configuration(settings())
        for name, value in self._from_settings.items():
            self._preconf.setdefault(name, copy(value))  # Celery adds an application's periodic tasks in place
        return super()._load_config()

    def _task_from_fun(self, *args: Any, **options: Any) -> Any:
        settings()
        return super()._task_from_fun(*args, **options)

    def finalize(self, auto: bool = False) -> None:
        """Do what Celery's ``finalize`` does. If this raises ConfigurationError, the app is left as it was."""
        settings()
        super().finalize(auto)

    def close(self) -> None:
        """Close this app's connections to the broker and to the results, and the process's to the store and to KATO.

        This also forgets the settings that ``make_app`` was given. The app can be used again: it then reads those of
        the environment, or takes those of the next ``make_app``. ``with make_app(settings):`` closes it at its end.
        """
        self.forget_configuration()
        forget_runtime(close=True)
        use(None)

    def forget_configuration(self) -> None:
        """Close the connections to the broker and this thread's to the results; read the settings at the next use."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(KombuError, RedisError, OSError):  # a broker that is away
                pool.force_close_all(close_pool=False)
            # kombu has one pool per process and broker, and has just emptied it. Unless it is set up again, the next
            # use hangs.
            pool.setup()
        # Celery's Redis backend is part of a cycle: its connections would stay open until the collector comes. A result
        # that still has this backend opens them again if it is asked.
        client = vars(self._backend).get("client") if self._backend is not None else None
        if client is not None and hasattr(client, "connection_pool"):  # one of a backend in memory has none
            client.connection_pool.disconnect()
        self._backend_cache = None
        self._local = type(self._local)()
        for made in ("amqp", "control", "events", "timezone"):
            self.__dict__.pop(made, None)
        self.used = False
        if not self.configured:
            return
        own = {name: value for name, value in self.conf.changes.items() if not self._is_from_settings(name, value)}
        self._preconf = own
        pending = PendingConfiguration(own, self._finalize_pending_conf)
        # In place, as Celery does: an application may have kept ``app.conf``.
        self.conf.swap_with(ConfigurationView(pending, keys=self.conf._keys))  # noqa: SLF001  as Celery makes it
        self.configured = False

    def _is_from_settings(self, name: str, value: Any) -> bool:
        missing = object()
        return bool(self._from_settings.get(name, missing) == value)


def task_class() -> str | None:
    """Return the name of the class from which an application's own tasks on our app derive, or None for Celery's own.

    In a Django project it is the class that has ``delay_on_commit``.
    """
    django = "DJANGO_SETTINGS_MODULE" in os.environ and find_spec("django") is not None
    return "celery.contrib.django.task:DjangoTask" if django else None


# The app is not made the current app, nor the default app of all threads as Celery's fix-up for Django would make it,
# so that a host's @shared_task goes to the host's app.
app = OwnApp("kato_tasks", amqp=OwnAMQP, task_cls=task_class(), set_as_current=False, fixups=[])
app.AsyncResult = app.subclass_with_self(AwaitableResult, name="AsyncResult")  # chains and chords end in one, too
end_with_a_bad_setting()


def _run_for_us(**_: Any) -> None:
    """Make our app the current and default one under ``celery -A kato_tasks worker|beat|flower|shell``.

    Such a process is ours, and Flower asks for the current app.
    """
    app.set_current()
    app.set_default()
    if not app._fixups:  # noqa: SLF001  Celery has no public name for it
        app._fixups = [made for fixup in app.builtin_fixups if (made := symbol_by_name(fixup)(app))]  # noqa: SLF001
        for fixup in app._fixups:  # noqa: SLF001
            fixup.on_import_modules()


import_modules.connect(_run_for_us, sender=app, weak=False)
