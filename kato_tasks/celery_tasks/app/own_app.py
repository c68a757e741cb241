"""Our own Celery app: ``celery -A kato_tasks worker|beat|flower`` with nothing but the settings."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from celery import Celery
from celery.signals import import_modules
from celery.utils.imports import symbol_by_name

from kato_tasks.celery_tasks.app.command_line import settings_of_the_process
from kato_tasks.celery_tasks.app.configuration import configuration
from kato_tasks.celery_tasks.app.queueing import OwnAMQP
from kato_tasks.celery_tasks.calling.awaiting import AwaitableResult


def task_class() -> str | None:
    """What an application's own tasks on our app derive from: in a Django project they have ``delay_on_commit``."""
    django = "DJANGO_SETTINGS_MODULE" in os.environ and find_spec("django") is not None
    return "celery.contrib.django.task:DjangoTask" if django else None


# Neither the current app nor, as Celery's fix-up for Django would make it, the default one of all threads: a host's
# @shared_task goes to the host's.
app = Celery("kato_tasks", amqp=OwnAMQP, task_cls=task_class(), set_as_current=False, fixups=[])
app.AsyncResult = app.subclass_with_self(AwaitableResult, name="AsyncResult")  # chains and chords end in one, too
app.conf.update(configuration(settings_of_the_process()))


def _run_for_us(**_: Any) -> None:
    """``celery -A kato_tasks worker|beat|flower|shell``: the process is ours, and Flower asks the current app."""
    app.set_current()
    app.set_default()
    if not app._fixups:  # noqa: SLF001  Celery has no public name for it
        app._fixups = [made for fixup in app.builtin_fixups if (made := symbol_by_name(fixup)(app))]  # noqa: SLF001
        for fixup in app._fixups:  # noqa: SLF001
            fixup.on_import_modules()


import_modules.connect(_run_for_us, sender=app, weak=False)
