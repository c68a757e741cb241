"""The whole system in real processes: a broker, a store, a KATO, and `celery worker` processes between them.

The test's own process is the application that calls `.delay()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import redis
from celery.signals import before_task_publish

from kato_tasks import Settings, make_app
from kato_tasks.bootstrap import forget_runtime
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks.app.queueing import EXCHANGE
from kato_tasks.settings import given_settings
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import LOOPBACK, KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until

CHECKOUT = str(Path(__file__).resolve().parents[2])
Json = dict[str, Any]


class CeleryProcess(Service):
    """`celery -A kato_tasks …` in a process of its own, outside the checkout, configured by its environment."""

    stop_seconds = 30.0
    start_seconds = 40.0
    application = "kato_tasks"
    """what `-A` names"""

    def __init__(self, directory: Path, environment: dict[str, str], *words: str) -> None:
        super().__init__(directory)
        self._environment = environment
        self._words = words

    @property
    def url(self) -> str:
        return ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", self.application, *self._words]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
        return inherited | {"PYTHONPATH": CHECKOUT, "PYTHONUNBUFFERED": "1"} | self._environment

    def text(self) -> str:
        """What it has printed so far."""
        return self._log().read_text(errors="replace") if self._log().exists() else ""

    def answers(self) -> bool:
        return " ready." in self.text()


class Worker(CeleryProcess):
    name = "worker"

    def __init__(self, directory: Path, environment: dict[str, str], *options: str) -> None:
        words = ("worker", "--loglevel", "INFO", "--hostname", f"{directory.name}@test", *options)
        super().__init__(directory, environment, *words)


class Flower(CeleryProcess):
    name = "flower"

    def command(self) -> list[str]:
        return [*super().command(), f"--address={LOOPBACK}", f"--port={self.port}", "--persistent=False"]

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=10) as answer:  # noqa: S310  an address of ours
            return json.loads(answer.read())

    def answers(self) -> bool:
        try:
            return bool(self.ask("/api/workers"))
        except OSError:
            return False


class System:
    """Where the parts are, and what is on them now."""

    application = "kato_tasks"
    """the app of the workers"""
    second: KatoServer
    """another KATO instance, where a system has one"""
    http_port: int
    """of its HTTP server, where a system has one"""

    def __init__(self, broker: Service, store: RedisServer, kato: KatoServer, directory: Path, **more: str) -> None:
        self.broker = broker
        self.store = store
        self.kato = kato
        self.directory = directory
        at = store.url.removesuffix("/0")
        self.environment = {
            "KATO_TASKS_BROKER_URL": broker.url,
            "KATO_TASKS_RESULT_BACKEND": f"{at}/1",
            "KATO_TASKS_STORE_URL": f"{at}/2",
            "KATO_TASKS_KATO_URLS": kato.url,
            "KATO_TASKS_SHARDS": "4",
            **{f"KATO_TASKS_{name.upper()}": value for name, value in more.items()},
        }
        self._workers = 0

    @property
    def settings(self) -> Settings:
        """What its workers read from their environment."""
        return Settings(**{name.removeprefix("KATO_TASKS_").lower(): text for name, text in self.environment.items()})

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.environment["KATO_TASKS_STORE_URL"], decode_responses=True)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """While this lasts, `kato_tasks` in this process speaks to this system."""
        before = given_settings()
        app.close()
        with make_app(self.settings):
            yield
        if before is not None:
            make_app(before)

    @contextlib.contextmanager
    def workers(self, *options: Sequence[str]) -> Iterator[list[Worker]]:
        """One worker for each set of options, ready; stopped as an operator would."""
        started = []
        for words in options:
            self._workers += 1
            started.append(Worker(self.directory / f"worker{self._workers}", self.environment, *words))
            started[-1].application = self.application
        with contextlib.ExitStack() as stack:
            for worker in started:
                stack.callback(worker.stop)
                worker.start()
            yield started

    def empty(self) -> None:
        """Forget all: store, results, queues, KATO."""
        self.store.start()
        with redis.Redis.from_url(self.store.url) as client:
            client.flushall()
        self.broker.start()
        if isinstance(self.broker, RabbitmqServer):
            with app.connection_for_write() as connection, connection.channel() as channel:
                for queue in app.conf.task_queues:
                    queue(channel).declare()
                    queue(channel).purge()
        elif self.broker is not self.store:
            with redis.Redis.from_url(self.broker.url) as client:
                client.flushall()
        self.kato.start()
        self.kato.reset()
        forget_runtime(close=True)

    def ask(self, path: str) -> Any:
        """The embedded KATO's own account of what happened there."""
        with urllib.request.urlopen(f"{self.kato.url}/_embedded/{path}", timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())

    def faults(self, *rules: Json) -> None:
        body = json.dumps({"rules": list(rules), "seed": 1}).encode()
        request = urllib.request.Request(f"{self.kato.url}/_embedded/faults", body, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  an address of ours
            answer.read()

    def applied(self, session: str) -> list[str]:
        """The event ids that the KATO session which serves `session` now was given, in their order."""
        from kato_tasks import session_status

        status = session_status(session)
        assert status is not None
        assert status.binding is not None, f"{session} is bound to no KATO session"
        applied: list[str] = self.ask(f"sessions/{status.binding.kato_session_id}")["applied"]
        return applied

    def stm(self, session: str) -> list[list[str]]:
        """The STM of the KATO session which serves `session` now."""
        from kato_tasks import session_status

        status = session_status(session)
        assert status is not None
        assert status.binding is not None, f"{session} is bound to no KATO session"
        stm: list[list[str]] = self.ask(f"sessions/{status.binding.kato_session_id}")["stm"]
        return stm


class Redelivery:
    """Publishes every message that this process publishes again, in another order."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._seen: list[Json] = []
        self._new: list[Json] = []
        self._repeating = threading.local()
        self.repeated = 0

    def __enter__(self) -> Self:
        before_task_publish.connect(self._note, weak=False)
        return self

    def __exit__(self, *_: object) -> None:
        before_task_publish.disconnect(self._note)

    def _note(self, sender: str = "", **message: Any) -> None:
        keep = {"body": message["body"], "routing_key": message["routing_key"], "headers": dict(message["headers"])}
        keep["properties"] = {k: v for k, v in message["properties"].items() if k in ("correlation_id", "reply_to")}
        with self._lock:
            self._new.append(keep)

    def links(self, task_id: str) -> list[Json]:
        """The links in the message of a task that was published since the last repetition."""
        with self._lock:
            (message,) = [m for m in self._new if m["headers"]["id"] == task_id]
        return list(message["body"][2]["callbacks"] or [])

    def repeat(self, *, all_again: bool = False) -> None:
        """Publish what is new since last time (or everything) once more, shuffled."""
        with self._lock:
            self._seen += self._new
            batch = list(self._seen) if all_again else list(self._new)
            self._new = []
        self._rng.shuffle(batch)
        with app.producer_pool.acquire(block=True) as producer:
            for message in batch:
                producer.publish(
                    message["body"],
                    exchange=EXCHANGE,
                    routing_key=message["routing_key"],
                    headers=message["headers"],
                    serializer="json",
                    **message["properties"],
                )
        self.repeated += len(batch)


def drained(sessions: Sequence[str], timeout: float = 60) -> None:
    """Wait until everything that was appended to these sessions is applied."""
    from kato_tasks import session_status

    def behind() -> list[str]:
        out = []
        for session in sessions:
            status = session_status(session)
            if status is None or status.cursor != status.head or status.state != "idle":
                out.append(f"{session}: {status and (status.cursor, status.head, status.state)}")
        return out

    left: list[str] = []

    def done() -> bool:
        left[:] = behind()
        return not left

    try:
        wait_until(done, timeout, "everything is applied", every=0.05)
    except AssertionError as late:
        raise AssertionError(f"{late}: {left[:5]}") from late
