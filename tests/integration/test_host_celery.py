"""An application that has Celery already: its tasks and ours side by side, its own as our next steps, real workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from celery import chain, chord

from kato_tasks import app, learn, observe
from kato_tasks.adapters.redis.keys import SIGNS
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.hosts import APPLICATION, Host, run
from tests.integration.recovering import SOLO, a_system, new_name
from tests.integration.system import System, drained
from tests.integration.user_tasks import remember

PATIENCE = 30
CALLS = """
from celery import chain, chord
from kato_tasks import learn, observe
from tests.integration.hosted_app import failed, notify
session = sys.argv[1]
seen = {"strings": ["a"]}
steps = [chain(observe.s(session, seen), notify.s(session)).apply_async() for _ in range(20)]
refused = learn.apply_async((f"{session} none",), link_error=failed.s())
got = [step.get(timeout=30)["position"] for step in steps]
body = chord([observe.s(f"{session} {i}", seen) for i in range(3)])(notify.s(f"{session} body"))
assert len(body.get(timeout=30)) == 3
print(json.dumps([got, refused.id, observe.app.main, notify.app.main]))
"""


@pytest.fixture(scope="module")
def system(broker: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One stock worker of ours, which knows no task of an application's."""
    with a_system(broker, tmp_path_factory.mktemp("hosts"), kato) as system, system.workers(SOLO):
        yield system


@pytest.fixture(scope="module")
def host(system: System) -> Iterator[Host]:
    """An application that calls our tasks on our workers; its own worker stands beside the stock one."""
    host = Host(system, installed=False)
    worker = host.worker("hosts own", *SOLO)
    worker.start()
    yield host
    worker.stop()


def test_a_hosts_own_tasks_follow_ours_on_the_hosts_own_queue_20_of_20(system: System, host: Host) -> None:
    """Falls when `address` does not write the queue: our worker sends them to kato.own, where nobody listens."""
    session = new_name()
    got, refused, ours, own = host.told(CALLS, session)
    assert (ours, own) == ("kato_tasks", "hosted")
    assert got == list(range(1, 21))
    assert sorted(row["position"] for row in host.noted(session)) == list(range(1, 21))
    assert system.stm(session) == [["a"]] * 20
    wait_until(lambda: refused in host.noted("failed"), PATIENCE, "an errback that our worker knows by name arrives")


def test_a_hosts_worker_calls_ours_and_sends_ours_as_a_next_step_through_our_app(system: System, host: Host) -> None:
    """Falls when the host's worker sends them on the host's app (tasks._known_to)."""
    session = new_name()
    host.told("from tests.integration.hosted_app import visit\nprint(json.dumps(visit.delay(sys.argv[1]).id))", session)
    ended = wait_until(lambda: host.noted(f"{session} ended"), PATIENCE, "the last step, which is the host's")
    assert ended[0]["position"] == 2
    assert host.noted(session) == ["steps"]
    assert system.stm(session) == [["from its own task"], ["next"]]


def test_own_tasks_on_our_app_are_never_taken_by_a_stock_worker_20_of_20(system: System) -> None:
    """TRIAL's D4: of 20 calls 12 were lost. Falls when an unknown name is routed to kato.control."""
    session = new_name()
    with system.workers([*SOLO, "--include", "tests.integration.user_tasks", "-Q", "kato.own"]):
        plain = [remember.delay(i, session) for i in range(20)]
        assert [answer.get(timeout=PATIENCE) for answer in plain] == list(range(20))
        steps = [chain(observe.s(session, {"strings": ["x"]}), remember.s(session)).apply_async() for _ in range(20)]
        assert [step.get(timeout=PATIENCE)["position"] for step in steps] == list(range(1, 21))
        header = [observe.s(session, {"strings": ["y"]}) for _ in range(3)]
        assert len(chord(header)(remember.s(session)).get(timeout=PATIENCE)) == 3


def test_a_queue_that_a_signature_names_is_honoured_though_nothing_declares_it_here(system: System) -> None:
    session = new_name()
    chain(observe.s(session, {"strings": ["x"]}), remember.s(session).set(queue="mine")).apply_async()
    drained([session])

    def waiting() -> int:
        with app.connection_for_read() as connection:
            return int(connection.channel().client.llen("mine"))

    wait_until(lambda: waiting() == 1, PATIENCE, "the step waits in the queue that it names")


def test_a_hosts_installed_worker_serves_both_and_its_beat_sends_both(
    broker: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One worker, one beat. The environment's broker is nobody's: all of it goes by the host's."""
    directory = tmp_path_factory.mktemp("installed")
    elsewhere = broker.url.removesuffix("/0") + "/7"
    with a_system(broker, directory, kato) as system:
        host = Host(system, installed=True, broker=elsewhere, backend=elsewhere)
        host.environment["KATO_TASKS_BROKER_URL"] = "redis://127.0.0.1:1/0"
        worker = host.worker("installed", "--pool", "prefork", "--concurrency", "2", "--beat", "-s", "schedule")
        worker.start()
        try:
            session = new_name()
            got, refused, ours, own = host.told(CALLS, session)
            assert (ours, own) == ("hosted", "hosted")
            assert got == list(range(1, 21))
            assert system.stm(session) == [["a"]] * 20
            wait_until(lambda: refused in host.noted("failed"), PATIENCE, "the host's errback runs in its worker")
            host.told(
                "kato_tasks.append_events([{'session_id': sys.argv[1], 'observation': {'strings': ['bulk']}}])\n"
                "print(1)",
                session,
            )
            drained([session])
            signs = f"{SIGNS['beat']}seen"
            wait_until(lambda: system.redis.zcard(signs), PATIENCE, "the host's beat sends our sweep, and says so")
            wait_until(lambda: host.noted("counted"), PATIENCE, "and its own task")
            assert "host.setting meaning=broker_transport_options has no visibility_timeout" in worker.text()
            status = run([sys.executable, "-m", "celery", "-A", APPLICATION, "kato", "status"], host.environment)
            assert f"{elsewhere} ok" in status.stdout, status.stdout + status.stderr
        finally:
            worker.stop()


def test_a_result_is_looked_up_by_our_app(system: System, host: Host) -> None:
    answer = learn.delay(new_name())
    program = "print(json.dumps([kato_tasks.app.AsyncResult(sys.argv[1]).state, app.AsyncResult(sys.argv[1]).state]))"
    wait_until(answer.ready, PATIENCE)
    assert host.told(program, answer.id, HOST_BACKEND="cache+memory://")[0] == "FAILURE"
