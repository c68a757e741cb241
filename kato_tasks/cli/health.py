"""Provide `kato-tasks health`, with which a container, systemd or Kubernetes checks a process."""

from __future__ import annotations

import sys

import click

from kato_tasks.cli.lazy import Group
from kato_tasks.cli.output import talk


@click.group(cls=Group)
def health() -> None:
    """Does a process do its work? Exit code 0, or 1 and a sentence: for health checks."""


@health.command()
@click.option("--within", type=float, default=5.0, metavar="SECONDS", help="How long to watch (default 5).")
def worker(within: float) -> None:
    """Are messages that wait taken? A worker can answer pings and yet have stopped taking them."""
    from kato_tasks.celery_tasks.worker.liveness import worker_problem

    _end(worker_problem(within))


@health.command()
@click.option("--within", type=float, default=30.0, metavar="SECONDS", help="At most how long ago (default 30).")
def beat(within: float) -> None:
    """Has beat sent its tasks lately? One that hangs still runs."""
    from kato_tasks.celery_tasks.worker.liveness import beat_problem

    _end(beat_problem(within))


def _end(problem: str | None) -> None:
    if problem:
        talk(problem)
        sys.exit(1)
