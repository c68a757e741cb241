"""A broker that drops its connections costs no call to KATO its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from kato_tasks import append_events
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import a_system, caught_in_a_call, expected, new_name, run_of, total
from tests.integration.system import System, Worker, drained

EVENTS = 80


@pytest.fixture(params=["redis", "rabbitmq"])
def system(request: pytest.FixtureRequest, kato: KatoServer, tmp_path: Path) -> Iterator[System]:
    broker: RedisServer | RabbitmqServer = request.getfixturevalue(f"{request.param}_server")
    with a_system(broker, tmp_path, kato, batch_events="1") as system:
        yield system


def dropped(system: System) -> None:
    """Every connection to the broker ends."""
    if isinstance(system.broker, RedisServer):
        with redis.Redis.from_url(system.broker.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub")
    else:
        system.broker.kill()
        system.broker.start()


def processes(worker: Worker) -> set[str]:
    """The worker's pool processes."""
    return set(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split())


def test_a_blip_of_the_broker_ends_no_call_to_kato(system: System) -> None:
    """Falls with worker_cancel_long_running_tasks_on_connection_loss on: Celery then ends them in mid-call."""
    system.kato.reset()
    sessions = [new_name() for _ in range(4)]
    # Each event is a call of its own and takes 50 ms: every process is in the middle of a drain for seconds.
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 0.05})
    with system.workers(["--pool", "prefork", "--concurrency", "2"]) as (worker,):
        before = processes(worker)
        append_events([event for session in sessions for event in run_of(session, EVENTS)])
        caught_in_a_call(system)
        dropped(system)
        wait_until(lambda: "onnection to broker lost" in worker.text(), 60)
        drained(sessions, 90)
        assert processes(worker) == before
    assert [system.stm(session) for session in sessions] == [expected(EVENTS)] * 4
    assert (total(system, "fenced"), total(system, "rebuilt")) == (0, 0)
