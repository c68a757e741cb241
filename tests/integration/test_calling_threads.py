"""Threads of an application that call `.delay()`: what their calls open, and what they wait for."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.signals import before_task_publish

from kato_tasks import Settings, app, make_app, observe
from kato_tasks.testing.services import RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.calls import closing_what_celery_opened

THREADS = 8


@pytest.fixture
def results(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that holds nothing but the results."""
    server = RedisServer(tmp_path / "results")
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def application(redis_url: str, results: RedisServer) -> Iterator[None]:
    """This process is the application; nobody needs to carry out what it calls."""
    at = redis_url.removesuffix("/0")
    app.close()
    with make_app(Settings(broker_url=f"{at}/0", store_url=f"{at}/2", result_backend=results.url)):
        yield


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def call(number: int) -> str:
    return str(observe.delay(f"visitor {number}", {"strings": ["home"]}).id)


def test_threads_that_called_and_ended_leave_no_connection_to_the_results(results: RedisServer) -> None:
    """Falls without `without_subscription` in `Sending.publish`: Celery's stay until the cycle collector comes."""
    with redis.Redis.from_url(results.url) as client, without_collector():
        before = len(client.client_list())
        for _ in range(3):
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(call, range(THREADS)))
        assert len(client.client_list()) == before


def test_an_app_that_is_closed_leaves_no_connection_to_the_results(results: RedisServer) -> None:
    """Falls without the disconnect in `OwnApp.forget_configuration`."""
    with redis.Redis.from_url(results.url) as client, without_collector():
        before = len(client.client_list())
        assert not observe.AsyncResult(call(0)).ready()
        assert len(client.client_list()) > before
        app.close()
        wait_until(lambda: len(client.client_list()) == before, 5, "they are closed")


def test_a_thread_that_waited_for_results_can_close_what_celery_opened_in_it(results: RedisServer) -> None:
    def ask(number: int) -> None:
        with closing_what_celery_opened(), pytest.raises(CeleryTimeoutError):
            observe.AsyncResult(call(number)).get(timeout=0.1)

    with redis.Redis.from_url(results.url) as client, without_collector():
        before = len(client.client_list())
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(ask, range(THREADS)))
        wait_until(lambda: len(client.client_list()) == before, 5, "they are closed")


def test_a_call_does_not_wait_for_a_result_backend_that_is_away(results: RedisServer) -> None:
    """Falls without `without_subscription` in `Sending.publish`."""
    call(0)
    results.stop()
    began = time.monotonic()
    call(1)
    assert time.monotonic() - began < 5, "it took 19 s"
    assert app.backend.url == results.url


def test_a_call_that_is_made_while_another_is_published_leaves_celerys_backend_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner: list[str] = []
    calling = threading.Event()

    def call_again(**_: object) -> None:
        if not calling.is_set():
            calling.set()
            inner.append(call(1))

    before_task_publish.connect(call_again)
    try:
        outer = call(0)
    finally:
        before_task_publish.disconnect(call_again)
    assert len({outer, *inner}) == 2
    assert "on_task_call" not in vars(app.backend)
    assert "task.kept" not in caplog.text, "both were published"
