"""Settings → the running pieces of one process. Only this package names adapters."""

from __future__ import annotations

from kato_tasks.bootstrap.runtime import Runtime, build, forget_runtime, opened_runtime, runtime, terms_of

__all__ = ["Runtime", "build", "forget_runtime", "opened_runtime", "runtime", "terms_of"]
