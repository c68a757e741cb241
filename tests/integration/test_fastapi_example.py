"""The FastAPI application of examples/, in processes of its own, over HTTP."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from kato_tasks import session_status
from kato_tasks.testing.services import LOOPBACK, KatoServer, RedisServer
from tests.integration.system import CHECKOUT, CeleryProcess, System

APPLICATION = str(Path(CHECKOUT) / "examples" / "fastapi_app")


class Shop(CeleryProcess):
    """The shop's web application."""

    name = "shop"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        place = ("--host", LOOPBACK, "--port", str(self.port), "--app-dir", APPLICATION)
        return [sys.executable, "-m", "uvicorn", "shop.web:app", *place]

    def answers(self) -> bool:
        return "Application startup complete" in self.text()


class ShopWorker(CeleryProcess):
    """The worker of the shop's own tasks."""

    name = "shop worker"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "celery", "--workdir", APPLICATION, "-A", "shop.tasks", "worker", "-l", "INFO"]


@pytest.fixture(scope="module")
def shop(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    redis_server.start()
    kato.start()
    directory = tmp_path_factory.mktemp("fastapi")
    system = System(redis_server, redis_server, kato, directory)
    environment = system.environment | {"SHOP_REDIS_URL": redis_server.url.removesuffix("/0") + "/4"}
    with system.here(), contextlib.ExitStack() as stack:
        system.empty()
        shop = Shop(directory / "web", environment)
        worker = ShopWorker(directory / "shop", environment, "--pool", "solo")
        with ThreadPoolExecutor() as pool:
            started = [pool.submit(one.start) for one in (shop, worker)]
            stack.callback(shop.stop)
            stack.callback(worker.stop)
            stack.enter_context(system.workers(["--pool", "threads", "--concurrency", "2"]))
            for one in started:
                one.result()
        yield shop


def test_views_are_accepted_and_what_follows_is_predicted(shop: Shop) -> None:
    with httpx.Client(base_url=shop.url, timeout=30) as browser:
        for visit in range(2):
            for page in ("home", "search", "product", "checkout"):
                answer = browser.post("/views", json={"session_id": "ann 1", "page": page})
                assert answer.status_code == 202, answer.text
            answer = browser.post("/orders", json={"session_id": "ann 1", "articles": [f"shoe {visit}"]})
            assert answer.json() == {"visit": "learned", "receipt": f"ann 1 bought shoe {visit}"}
        for page in ("home", "search"):
            browser.post("/views", json={"session_id": "ann 1", "page": page, "event_id": f"again {page}"})
            browser.post("/views", json={"session_id": "ann 1", "page": page, "event_id": f"again {page}"})
        answer = browser.get("/next", params={"session_id": "ann 1", "timeout": 20})
        assert answer.json() == {"next": [["product"], ["checkout"]]}
    status = session_status("ann 1")
    assert status is not None
    assert status.head == 12, "10 views, each once, and 2 learns"


def test_what_is_wrong_is_answered_with_its_field(shop: Shop) -> None:
    answer = httpx.post(f"{shop.url}/views", json={"session_id": "ann 1", "page": "x" * 30_000}, timeout=30)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:3] == ["body", "observation", "strings[0]"]
    assert httpx.post(f"{shop.url}/views", json={"session_id": "", "page": "x"}, timeout=30).status_code == 422


def test_a_request_that_waits_holds_no_other_up(shop: Shop) -> None:
    """A prediction is awaited beside a hundred views."""
    with httpx.Client(base_url=shop.url, timeout=30) as browser, ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        bodies = [{"session_id": f"many {i % 9}", "page": f"p{i}"} for i in range(100)]
        views = [pool.submit(browser.post, "/views", json=body) for body in bodies]
        assert browser.get("/next", params={"session_id": "many 1", "timeout": 20}).status_code == 200
        assert [one.result().status_code for one in views] == [202] * 100
        assert time.monotonic() - began < 20
