"""Sending a task when Django's transaction is committed, under the names that Celery has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from kato_tasks.errors import ConfigurationError


class OnCommit:
    """``delay_on_commit`` and ``apply_async_on_commit`` for a task whose ``.delay()`` appends at once.

    Celery's Django fixup gives both to tasks of the Django project's own app only, and these are on another. A
    ``.delay()`` inside a transaction that rolls back has appended its event nevertheless: nothing takes it back.
    """

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Like ``delay``, once the transaction is committed; not at all when it is rolled back."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Like ``apply_async``, once the transaction is committed. Outside of one it is sent at once.

        Raises InvalidEvent here and now for wrong arguments, ConfigurationError without a configured Django.
        """
        call: Mapping[str, Any] = self.call(args, kwargs)  # type: ignore[attr-defined]
        send = partial(self.apply_async, kwargs=call, **options)  # type: ignore[attr-defined]
        try:
            from django.core.exceptions import ImproperlyConfigured
            from django.db import transaction
        except ImportError:
            raise ConfigurationError("delay_on_commit needs Django, which is not installed; use delay") from None
        try:
            transaction.get_connection()
        except ImproperlyConfigured as exc:
            raise ConfigurationError(f"delay_on_commit needs a configured Django: {exc}") from None
        transaction.on_commit(send)


__all__ = ["OnCommit"]
