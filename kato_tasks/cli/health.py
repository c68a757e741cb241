"""Provide ``kato-tasks health``, with which a container, systemd or Kubernetes checks a process."""

from __future__ import annotations

import sys

import click

from kato_tasks.cli.lazy import Group
from kato_tasks.cli.output import talk


@click.group(cls=Group)
def health() -> None:
    """Say whether a process does its work, for health checks.

    The exit code is 0 if the process does its work. Otherwise it is 1, and a sentence says what is wrong.
    """


@health.command()
@click.option("--within", type=float, default=5.0, metavar="SECONDS", help="Watch for at most this long (default: 5).")
def worker(within: float) -> None:
    """Check whether a worker takes the messages that wait. One that has stopped taking them may still answer pings."""
    from kato_tasks.celery_tasks.worker.liveness import worker_problem

    _end(worker_problem(within))


@health.command()
@click.option(
    "--within",
    type=float,
    default=30.0,
    metavar="SECONDS",
    help="Accept tasks that were sent at most this long ago (default: 30).",
)
def beat(within: float) -> None:
    """Check whether beat has sent its tasks lately. A beat that hangs is still a running process."""
    from kato_tasks.celery_tasks.worker.liveness import beat_problem

    _end(beat_problem(within))


@health.command()
@click.option("--source", default="", metavar="TEXT", help="Only of sources with this in their name (default: of any).")
@click.option(
    "--within",
    type=float,
    default=15.0,
    metavar="SECONDS",
    help="Accept a listener that made its last step at most this long ago (default: 15).",
)
def listener(source: str, within: float) -> None:
    """Check whether a listener on this machine goes on. One that hangs is still a running process."""
    from kato_tasks.api.status import listener_problem
    from kato_tasks.bootstrap import runtime
    from kato_tasks.errors import StoreUnavailable

    try:
        problem = listener_problem(runtime(), source, within)
    except StoreUnavailable as exc:
        problem = f"cannot ask the store: {exc}"
    _end(problem)


def _end(problem: str | None) -> None:
    if problem:
        talk(problem)
        sys.exit(1)
