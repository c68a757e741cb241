"""Corrections of what Celery and its libraries do, each with the reason; all are undone by an upgrade that mends it."""
