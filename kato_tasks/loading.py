"""Loads parts of the package late, in one thread at a time."""

from __future__ import annotations

from importlib import import_module
from threading import RLock
from types import ModuleType

_importing = RLock()


def load(name: str) -> ModuleType:
    """Import the module ``name`` and return it.

    Celery replaces its own module while it loads, so two threads must not begin to load it at the same time: whatever
    may be the first to load Celery goes through here.
    """
    with _importing:
        return import_module(name)
