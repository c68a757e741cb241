"""Alembic's migrations of the archive, which ``kato-tasks db upgrade`` runs.

A migration is additive, and the code of the version before works with its result: a new column has a default. So
workers of two versions can run side by side while a deployment goes on.
"""
