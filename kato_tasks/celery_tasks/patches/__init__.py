"""Corrections of Celery and its libraries, each with its reason; remove one when an upgrade makes it unnecessary."""
