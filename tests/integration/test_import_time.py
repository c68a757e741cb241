"""`import kato_tasks` in an application costs next to nothing: its names come when they are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = str(Path(__file__).resolve().parents[2])
HEAVY = ("celery", "kombu", "redis", "pydantic", "dotenv", "httpx", "httptools", "click", "rich")


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | {"PYTHONPATH": CHECKOUT},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import kato_tasks", "import kato_tasks; dir(kato_tasks); kato_tasks.__version__"]
)
def test_importing_the_package_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) & set(HEAVY) == set()


def test_an_error_to_catch_costs_nothing_either() -> None:
    assert loaded_after("from kato_tasks import KatoTasksError") & set(HEAVY) == set()


def test_the_plain_calls_need_neither_celery_nor_a_kato_client() -> None:
    """Celery is loaded when the first wake-up must be sent, by the port that `kato_tasks.celery_tasks` fills."""
    plain = "from kato_tasks import append_events, append_events_async, session_status"
    rooms = "from kato_tasks.api import dead_letters, parking, scheduled, session_list, status"
    assert {"celery", "kombu", "amqp", "httpx"} & loaded_after(f"{plain}\n{rooms}") == set()


def test_publishers_load_no_client_of_a_queue_until_one_is_made_and_no_celery_at_all() -> None:
    names = "from kato_tasks import KafkaPublisher, RabbitMQPublisher, RedisStreamPublisher"
    clients = {"celery", "kombu", "amqp", "confluent_kafka"}
    assert clients & loaded_after(f"{names}\nRedisStreamPublisher('redis://h')") == set()
    assert clients & loaded_after(f"{names}\nRabbitMQPublisher('amqp://h')") == {"kombu", "amqp"}
    assert clients & loaded_after(f"{names}\nKafkaPublisher('h:1')") == {"confluent_kafka"}


def test_a_runtime_that_has_an_archive_loads_nothing_of_it_until_it_is_used() -> None:
    opening = "from kato_tasks.bootstrap import runtime\nfrom kato_tasks.bootstrap.archive import LazyArchive"
    unused = (
        f"{opening}\nLazyArchive('sqlite:////nowhere/history.db').close()\nassert LazyArchive('').archive() is None"
    )
    assert {"sqlalchemy", "psycopg", "alembic"} & loaded_after(unused) == set()


def test_the_pytest_plug_in_costs_nothing_until_a_test_asks_for_a_fixture() -> None:
    """pytest loads it in every run, also of applications that never use it."""
    found = loaded_after("import pytest; import kato_tasks.testing.plugin")
    assert found & {*HEAVY, "fakeredis", "lupa", "uvicorn"} == set()


def test_every_public_name_is_there() -> None:
    loaded_after("import kato_tasks\nfor name in kato_tasks.__all__: getattr(kato_tasks, name)")


def test_a_name_that_is_none_is_said_so() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        loaded_after("from kato_tasks import obsreve")
    assert "obsreve" in str(failed.value.stderr)
