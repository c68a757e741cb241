"""End Celery's command line with one sentence, instead of a traceback, for bad settings and missing packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import extras, settings

UNUSABLE = 2
"""The exit code of ``kato-tasks`` for a setting that cannot be used and for a missing package."""
_DEPLOYED = ("workers.", "beat.")


def end_without_extra(check: Callable[[], object]) -> None:
    """End the process with exit code 2 and one sentence on stderr when ``check`` raises ConfigurationError."""
    try:
        check()
    except ConfigurationError as exc:
        sys.stderr.write(f"kato_tasks: {exc}\n")
        raise SystemExit(UNUSABLE) from None


def scheduler_is_missing(*_: Any, **__: Any) -> NoReturn:
    """Stand in for beat's scheduler where it is not installed: end beat with exit code 2 and one sentence."""
    end_without_extra(lambda: extras.require("beat", "worker"))
    raise ConfigurationError("celery-redbeat was installed while this process ran; start beat again")


def end_with_a_bad_setting() -> None:
    """End the process with exit code 2 and one sentence on stderr when a command line runs us with a bad setting.

    Such command lines are ``celery -A kato_tasks …`` and ``python -m workers.lanes``, which need the settings at once.
    An application, however it is run, gets ConfigurationError instead when it uses the settings.
    """
    if not _is_what_runs(sys._getframe()):  # noqa: SLF001  there is no other way to know who imports
        return
    try:
        settings()
    except ConfigurationError as exc:
        sys.stderr.write(f"kato_tasks: {exc}\n")
        raise SystemExit(UNUSABLE) from None


def _is_what_runs(frame: FrameType | None) -> bool:
    """Return whether this frame, or one that called it, is a command line that was told to run this package."""
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == "celery.app.utils" and frame.f_code.co_name == "find_app":
            named = frame.f_locals.get("app")
            return isinstance(named, str) and named.replace(":", ".").split(".")[0] == "kato_tasks"
        spec = frame.f_globals.get("__spec__")
        if module == "__main__" and spec is not None and spec.name.startswith(_DEPLOYED):
            return True
        frame = frame.f_back
    return False
