"""One broker for each kind, and a store, on which a listener's processes are started."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.testing.kafka import kafka_programs
from kato_tasks.testing.rabbitmq import rabbitmq_program
from kato_tasks.testing.services import RedisServer, redis_program
from tests.integration.listening.brokers import BROKERS, Broker, broker_of
from tests.integration.listening.rig import ListenerProcess, Story
from tests.services import unreachable

PROGRAMS: dict[str, Callable[[], Any]] = {
    "redis": redis_program,
    "kafka": kafka_programs,
    "rabbitmq": rabbitmq_program,
}


def need(kind: str) -> None:
    """Leave the test out where this machine has no such broker."""
    if PROGRAMS[kind]() is None:
        unreachable(kind)


def on(*kinds: str, fixture: str = "broker") -> pytest.MarkDecorator:
    """Run a test on these brokers, and on the others as variants: its rule is the listener's, whatever it reads."""
    each = [pytest.param(kind, marks=() if kind in kinds else pytest.mark.variant) for kind in BROKERS]
    return pytest.mark.parametrize(fixture, each, indirect=True)


@pytest.fixture(params=list(BROKERS))
def broker(request: pytest.FixtureRequest) -> Broker:
    """The session's broker of each kind, with a topic, queue or stream of the test's own."""
    need(request.param)
    server = request.getfixturevalue("own_streams" if request.param == "redis" else f"{request.param}_server")
    server.start()
    broker = BROKERS[request.param](server)
    broker.prepare()
    return broker


@pytest.fixture(scope="session")
def own_streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for streams, which no test of the store empties."""
    server = RedisServer(tmp_path_factory.mktemp("streams"))
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture(params=list(BROKERS))
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, of each kind, which it may restart."""
    need(request.param)
    broker = broker_of(request.param, tmp_path / "broker")
    with contextlib.ExitStack() as stack:
        stack.callback(broker.close)
        broker.server.start()
        yield broker


@pytest.fixture
def story(broker: Broker, redis_url: str, redis_server: RedisServer) -> Story:
    """Events that are published to the broker, and the log that they are read into."""
    return Story(broker, redis_server, sessions=20)


class Listeners:
    """Starts `kato-tasks listen` processes, and stops them all in the end."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._started = 0

    def start(self, story: Story, *words: str) -> ListenerProcess:
        self._started += 1
        one = ListenerProcess(
            self._directory / f"listener{self._started}", story.environment, [*story.broker.words(), *words]
        )
        self._stack.callback(one.stop)
        self._stack.callback(one.resume_if_paused)
        one.start()
        return one


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[Listeners]:
    with contextlib.ExitStack() as stack:
        yield Listeners(tmp_path, stack)
