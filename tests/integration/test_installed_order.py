"""On a host's app the guarantees are what they are on ours: order, once, and a killed worker's lanes go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kato_tasks.testing.services import KatoServer, Service
from tests.integration.hosts import APPLICATION, Host
from tests.integration.recovering import (
    HELD_UP,
    SOLO,
    a_system,
    another_finishes_what_a_killed_one_had_begun,
    new_name,
    run_of,
)
from tests.integration.system import System, drained

SESSIONS, EVENTS = 8, 25
CALLER = """
import threading
from concurrent.futures import ThreadPoolExecutor
from kato_tasks import process_observation_async as observe
from tests.integration.system import Redelivery
SESSIONS, EVENTS = int(sys.argv[1]), int(sys.argv[2])
answers, lock = {}, threading.Lock()

def caller(mine):
    for position in range(EVENTS):
        for number in range(mine, SESSIONS, 4):
            event = f"host {number}/{position}"
            answer = observe.delay(f"host {number}", {"strings": [f"{position}"]}, event_id=event)
            with lock:
                answers[event] = answer

with Redelivery(seed=1) as again:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(caller, range(4)))
    again.repeat()
told = {event: answer.get(timeout=60)["position"] for event, answer in answers.items()}
wrong = [event for event, position in told.items() if int(event.rsplit("/", 1)[1]) + 1 != position]
print(json.dumps([observe.app.main, len(told), wrong]))
"""


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def system(
    request: pytest.FixtureRequest, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    broker: Service = request.getfixturevalue(f"{request.param}_server")
    directory = tmp_path_factory.mktemp(f"installed {request.param}")
    with a_system(broker, directory, kato, kato_timeout_seconds="30") as system:
        system.application = APPLICATION
        system.environment |= Host(system, installed=True).environment
        yield system


@pytest.fixture(autouse=True)
def empty(system: System) -> None:
    system.empty()


def test_events_of_a_hosts_app_are_applied_in_order_and_once_though_every_message_comes_twice(system: System) -> None:
    """Invariants 1, 2 and 3. Falls when an installed worker drains without a lease, as on our own app."""
    with system.workers(["--pool", "prefork", "--concurrency", "2"]):
        told = Host(system, installed=True).told(CALLER, str(SESSIONS), str(EVENTS))
        assert told == ["hosted", SESSIONS * EVENTS, []]
        drained([f"host {number}" for number in range(SESSIONS)])
    for number in range(SESSIONS):
        assert system.applied(f"host {number}") == [f"host {number}/{position}" for position in range(EVENTS)]
        assert system.stm(f"host {number}") == [[f"{position}"] for position in range(EVENTS)]
    stats = system.ask("stats")
    assert (stats["observes"], stats["overlaps"], stats["late_landings"]) == (SESSIONS * EVENTS, 0, 0)


def test_what_a_hosts_killed_worker_had_begun_another_of_the_hosts_finishes(system: System) -> None:
    """Falls when an installed worker does not sweep (worker_signals.start_sweeping)."""
    session = new_name("killed")
    events = run_of(session, 3, node=session)
    system.faults({"kind": "delay", "route": "observe-sequence", "count": 1, "seconds": HELD_UP})
    another_finishes_what_a_killed_one_had_begun(system, events, lands_late=True)


FOLLOWED = """
from celery import chain
from kato_tasks import observe
from tests.integration.hosted_app import notify
steps = [chain(observe.s(sys.argv[1], {"strings": ["a"]}), notify.s(sys.argv[1])).apply_async() for _ in range(5)]
print(json.dumps([step.get(timeout=30)["position"] for step in steps]))
"""


@pytest.mark.parametrize("system", ["rabbitmq"], indirect=True)
def test_a_step_reaches_a_hosts_quorum_queue_from_our_own_workers(system: System) -> None:
    """A declaration with other arguments would be refused. Falls when `Elsewhere` declares unasked."""
    host = Host(system, installed=False)
    host.environment |= {"HOST_QUORUM": "1", "HOST_QUEUE": "slow and safe"}
    stock = host.worker("stock", *SOLO)
    stock.application = "kato_tasks"
    own = host.worker("own", *SOLO)
    session = new_name()
    try:
        own.start()
        stock.start()
        assert host.told(FOLLOWED, session) == [1, 2, 3, 4, 5]
    finally:
        own.stop()
        stock.stop()
