"""Take the settings that an application hands in instead of those of the environment."""

from __future__ import annotations

from kato_tasks import settings as configured
from kato_tasks.bootstrap import opened_runtime
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings


def take_settings(given: Settings, advice: str) -> bool:
    """Make these the process's settings, and return whether they were set.

    False means that the store is in use already, under equal settings. Raises ConfigurationError, with the ``advice``,
    when the store was used under other settings.
    """
    opened = opened_runtime()
    if opened is not None:
        if not same(opened.settings, given):
            raise ConfigurationError(f"the store is in use under other settings in this process; {advice}")
        return False
    configured.use(given)
    return True


def same(one: Settings, other: Settings) -> bool:
    """Return whether both have the same values, wherever the values come from."""
    return one.model_dump() == other.model_dump()


__all__ = ["same", "take_settings"]
