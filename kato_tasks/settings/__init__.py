"""The settings of a process: where they come from, which values each accepts, and the frozen object that holds them."""

from __future__ import annotations

from kato_tasks.settings.checks import hidden, hide_secrets
from kato_tasks.settings.model import Settings, given_settings, settings, use

__all__ = ["Settings", "given_settings", "hidden", "hide_secrets", "settings", "use"]
