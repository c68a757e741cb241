from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks import make_app
from kato_tasks.api.signs import AboutWorker, give_worker_sign
from kato_tasks.bootstrap import Runtime, build, runtime
from kato_tasks.celery_app import app
from kato_tasks.settings import Settings
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
    app.close()
    with make_app():
        # Lanes are drained in this process, so it stands for the worker.
        serves = [queue.name for queue in app.conf.task_queues]
        give_worker_sign(
            runtime().store, AboutWorker(name="here", pid=1, host="here", queues=serves, started_ms=10**15)
        )
        yield runtime()
    monkeypatch.undo()
