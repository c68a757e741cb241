"""Answer ``celery flower`` where Flower is not installed: one sentence says what is missing.

Without this module, Celery would say that there is no such command.

Every ``celery`` command loads this module, so it imports nothing but click. Where Flower is installed, the command
``flower`` is Flower's own, and this one has a name that nothing calls.
"""

from __future__ import annotations

from importlib.util import find_spec

import click


def _say_what_is_missing() -> None:
    from kato_tasks.cli.lazy import UNUSABLE, Failure
    from kato_tasks.settings import extras

    raise Failure(extras.sentence("celery flower", ["Flower"], "flower"), UNUSABLE)


absent_flower = click.Command(
    "flower" if find_spec("flower") is None else "kato-absent-flower",
    callback=_say_what_is_missing,
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)

__all__ = ["absent_flower"]
