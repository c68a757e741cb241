"""The Django project and the Flask application of examples/, in both of their ways, with real workers and servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.testing.services import LOOPBACK, KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.acceptance.documents import CHECKOUT
from tests.integration.recovering import a_system
from tests.integration.system import System, Worker

EXAMPLES = CHECKOUT / "examples"
PAGES = ["home", "search", "product"]


@dataclass
class Example:
    """An example, and the words of its README."""

    directory: Path
    application: str
    """what `celery -A` names"""
    manage: list[str]
    serve: list[str]
    prepare: list[str]


DJANGO = Example(
    EXAMPLES / "django_project",
    "proj",
    ["manage.py"],
    ["manage.py", "runserver", "--noreload", f"{LOOPBACK}:PORT"],
    ["manage.py", "migrate"],
)
FLASK = Example(
    EXAMPLES / "flask_app",
    "make_celery",
    ["-m", "flask", "--app", "make_celery"],
    ["-m", "flask", "--app", "make_celery", "run", "--port", "PORT"],
    [],
)


class Server(Service):
    """The example's own web server."""

    name = "server"

    def __init__(self, directory: Path, words: list[str], environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._words, self._environment = words, environment

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, *(word.replace("PORT", str(self.port)) for word in self._words)]

    def environment(self) -> dict[str, str]:
        return dict(self._environment)

    def answers(self) -> bool:
        try:
            return bool(self.ask("/visits/nobody") == {"visits": []})
        except OSError:
            return False

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + path, data)  # noqa: S310  an address of ours
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  an address of ours
            return json.loads(answer.read())


class Shop:
    """An example on a system, in a directory of its own for what it writes."""

    def __init__(self, example: Example, system: System, directory: Path, **more: str) -> None:
        self.example = example
        self.directory = directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
        at = system.store.url.removesuffix("/0")
        self.environment = (
            inherited
            | system.environment
            | {
                "PYTHONPATH": os.pathsep.join([str(example.directory), str(CHECKOUT)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "SHOP_BROKER": system.environment["KATO_TASKS_BROKER_URL"],
                "SHOP_RESULTS": system.environment["KATO_TASKS_RESULT_BACKEND"],
                "SHOP_DATABASE": str(directory / "shop.sqlite3"),
                "SHOP_PAGES": f"{at}/8",
            }
            | more
        )
        if example.prepare:
            self.run(example.prepare)

    def run(self, words: list[str]) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.example.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def worker(self, *options: str) -> Worker:
        made = Worker(self.directory / "worker", {}, "--pool", "threads", "--concurrency", "2", *options)
        made.application = self.example.application
        made.environment = lambda: {**self.environment, "PYTHONUNBUFFERED": "1"}  # type: ignore[method-assign]
        return made

    def server(self) -> Server:
        directory = self.directory / "server"
        directory.mkdir()
        words = [str(self.example.directory / word) if word == "manage.py" else word for word in self.example.serve]
        return Server(directory, words, self.environment)


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("examples"), kato) as system:
        system.empty()
        with system.workers(["--pool", "threads", "--concurrency", "2"]):
            yield system


@pytest.mark.parametrize("example", [DJANGO, FLASK], ids=["django", "flask"])
def test_an_example_calls_our_tasks_on_our_workers_and_its_own_follow_in_its_own(
    example: Example, system: System, tmp_path: Path
) -> None:
    """Over HTTP. Falls when importing kato_tasks takes the example's shared tasks to our broker's queues (D2)."""
    shop, person = Shop(example, system, tmp_path), f"{example.application}-ann"
    worker, server = shop.worker(), shop.server()
    try:
        worker.start()
        server.start()
        for page in PAGES:
            server.ask(f"/visits/{person}", {"page": page})
        done = [{"page": page, "greeted": True, "position": place} for place, page in enumerate(PAGES, 1)]
        wait_until(lambda: _rows(server, person) == done, 30, "the shop's own tasks have run, in its own worker")
        assert system.stm(person) == [[page] for page in PAGES]
        assert server.ask(f"/visits/{person}", {"left": True})["status"] == "learned"
        for page in PAGES[:2]:
            server.ask(f"/visits/{person}", {"page": page})
        assert server.ask(f"/next/{person}") == {"next": [["product"]]}
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask(f"/visits/{person}", {"page": 7})
        assert refused.value.code == 422
        refused.value.close()
        own = worker.text()
        assert "greet" in own
        assert "note_position" in own
        assert "Task kato_tasks.process_observation_async" not in own
    finally:
        server.stop()
        worker.stop()


def _rows(server: Server, person: str) -> Any:
    return server.ask(f"/visits/{person}")["visits"]


@pytest.mark.parametrize("example", [DJANGO, FLASK], ids=["django", "flask"])
def test_an_example_with_one_worker_for_both_needs_none_of_ours(
    example: Example, system: System, tmp_path: Path
) -> None:
    """By its own command, on a broker, result backend and store of its own, where no worker of ours is."""
    at = system.store.url.removesuffix("/0")
    databases = {"SHOP_BROKER": f"{at}/5", "SHOP_RESULTS": f"{at}/6", "KATO_TASKS_STORE_URL": f"{at}/9"}
    shop = Shop(example, system, tmp_path, SHOP_ONE_WORKER="1", **databases)
    person = f"{example.application}-ben"
    worker = shop.worker("--beat", "-s", str(tmp_path / "schedule"))
    try:
        worker.start()
        printed = shop.run([*example.manage, "visit", person, *PAGES])
        assert printed.splitlines() == [
            f"{person} saw {page}: position {place}, greeted" for place, page in enumerate(PAGES, 1)
        ]
        assert "Task kato_tasks.process_observation_async" in worker.text()
        shown = shop.run(["-m", "celery", "-A", example.application, "kato", "sessions", "show", person, "--json"])
        session = json.loads(shown)["binding"]["kato_session_id"]
        assert system.ask(f"sessions/{session}")["stm"] == [[page] for page in PAGES]
    finally:
        worker.stop()


@pytest.mark.parametrize("example", [DJANGO, FLASK], ids=["django", "flask"])
def test_the_readme_of_an_example_shows_what_is_there(example: Example) -> None:
    """Its lines of Python are the example's own, and the commands are those that are driven here."""
    text = (example.directory / "README.md").read_text()
    source = " ".join(" ".join(path.read_text().split()) for path in example.directory.rglob("*.py"))
    for block in text.split("```python\n")[1:]:
        for line in block.split("```")[0].strip().splitlines():
            assert " ".join(line.split()) in source, line
    assert f"celery -A {example.application} worker" in text
    assert " ".join([*example.manage, "visit"]).removeprefix("-m ") in text
