"""What docker-compose.yml deploys keeps its promises on both brokers, whatever is killed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from kato_tasks import learn, observe, predict, session_status
from kato_tasks.testing.waiting import wait_until
from tests.docker import grace_seconds

if TYPE_CHECKING:
    from celery.result import AsyncResult
    from pytest_celery import CeleryTestBroker, CeleryTestSetup, CeleryTestWorker, RabbitMQTestBroker, RedisTestBroker

    from kato_tasks import SessionStatus
    from tests.smoke.deployment import Kato

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

LATE_ANSWER = {"kind": "delay_after", "route": "observe-sequence"}
"""KATO applies observations at once and answers late: a worker that dies meanwhile leaves an unknown outcome."""
HELD_UP = 5.0  # seconds: a call lasts longer than it takes to kill a container


def new_session() -> str:
    return f"visit {uuid.uuid4().hex[:8]}"


class Load:
    """Sessions, each on a node of its own, and the `.delay()` calls that returned, in their order."""

    def __init__(self, kato: Kato) -> None:
        self._kato = kato
        self._sent: dict[str, list[AsyncResult[Any]]] = {new_session(): [] for _ in range(4)}

    def send(self, events: int) -> list[AsyncResult[Any]]:
        """Append that many events to each session, the sessions in turns."""
        made = []
        for _ in range(events):
            for session, results in self._sent.items():
                results.append(observe.delay(session, {"strings": [str(len(results))]}))
                made.append(results[-1])
        return made

    def caught_in_a_call(self) -> None:
        """Wait until KATO has applied something that it has not answered yet."""
        wait_until(lambda: self._kato.ask("stats")["in_flight"], 20, "a call to KATO is under way")

    def states(self) -> set[str]:
        return {self._status(session).state for session in self._sent}

    def applied_once_in_order(self) -> None:
        """Wait until all is applied. KATO then holds what was sent, and never had two calls at once on a node."""
        for session, results in self._sent.items():

            def drained(session: str = session, results: Sequence[object] = results) -> bool:
                status = self._status(session)
                return (status.state, status.cursor, status.head) == ("idle", len(results), len(results))

            wait_until(drained, 60, f"everything of {session} is applied", every=0.1)
            binding = self._status(session).binding
            assert binding is not None
            held = self._kato.ask(f"sessions/{binding.kato_session_id}")
            assert held["applied"] == [result.id for result in results]
            assert held["stm"] == [[str(place)] for place in range(len(results))]
        assert self._kato.ask("stats")["overlaps"] == 0

    def _status(self, session: str) -> SessionStatus:
        status = session_status(session)
        assert status is not None
        return status


def answered(results: Sequence[AsyncResult[Any]]) -> None:
    """Wait until each call has its own event's answer."""
    for result in results:
        assert result.get(timeout=60)["unique_id"] == result.id


@pytest.fixture
def load(celery_setup: CeleryTestSetup, deployed_kato: Kato) -> Iterator[Load]:
    yield Load(deployed_kato)
    deployed_kato.misbehave()


class Promises:
    """The tests, once for each broker."""

    def test_a_delay_is_answered_by_kato(self, celery_setup: CeleryTestSetup) -> None:
        session = new_session()
        for page in ("home", "search"):
            observe.delay(session, {"strings": [page]})
        assert learn.delay(session).get(timeout=30)["status"] == "learned"
        assert observe.delay(session, {"strings": ["home"]}).get(timeout=30)["position"] == 4
        (best,) = predict.delay(session).get(timeout=30)["predictions"]
        assert best["future"] == [["search"]]

    def test_a_worker_killed_in_the_middle_of_a_call_and_started_again_loses_and_repeats_nothing(
        self, celery_worker: CeleryTestWorker, load: Load, deployed_kato: Kato
    ) -> None:
        answered(load.send(5))
        deployed_kato.misbehave(LATE_ANSWER | {"seconds": HELD_UP, "count": 1})
        load.send(10)
        load.caught_in_a_call()
        celery_worker.kill()
        assert celery_worker.container.status == "exited"
        load.send(5)
        celery_worker.restart()
        answered(load.send(5))
        load.applied_once_in_order()

    def test_a_broker_killed_under_load_and_started_again_loses_and_repeats_nothing(
        self, celery_broker: CeleryTestBroker, load: Load, deployed_kato: Kato
    ) -> None:
        deployed_kato.misbehave(LATE_ANSWER | {"seconds": 0.2})
        load.send(20)
        load.caught_in_a_call()
        celery_broker.kill()
        assert celery_broker.container.status == "exited"
        unpublished = load.send(1)
        celery_broker.restart()
        answered(unpublished + load.send(5))
        load.applied_once_in_order()

    # A lease that is long enough to show which lanes were handed back and which only ran out.
    @pytest.mark.usefixtures("worker_settings")
    @pytest.mark.parametrize("worker_settings", [{"KATO_TASKS_LEASE_SECONDS": "30"}], ids=["lease of 30 s"])
    def test_a_worker_told_to_stop_under_load_ends_within_its_grace_period_and_hands_everything_back(
        self, celery_worker: CeleryTestWorker, load: Load, deployed_kato: Kato
    ) -> None:
        deployed_kato.misbehave(LATE_ANSWER | {"seconds": 1.0})
        sent = load.send(20)
        load.caught_in_a_call()
        celery_worker.kill("SIGTERM")
        sent += load.send(1)

        def ended() -> bool:
            celery_worker.container.reload()
            return bool(celery_worker.container.status == "exited")

        wait_until(ended, grace_seconds("worker"), "the worker has ended by itself", every=0.1)
        assert celery_worker.container.attrs["State"]["ExitCode"] == 0
        assert "running" not in load.states(), "lanes were handed back, not left to run out"
        deployed_kato.misbehave()
        celery_worker.restart()
        answered(sent)
        load.applied_once_in_order()


class TestOnRedis(Promises):
    @pytest.fixture
    def celery_broker(self, celery_redis_broker: RedisTestBroker) -> RedisTestBroker:
        return celery_redis_broker


class TestOnRabbitmq(Promises):
    @pytest.fixture
    def celery_broker(self, celery_rabbitmq_broker: RabbitMQTestBroker) -> RabbitMQTestBroker:
        return celery_rabbitmq_broker
