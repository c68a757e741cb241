"""The stack of docker-compose.yml, from an image built here: it comes up, does its job, and goes."""

import json
import os
from collections.abc import Iterator

import httpx
import pytest

from kato_tasks.testing.services import free_port
from kato_tasks.testing.waiting import wait_until
from tests.docker import compose as docker_compose
from tests.docker import require_engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PROCESSES = {"redis", "archive", "kato", "worker", "beat", "flower"}

# Run inside the worker's container, as an application beside it would: a session is learned, begun again, and
# its future asked for.
TASK = """
import json
from celery import chain
from kato_tasks import learn, predict, process_observation_async
for symbol in "abcd":
    observed = process_observation_async.delay("compose-1", {"strings": [symbol]})
observed.get(timeout=60)
learn.delay("compose-1").get(timeout=60)
process_observation_async.delay("compose-1", {"strings": ["a"]})
last = process_observation_async.s("compose-1", {"strings": ["b"]})
asked = chain(last, predict.si("compose-1")).apply_async()
print(json.dumps(asked.get(timeout=60)))
"""

ARCHIVED = "SELECT count(*) FROM kato_events WHERE session_id = 'compose-1'"

AGAIN = """
import json
from celery import chain
from kato_tasks import predict, process_observation_async
last = process_observation_async.s("compose-1", {"strings": ["c"]})
print(json.dumps(chain(last, predict.si("compose-1")).apply_async().get(timeout=60)))
"""


class Compose:
    """`docker compose` on this checkout, under a project name and ports of its own."""

    def __init__(self) -> None:
        self.flower_port, self.kato_port, self.http_port = free_port(), free_port(), free_port()
        self._environment = dict(os.environ) | {
            "COMPOSE_PROJECT_NAME": f"kato-tasks-test-{os.getpid()}",
            "FLOWER_PORT": str(self.flower_port),
            "KATO_PORT": str(self.kato_port),
            "HTTP_PORT": str(self.http_port),
            "REDIS_PORT": str(free_port()),
        }

    def __call__(self, *arguments: str, timeout: float = 300) -> str:
        """Return what it printed on stdout; raises AssertionError with everything when it fails."""
        return docker_compose(*arguments, environment=self._environment, timeout=timeout)

    def services(self) -> dict[str, str]:
        """Return each running service's health (empty where it has no check)."""
        rows = [json.loads(line) for line in self("ps", "--format", "json").splitlines() if line]
        return {row["Service"]: row["Health"] for row in rows if row["State"] == "running"}


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    require_engine()
    compose = Compose()
    try:
        compose("build")
        compose("up", "--detach", "--wait", "--wait-timeout", "120")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "30")


def test_every_process_of_the_stack_is_up_and_healthy(compose: Compose) -> None:
    def all_healthy() -> bool:
        return compose.services() == dict.fromkeys(PROCESSES, "healthy")

    wait_until(all_healthy, 60, "all services healthy", every=1)


def test_a_task_goes_through_worker_and_kato_and_back(compose: Compose) -> None:
    answer = json.loads(compose("exec", "-T", "worker", "python", "-c", TASK, timeout=120))
    assert answer["predictions"][0]["future"] == [["c"], ["d"]]


def test_what_was_applied_is_in_the_archive_whose_tables_were_made_before_the_workers_came(compose: Compose) -> None:
    psql = (
        "exec",
        "-T",
        "archive",
        "psql",
        "--username",
        "kato",
        "--dbname",
        "kato_tasks",
        "--tuples-only",
        "--command",
    )
    wait_until(lambda: compose(*psql, ARCHIVED).strip() == "7", 30, "all seven events are archived", every=1)
    status = json.loads(compose("exec", "-T", "worker", "kato-tasks", "db", "status", "--json"))
    assert status["usable"]
    assert status["revision"] == status["newest_revision"]


def test_events_over_http_need_a_key_and_are_applied(compose: Compose) -> None:
    made = compose("exec", "-T", "worker", "kato-tasks", "keys", "create", "--scope", "write", "--json")
    compose("--profile", "http", "up", "--detach", "--wait", "--wait-timeout", "60", "http")
    url = f"http://127.0.0.1:{compose.http_port}"
    event = {"session_id": "over-http", "event_id": "e1", "observation": {"strings": ["x"]}}
    assert httpx.post(f"{url}/v1/events", json=event, trust_env=False).status_code == 401
    headers = {"authorization": f"Bearer {json.loads(made)['key']}"}
    answer = httpx.post(f"{url}/v1/events", json=event, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["position"]) == (202, 1)

    def applied() -> bool:
        shown = compose("exec", "-T", "worker", "kato-tasks", "sessions", "show", "over-http", "--json")
        return bool(json.loads(shown)["cursor"] == 1)

    wait_until(applied, 30, "it is applied", every=1)
    compose("--profile", "http", "stop", "--timeout", "30", "http")
    compose("--profile", "http", "rm", "--force", "http")


def test_down_and_up_again_is_healthy_and_remembers(compose: Compose) -> None:
    compose("down", "--timeout", "30")
    compose("up", "--detach", "--wait", "--wait-timeout", "120")
    answer = json.loads(compose("exec", "-T", "worker", "python", "-c", AGAIN, timeout=120))
    # Learned before, and the STM goes on where it was: a, b, and now c.
    assert answer["predictions"][0]["future"] == [["d"]]
    assert "healthy" in compose("exec", "-T", "worker", "kato-tasks", "status")


def test_the_deployment_modules_start_the_same_processes(compose: Compose) -> None:
    for module, command in (("workers.lanes", "worker"), ("beat.schedule", "beat")):
        said = compose("run", "--rm", "--no-deps", "-T", "worker", "python", "-m", module, "--help")
        assert f"{command} [OPTIONS]" in said
