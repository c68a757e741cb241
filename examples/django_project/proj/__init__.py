"""The project. Its Celery app is made whenever Django is, so that shared tasks find it."""

from proj.celery import app as celery_app

__all__ = ["celery_app"]
