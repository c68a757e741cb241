"""What workers and beat say of themselves: in the store while they live, and in their log when something is wrong."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kato_tasks import append_events, learn, observe
from kato_tasks.api.status import read_status
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_app import app
from kato_tasks.errors import EventRefused, InvalidEvent
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.gateway import Gateway, Rule
from tests.integration.recovering import SOLO, THREADS, new_name, observation
from tests.integration.system import CeleryProcess, System, Worker

PREFORK = ["--pool", "prefork", "--concurrency", "2"]
PATIENCE = 40


class Beat(CeleryProcess):
    name = "beat"

    def answers(self) -> bool:
        return "beat: Starting" in self.text()


@dataclass
class Started:
    """Two workers, so that what is said twice shows, and a gateway between them and KATO."""

    system: System
    workers: list[Worker]
    gateway: Gateway


@pytest.fixture(scope="module")
def started(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    redis_server.start()
    kato.start()
    with Gateway(kato.url) as gateway:
        more = {"kato_urls": gateway.url, "breaker_interval_seconds": "0.5"}
        system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("said"), **more)
        with system.here():
            system.empty()
            with system.workers(PREFORK, THREADS) as workers:
                yield Started(system, workers, gateway)


@pytest.fixture
def system(started: Started) -> Iterator[System]:
    started.system.empty()
    yield started.system
    started.gateway.start()
    started.gateway.clear()
    started.system.kato.resume()


class Said:
    """What the workers have logged since."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._from = [len(worker.text()) for worker in workers]

    @property
    def text(self) -> str:
        return "".join(one.text()[at:] for one, at in zip(self._workers, self._from, strict=True))

    def lines(self, part: str) -> list[str]:
        return [line for line in self.text.splitlines() if part in line]

    def comes(self, part: str, seconds: float = PATIENCE) -> str:
        try:
            wait_until(lambda: self.lines(part), seconds, f"the workers say {part!r}")
        except StillWaiting:
            print(self.text)
            raise
        return self.lines(part)[0]


@pytest.fixture
def said(system: System, started: Started) -> Said:
    return Said(started.workers)


def test_workers_and_beat_say_that_they_live_and_a_worker_that_ends_is_not_missed(
    system: System, tmp_path: Path
) -> None:
    def named() -> dict[str, str]:
        return {one.name.partition("@")[0]: one.pool for one in read_status(runtime()).workers}

    beat = Beat(tmp_path, system.environment, "beat", "--loglevel", "INFO")
    with contextlib.ExitStack() as stack:
        stack.callback(beat.stop)
        (worker,) = stack.enter_context(system.workers(SOLO))
        beat.start()
        name = worker.directory.name
        there = wait_until(lambda: len(found := named()) == 3 and found, 20, "all give signs") or {}
        assert sorted(there.values()) == ["prefork", "solo", "threads"]
        assert there[name] == "solo"
        worker.stop()
        assert name not in named()
        published = wait_until(lambda: read_status(runtime()).beat, PATIENCE, "beat has published")
        assert published is not None
        assert published.pid == beat.pid


def test_a_kato_that_stands_still_is_in_the_log_once_within_seconds_and_again_when_it_goes_on(
    system: System, said: Said, started: Started
) -> None:
    session = new_name("still")
    observe.delay(session, {"strings": ["a"]}).get(timeout=PATIENCE)
    system.kato.pause()
    answers = [observe.delay(session, {"strings": ["b"]}), observe.delay(new_name("too"), {"strings": ["b"]})]
    assert said.comes(f"waits at position 2 of session {session!r}")
    line = said.comes("kato.troubled", 9)
    assert re.search(rf"url={started.gateway.url} reason=it has not answered for 4 s; [12] calls? under way", line)
    system.kato.resume()
    for answer in answers:
        answer.get(timeout=PATIENCE)
    lasted = re.search(r"kato.recovered url=\S+ lasted=([\d.]+)s", said.comes("kato.recovered"))
    assert lasted is not None
    assert float(lasted[1]) >= 4
    said.comes(f"[{answers[0].id}] succeeded in")
    assert len(said.lines("kato.troubled")) == len(said.lines("kato.recovered")) == 1
    assert not [line for line in said.lines("ignored") if "kato_tasks." in line]


def test_a_kato_that_refuses_connections_is_in_the_log_once_over_all_workers_and_again_when_it_is_back(
    system: System, said: Said, started: Started
) -> None:
    started.gateway.stop()
    sessions = [new_name("down") for _ in range(20)]
    append_events([observation(session, "e", "a") for session in sessions])
    line = said.comes("kato.troubled", 9)
    assert f"url={started.gateway.url} " in line
    assert "cannot be reached" in line
    said.comes("breaker.opened")
    started.gateway.start()
    said.comes("kato.recovered")
    wait_until(lambda: read_status(runtime()).backlog == 0, PATIENCE, "everything is applied")
    assert len(said.lines("kato.troubled")) == len(said.lines("kato.recovered")) == 1


def test_a_refusal_is_one_line_without_a_traceback(system: System, said: Said) -> None:
    refused = learn.delay(new_name("empty"))
    with pytest.raises(EventRefused):
        refused.get(timeout=PATIENCE)
    wrong = app.send_task(
        "kato_tasks.observe", (), {"session_id": "x", "observation": {"strings": 3}}, queue="kato.lane.00"
    )
    with pytest.raises(InvalidEvent):
        wrong.get(timeout=PATIENCE)
    assert 'EventRefused("nothing to learn: ' in said.comes(f"[{refused.id}] raised expected: ")
    assert "InvalidEvent('observation.strings'" in said.comes(f"[{wrong.id}] raised expected: ")
    assert "Traceback" not in said.text


@pytest.mark.parametrize("status", [401, 404])
def test_another_server_at_katos_address_is_in_the_log_at_the_first_call_and_again_when_kato_is_back(
    system: System, said: Said, started: Started, status: int
) -> None:
    rule = Rule(status=status, body=b'{"detail":"Not Found"}', headers={"content-type": "application/json"})
    started.gateway.rules([rule])
    append_events([observation(new_name(), "e", "a")])
    assert f"url={started.gateway.url} status={status}" in said.comes("kato.misdirected", 9)
    started.gateway.clear()

    def lasted() -> list[str]:
        # A worker that has looked at what the others know less than a second ago says it at a later answer.
        append_events([observation(new_name(), "e", "a")])
        time.sleep(0.2)
        return said.lines("lasted=")

    (end, *_) = wait_until(lasted, PATIENCE, "a worker says that KATO is back")
    assert "kato.found" in end or "kato.recovered" in end
    assert len(said.lines("kato.misdirected")) <= 3, "once for each process at most"
    assert not said.lines("kato.troubled")
