"""Plain calls, without Celery and without a framework: append, sessions, dead letters, status."""
