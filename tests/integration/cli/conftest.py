from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import pools

from kato_tasks.api.signs import AboutWorker, worker_lives
from kato_tasks.bootstrap import Runtime, build, forget_runtime, runtime
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks.app.configuration import configuration
from kato_tasks.celery_tasks.app.queueing import queues
from kato_tasks.settings import Settings, settings
from tests.integration.cli.running import NOWHERE, Cli, Imports, databases


@pytest.fixture
def cli(redis_url: str, tmp_path: Path) -> Cli:
    return Cli(tmp_path, {**databases(redis_url), "KATO_URLS": NOWHERE})


@pytest.fixture
def rt(redis_url: str) -> Iterator[Runtime]:
    """The pieces of this process, on the store that ``cli`` uses too."""
    made = build(Settings(store_url=databases(redis_url)["STORE_URL"], kato_urls=(NOWHERE,)))
    yield made
    made.close()


@pytest.fixture
def imports(rt: Runtime, tmp_path: Path) -> Imports:
    return Imports(rt, tmp_path)


@pytest.fixture
def live(cli: Cli, kato_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The pieces of a process whose KATO is there; the command line has the same settings."""
    cli.settings["KATO_URLS"] = kato_url
    yield from commands_inside(cli, monkeypatch)


@pytest.fixture
def inside(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """Commands run in this process, in their directory, without a KATO."""
    monkeypatch.chdir(cli.directory)
    yield from commands_inside(cli, monkeypatch)


def commands_inside(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """Let this process have the command line's settings, and run its commands."""
    cli.inside = True
    for name, value in cli.settings.items():
        monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    follow_environment()
    # Lanes are drained in this process, so it stands for the worker.
    serves = [queue.name for queue in queues(settings().shards)]
    worker_lives(runtime().store, AboutWorker(name="here", pid=1, host="here", queues=serves, started_ms=10**15))
    yield runtime()
    monkeypatch.undo()
    follow_environment()


def follow_environment() -> None:
    """Make this process's settings, pieces and Celery app those of the environment."""
    settings.cache_clear()
    forget_runtime(close=True)
    pools.reset()  # type: ignore[no-untyped-call]
    app._pool = None
    app.__dict__.pop("amqp", None)
    app.conf.update(configuration(settings()))
