"""What docker-compose.yml deploys, in pytest-celery's terms: our image, commands and settings, a container for each.

This is a pytest plug-in. Its fixtures take the place of pytest-celery's own of the same names. Brokers, store and KATO
are started once; each test gets a worker of its own. The application that calls `.delay()` is the test's process:
`celery_setup.app` is its `kato_tasks.app`.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from docker.client import DockerClient
from docker.models.images import Image
from pytest_celery import (
    CeleryTestWorker,
    CeleryWorkerContainer,
    RabbitMQContainer,
    RedisContainer,
    RedisTestBackend,
)
from pytest_docker_tools import container, fxtr, network, volume, wrappers

from kato_tasks import Settings, make_app
from kato_tasks.testing.services import LOOPBACK, free_port
from kato_tasks.testing.waiting import wait_until
from tests.docker import compose, composed

Json = dict[str, Any]

NETWORK = "{default_pytest_celery_network.name}"


# ------------------------------------------------------------------------- classes of containers


class Published:
    """A container that tests reach at the port which it publishes on this machine.

    pytest-docker-tools would take the container's own address wherever there is a /.dockerenv.
    """

    ports: Any
    _container: Any
    ready: Any

    def get_addr(self, port: str) -> tuple[str, int]:
        return LOOPBACK, self.ports[port][0]

    def restart(self, timeout: int = 10) -> None:
        """Start it again, and wait until it is ready. pytest-docker-tools waits 30 s: a RabbitMQ can take longer."""
        self._container.restart(timeout=timeout)
        wait_until(self.ready, 120, f"{type(self).__name__} is ready again", every=0.2)


class RedisBroker(Published, RedisContainer):
    pass


class Store(Published, RedisContainer):
    """The Redis of the results, and, in another database, of the store."""

    @property
    def vhost(self) -> str:
        return "1"


class RabbitmqBroker(Published, RabbitMQContainer):
    pass


class Kato(Published, wrappers.Container):
    """The embedded KATO, which gives its own account of what happened there."""

    @property
    def inner_url(self) -> str:
        """Its address for other containers."""
        return f"http://{self.attrs['Config']['Hostname']}:8000"

    @property
    def url(self) -> str:
        address, port = self.get_addr("8000/tcp")
        return f"http://{address}:{port}"

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_embedded/{path}", timeout=10) as answer:  # noqa: S310  an address of ours
            return json.loads(answer.read())

    def misbehave(self, *faults: Json) -> None:
        """Put these faults in the place of those in force; without any, behave."""
        body = json.dumps({"rules": faults}).encode()
        request = urllib.request.Request(f"{self.url}/_embedded/faults", body, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  an address of ours
            answer.read()


class Worker(CeleryWorkerContainer):
    """Our image, started by the command of docker-compose.yml's worker and configured by its environment alone."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        return [*composed("worker")["command"], *args]

    @classmethod
    def initial_env(cls, celery_worker_cluster_config: Json, initial: Json | None = None) -> Json:
        # These deployments have no database: Redis keeps everything.
        deployed: Json = composed("worker")["environment"] | {"KATO_TASKS_ARCHIVE_URL": ""}
        return deployed | settings_from(celery_worker_cluster_config, "urls") | (initial or {})


def settings_from(clusters: Json, seen: str) -> Json:
    """Return the settings that name broker, results and store: as containers see them (`urls`), or we (`host_urls`)."""
    broker, results = (clusters[f"celery_{part}_cluster_config"][seen][0] for part in ("broker", "backend"))
    return {
        "KATO_TASKS_BROKER_URL": broker,
        "KATO_TASKS_RESULT_BACKEND": results,
        "KATO_TASKS_STORE_URL": results.removesuffix("/1") + "/2",
    }


# ------------------------------------------------------------------------------- the containers


def lasting_port() -> tuple[str, int]:
    """Return an address that a broker has again when it is started again, as a deployment's broker has."""
    return LOOPBACK, free_port()


# The images declare volumes: with names of their own these are removed at the end, and outlive a kill.
broker_data, rabbitmq_data, store_data, kato_data = (volume(scope="session") for _ in range(4))

default_pytest_celery_network = network(scope="session")

default_redis_broker = container(
    scope="session",
    image=lambda: composed("redis")["image"],
    command=lambda: composed("redis")["command"],
    ports={"6379/tcp": lasting_port},
    volumes={"{broker_data.name}": {"bind": "/data"}},
    network=NETWORK,
    wrapper_class=RedisBroker,
    timeout=60,
)

default_rabbitmq_broker = container(
    scope="session",
    image="rabbitmq:3",
    ports={"5672/tcp": lasting_port},
    volumes={"{rabbitmq_data.name}": {"bind": "/var/lib/rabbitmq"}},
    network=NETWORK,
    wrapper_class=RabbitmqBroker,
    timeout=120,
)

default_redis_backend = container(
    scope="session",
    image=lambda: composed("redis")["image"],
    command=lambda: composed("redis")["command"],
    ports={"6379/tcp": (LOOPBACK,)},
    volumes={"{store_data.name}": {"bind": "/data"}},
    network=NETWORK,
    wrapper_class=Store,
    timeout=60,
)

deployed_kato = container(
    scope="session",
    image="{celery_base_worker_image.id}",
    command=lambda: composed("kato")["command"],
    ports={"8000/tcp": (LOOPBACK,)},
    volumes={"{kato_data.name}": {"bind": "/data"}},
    init=True,
    network=NETWORK,
    wrapper_class=Kato,
    timeout=60,
)

default_worker_container = container(
    image="{celery_base_worker_image.id}",
    command=fxtr("default_worker_command"),
    environment=fxtr("default_worker_env"),
    init=True,
    network=NETWORK,
    wrapper_class=Worker,
    timeout=60,
)


@pytest.fixture(scope="session")
def celery_base_worker_image(docker_client: DockerClient) -> Image:
    """The image of docker-compose.yml, built from this checkout."""
    compose("build")
    return docker_client.images.get(composed("worker")["image"])


# ------------------------------------------------------------------------------- what joins them


@pytest.fixture
def celery_backend(celery_redis_backend: RedisTestBackend) -> RedisTestBackend:
    return celery_redis_backend


@pytest.fixture
def celery_worker(celery_setup_worker: CeleryTestWorker) -> CeleryTestWorker:
    return celery_setup_worker


@pytest.fixture
def default_worker_container_cls() -> type[Worker]:
    return Worker


@pytest.fixture
def worker_settings() -> dict[str, str]:
    """What a test would have otherwise than the deployment; it says so by `parametrize`."""
    return {}


@pytest.fixture
def default_worker_env(
    default_worker_container_cls: type[Worker],
    celery_worker_cluster_config: Json,
    deployed_kato: Kato,
    worker_settings: dict[str, str],
) -> Json:
    kato = {"KATO_TASKS_KATO_URLS": deployed_kato.inner_url}
    return default_worker_container_cls.initial_env(celery_worker_cluster_config, kato | worker_settings)


@pytest.fixture
def celery_setup_app(celery_worker_cluster_config: Json, deployed_kato: Kato) -> Iterator[Celery]:
    """This process's `kato_tasks.app`, with the settings that find what is deployed."""
    found = settings_from(celery_worker_cluster_config, "host_urls") | {"KATO_TASKS_KATO_URLS": deployed_kato.url}
    make_app().close()  # other tests of this process may have used it
    with make_app(Settings(**{name.removeprefix("KATO_TASKS_").lower(): text for name, text in found.items()})) as app:
        yield app
        # What is left to the garbage collector may close its sockets in an order that Python warns of.
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()
