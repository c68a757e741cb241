"""Settings that cannot work, under ``celery -A``: one sentence and the end, where Celery would print a traceback."""

from __future__ import annotations

import sys
from types import FrameType

from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings, settings

UNUSABLE = 2
"""The exit code of ``kato-tasks`` for a setting that cannot be used."""
_DEPLOYED = ("workers.", "beat.")


def settings_of_the_process() -> Settings:
    """The settings, as ``settings`` has them.

    Where this package is what a command line was told to run (``celery -A kato_tasks …``, ``python -m workers.lanes``),
    a bad one ends the process with its sentence on stderr. An application gets ConfigurationError, whatever runs it.
    """
    try:
        return settings()
    except ConfigurationError as exc:
        if not _is_what_runs(sys._getframe()):  # noqa: SLF001  there is no other way to know who imports
            raise
        sys.stderr.write(f"kato_tasks: {exc}\n")
        raise SystemExit(UNUSABLE) from None


def _is_what_runs(frame: FrameType | None) -> bool:
    """Whether a frame among these is a command line that was told to run this package."""
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
