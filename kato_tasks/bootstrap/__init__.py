"""Settings → the running pieces of one process. Only this package names adapters."""

from __future__ import annotations

from kato_tasks.bootstrap.runtime import Runtime, build, forget_runtime, opened_runtime, runtime, terms_of
from kato_tasks.bootstrap.waking import fill_waker, waker

__all__ = ["Runtime", "build", "fill_waker", "forget_runtime", "opened_runtime", "runtime", "terms_of", "waker"]
