"""The Celery app that the tasks are on: our own, or that of the application that installed them."""
