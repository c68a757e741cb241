"""Sends a task when Django's transaction is committed, by methods that are named as Celery names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from kato_tasks.errors import ConfigurationError


class OnCommit:
    """Gives ``delay_on_commit`` and ``apply_async_on_commit`` to a task whose ``.delay()`` appends at once.

    Celery's Django fixup gives both only to tasks of the Django project's own app, and our tasks are on another app. A
    plain ``.delay()`` inside a transaction appends its event even if the transaction rolls back.
    """

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Like ``delay``, once the transaction is committed; nothing is sent if it is rolled back."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Like ``apply_async``, once the transaction is committed. Outside a transaction it is sent at once.

        Raises InvalidEvent at once for wrong arguments, and ConfigurationError if Django is not installed or
        configured.
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
