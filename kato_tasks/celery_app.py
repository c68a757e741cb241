"""The Celery app: ``celery -A kato_tasks worker|beat|flower`` with nothing but the settings."""

from __future__ import annotations

from kato_tasks.celery_tasks.app.own_app import app

__all__ = ["app"]
