"""What a person sees in Flower: arguments, sessions by name, why a task waits, what waits in the log; no idle noise."""

from __future__ import annotations

import contextlib
import html
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from kato_tasks import append_events, observe
from kato_tasks.celery_app import app
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.integration.system import Flower, Json, System

PATIENCE = 30


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    kato.start()
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("flower"), kato_timeout_seconds="3")
    with system.here(), system.workers(["--pool", "threads", "--concurrency", "4"]):
        yield system


@pytest.fixture(scope="module")
def flower(system: System) -> Iterator[Flower]:
    server = Flower(system.directory / "flower", system.environment | {"FLOWER_UNAUTHENTICATED_API": "true"}, "flower")
    server.start()
    yield server
    server.stop()


def page(flower: Flower, path: str) -> str:
    """A page's words, without its tags."""
    with urllib.request.urlopen(f"{flower.address}{path}", timeout=10) as answer:  # noqa: S310  an address of ours
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.read().decode())).split())


def found(flower: Flower, words: str) -> list[str]:
    """The ids of the tasks that the page's search box finds."""
    asked = {
        "draw": 1,
        "start": 0,
        "length": 100,
        "search[value]": words,
        "order[0][column]": 0,
        "columns[0][data]": "name",
        "order[0][dir]": "asc",
    }
    return [task["uuid"] for task in flower.ask(f"/tasks/datatable?{urllib.parse.urlencode(asked)}")["data"]]


def test_the_table_of_tasks_shows_arguments_and_so_the_session(flower: Flower) -> None:
    """Falls without `prepare_flower`."""
    assert "Name State kwargs Received Runtime UUID Worker" in page(flower, "/tasks")


def test_a_session_whose_name_has_spaces_is_found_in_quotes(flower: Flower) -> None:
    mine, other = observe.delay("sensor 7", {"strings": ["a"]}), observe.delay("sensor 8", {"strings": ["a"]})
    for result in (mine, other):
        result.get(timeout=PATIENCE)
    for words in ('"sensor 7"', 'kwargs:"session_id=sensor 7"'):
        wait_until(lambda words=words: found(flower, words) == [mine.id], PATIENCE, f"{words} finds it")  # type: ignore[misc]


def test_idle_sweeps_are_not_among_the_tasks(flower: Flower) -> None:
    """Falls without `send_events=False` and without `QuietMessages`."""
    # Of a task that had begun before Flower listened, Flower knows the end alone, and no name.
    known = set(flower.ask("/api/tasks?limit=1000"))
    for name in ("kato_tasks.sweep", "kato_tasks.keep_alive"):
        for _ in range(3):
            app.send_task(name, queue="kato.control")
            app.tasks[name].apply_async()
    seen = observe.delay("after the sweeps", {"strings": ["a"]})
    seen.get(timeout=PATIENCE)

    def listed() -> dict[str, Json] | None:
        tasks: dict[str, Json] = flower.ask("/api/tasks?limit=1000")
        return tasks if tasks.get(seen.id, {}).get("state") == "SUCCESS" else None

    tasks = wait_until(listed, PATIENCE, "Flower has heard of what came after") or {}
    names = {task["name"] for id_, task in tasks.items() if id_ not in known}
    assert names & {"kato_tasks.sweep", "kato_tasks.keep_alive", None} == set()


def test_a_waiting_tasks_page_says_for_what_and_since_when_and_the_broker_page_counts_what_waits(
    system: System, flower: Flower
) -> None:
    """Falls without the reasons of take_or_wait.lua, and without `_BrokerAndLog`."""
    observe.delay("stands still", {"strings": ["a"]}).get(timeout=PATIENCE)
    system.kato.pause()
    try:
        events = [observe.delay("stands still", {"strings": [str(i)]}) for i in range(3)]
        append_events({"session_id": "stands still", "observation": {"strings": [str(i)]}} for i in range(4))

        def told() -> str | None:
            shown = page(flower, f"/task/{events[2].id}")
            return shown if "2 earlier events of session 'stands still' come first" in shown else None

        shown = wait_until(told, PATIENCE, "the page tells why the task waits") or ""
        assert "WAITING" in shown
        assert re.search(r"\(since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\)", shown)
        about = events[2].info
        assert (about["session_id"], about["position"]) == ("stands still", 4)
        assert about["waits_for"] == "2 earlier events of session 'stands still' come first."

        def first_row() -> str:
            found = re.search(r"Events that wait in sessions' logs[^—]*", page(flower, "/broker"))
            return found[0].strip() if found is not None else "no such row"

        counted = "Events that wait in sessions' logs, not in queues (kato-tasks status says more) 7"
        with contextlib.suppress(StillWaiting):  # the page says "unknown" where the store takes long to answer
            wait_until(lambda: first_row() == counted, PATIENCE, every=0.2)
        assert first_row() == counted
        # Once KATO has not answered in time, who comes then is told that.
        status = wait_until(lambda: "is tried again at" in late_reason(), PATIENCE, "the reason is KATO's")
        assert status
    finally:
        system.kato.resume()
    for event in events:
        event.get(timeout=60)


def late_reason() -> str:
    """Why a task waits that comes now."""
    result = observe.delay("stands still", {"strings": ["late"]})
    wait_until(lambda: result.state in ("WAITING", "SUCCESS"), PATIENCE, "the task waits")
    return str((result.info or {}).get("waits_for", ""))
