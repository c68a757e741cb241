"""Plain calls that need neither Celery nor a framework: append events, and read sessions, dead letters and status."""
