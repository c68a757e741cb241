"""Corrections of what Celery and its libraries do, each with its reason; one goes when an upgrade mends its cause."""
