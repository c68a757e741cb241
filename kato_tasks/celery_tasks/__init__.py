"""Everything that is Celery: the public tasks, the app that they are on, waiting tasks, wake-ups, the worker."""
