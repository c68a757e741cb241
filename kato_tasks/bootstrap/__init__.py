"""Build the running pieces of one process from the settings. Only this package names adapters."""

from __future__ import annotations

from kato_tasks.bootstrap.archive import archive_schema
from kato_tasks.bootstrap.outside import Outside, stand_on
from kato_tasks.bootstrap.process import forget_runtime, opened_runtime, runtime
from kato_tasks.bootstrap.runtime import Runtime, build, require_client, terms_of
from kato_tasks.bootstrap.waking import fill_waker, waker

__all__ = [
    "Outside",
    "Runtime",
    "archive_schema",
    "build",
    "fill_waker",
    "forget_runtime",
    "opened_runtime",
    "require_client",
    "runtime",
    "stand_on",
    "terms_of",
    "waker",
]
