"""Fixtures for real services, and what a run says about those it could not have."""

import contextlib
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import pytest
import redis

from kato_tasks.testing.kafka import KafkaServer, kafka_programs, missing_part, mock_cluster
from kato_tasks.testing.postgres import PostgresServer, postgres_programs
from kato_tasks.testing.rabbitmq import RabbitmqServer, rabbitmq_program
from kato_tasks.testing.services import KatoServer, RedisServer, redis_program
from tests.services import IN_CI, unreachable

pytest_plugins = ["tests.variants", "tests.scheduling"]

STOOD_IN = ("instead of kafka", "librdkafka's mock cluster")
"""What a test's report says that had a mock for want of a Kafka."""


def pytest_configure(config: pytest.Config) -> None:
    """A terminated run ends as an interrupted one does: with its services stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_program() is None:
        unreachable("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with contextlib.closing(_Stopping(server)):
        server.start()
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database of the session's Redis, which is started again if a test left it down."""
    redis_server.start()
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may stop, empty and configure."""
    if redis_program() is None:
        unreachable("redis")
    server = RedisServer(tmp_path / "redis")
    with contextlib.closing(_Stopping(server)):
        server.start()
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    if rabbitmq_program() is None:
        unreachable("rabbitmq")
    server = RabbitmqServer(tmp_path_factory.mktemp("rabbitmq"))
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    if kafka_programs() is None:
        unreachable("kafka", missing_part())
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    with contextlib.closing(_Stopping(server)):
        server.start()
        yield server


@pytest.fixture(scope="session")
def _kafka_mock() -> Iterator[str]:
    with mock_cluster() as bootstrap:
        yield bootstrap


@pytest.fixture
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of the session's Kafka, which is started again if a test left it down.

    Topics of other tests stay: a test names its own. Where Java or the jars are missing outside CI, this is the mock
    cluster of librdkafka, and the run says so at its end.
    """
    if kafka_programs() is None and not IN_CI:
        request.node.user_properties.append(STOOD_IN)
        bootstrap: str = request.getfixturevalue("_kafka_mock")
        return bootstrap
    server: KafkaServer = request.getfixturevalue("kafka_server")
    server.start()
    return server.url


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    if postgres_programs() is None:
        unreachable("postgresql")
    server = PostgresServer(tmp_path_factory.mktemp("postgresql"))
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)  # nobody needs what it would still write
        server.start()
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database, as new, on a server that is started again if a test left it down."""
    postgres_server.start()
    postgres_server.empty()
    return postgres_server.url


@pytest.fixture(scope="session")
def kato(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KatoServer]:
    """The embedded KATO, which keeps a journal: duplicates and inversions over all sessions show."""
    if find_spec("uvicorn") is None:
        unreachable("kato", "the embedded one needs the extra `embedded`")
    server = KatoServer(tmp_path_factory.mktemp("kato"), "--journal")
    with contextlib.closing(_Stopping(server)):
        server.start()
        yield server


@pytest.fixture
def kato_url(kato: KatoServer) -> str:
    """The session's embedded KATO, empty and without faults."""
    kato.start()
    kato.reset()
    return kato.url


class _Stopping:
    """Gives a server's stop the name that contextlib.closing asks for."""

    def __init__(self, server: RedisServer | KafkaServer | KatoServer) -> None:
        self.close = server.stop


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out for want of a service: a green run must not look complete when it is not."""
    left_out: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        service, found, _ = reason.removeprefix("Skipped: ").partition(" is not available")
        if found:
            left_out[service] = left_out.get(service, 0) + 1
    for service, tests in sorted(left_out.items()):
        terminalreporter.write_line(f"LEFT OUT for want of {service}: {tests} test{'s' * (tests > 1)}", yellow=True)
    mocked = sum(STOOD_IN in map(tuple, report.user_properties) for report in _that_ran(terminalreporter))
    if mocked:
        text = f"ON A MOCK for want of kafka ({missing_part()}): {mocked} test{'s' * (mocked > 1)}"
        terminalreporter.write_line(text, yellow=True)


def _that_ran(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call":
                yield report
