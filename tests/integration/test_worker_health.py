"""The health checks of worker and beat, as commands of the wheel and as deployment modules."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from redbeat.decoder import RedBeatJSONEncoder

from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
SEND = "from kato_tasks.celery_app import app; app.send_task('kato_tasks.drain', [0], queue='kato.lane.00')"


class Deployment:
    """The settings of one worker, and commands that run with them."""

    def __init__(self, broker: str, store: str, kato: str) -> None:
        self._environment = dict(os.environ) | {
            "PYTHONPATH": str(CHECKOUT),
            "KATO_TASKS_BROKER_URL": broker,
            "KATO_TASKS_RESULT_BACKEND": store.replace("/0", "/1"),
            "KATO_TASKS_STORE_URL": store.replace("/0", "/2"),
            "KATO_TASKS_KATO_URLS": kato,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def send(self) -> None:
        self.run("-c", SEND).check_returncode()

    def health(self) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "workers.health", "--within", "1")

    def beat_health(self) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "kato_tasks.cli", "health", "beat")

    def worker(self, log: Path, *options: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "workers.lanes", "--pool", "solo", "--without-mingle", *options],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


@pytest.fixture
def worker_and_deployment(
    redis_url: str, kato_url: str, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Deployment]]:
    deployment = Deployment(redis_url, redis_url, kato_url)
    log = tmp_path / "worker.log"
    worker = deployment.worker(log, "-Q", "kato.lane.00,kato.lane.01")
    try:
        wait_until(lambda: b" ready." in log.read_bytes(), 30, "the worker is ready")
        yield worker, deployment
    finally:
        worker.send_signal(signal.SIGCONT)
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)


def test_a_worker_that_takes_messages_is_healthy_and_a_stopped_one_is_not(
    worker_and_deployment: tuple[subprocess.Popen[bytes], Deployment], redis_url: str, tmp_path: Path
) -> None:
    worker, deployment = worker_and_deployment
    deployment.send()
    with redis.Redis.from_url(redis_url) as broker:
        wait_until(lambda: broker.llen("kato.lane.00") == 0, 10, "the message is taken")
    assert deployment.health().returncode == 0
    worker.send_signal(signal.SIGSTOP)
    for _ in range(2):  # the stopped worker's open request to the broker still gets the first of them
        deployment.send()
    found = deployment.health()
    assert found.returncode == 1
    assert "kato.lane.00" in found.stderr
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: deployment.health().returncode == 0, 20, "healthy again")
    log = (tmp_path / "worker.log").read_text()
    assert "worker.serves queues=kato.lane.00,kato.lane.01 not_served=kato.lane.02..15,kato.control meaning=" in log
    assert "kato_tasks.drain[" not in log, "no word of a wake-up that went well"


def test_with_nothing_waiting_it_is_healthy(redis_url: str, kato_url: str) -> None:
    assert Deployment(redis_url, redis_url, kato_url).health().returncode == 0


def test_a_broker_that_is_gone_is_one_sentence_and_unhealthy() -> None:
    found = Deployment("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0", "http://127.0.0.1:1").health()
    assert found.returncode == 1
    assert found.stderr.startswith("cannot ask the broker: ")
    assert found.stderr.count("\n") == 1


def test_messages_on_rabbitmq_without_a_consumer_are_unhealthy(
    rabbitmq_server: RabbitmqServer, redis_url: str, kato_url: str, tmp_path: Path
) -> None:
    deployment = Deployment(rabbitmq_server.url, redis_url, kato_url)
    worker = deployment.worker(tmp_path / "worker.log")
    try:
        wait_until(lambda: b" ready." in (tmp_path / "worker.log").read_bytes(), 30, "the worker is ready")
        assert deployment.health().returncode == 0
    finally:
        worker.terminate()
        worker.wait(30)
    deployment.send()
    found = deployment.health()
    assert found.returncode == 1
    assert "kato.lane.00" in found.stderr


def test_a_beat_that_sent_its_tasks_lately_is_healthy_and_one_that_did_not_is_not(
    redis_url: str, kato_url: str
) -> None:
    deployment = Deployment(redis_url, redis_url, kato_url)
    assert "beat has sent nothing yet" in deployment.beat_health().stderr
    with redis.Redis.from_url(redis_url.replace("/0", "/2")) as store:
        for ago, said in ((5, ""), (47, "beat sent its last task ")):
            sent = datetime.now(UTC) - timedelta(seconds=ago)
            store.hset("kt:redbeat:kato-sweep", "meta", json.dumps({"last_run_at": sent}, cls=RedBeatJSONEncoder))
            found = deployment.beat_health()
            assert (found.returncode, found.stdout) == (1 if said else 0, "")
            assert found.stderr.startswith(said)
            assert found.stderr.count("\n") == bool(said)


def test_a_store_that_is_gone_is_one_sentence_and_an_unhealthy_beat() -> None:
    found = Deployment("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0", "http://127.0.0.1:1").beat_health()
    assert found.returncode == 1
    assert found.stderr.startswith("cannot ask the store: ")


def test_the_deployment_modules_are_the_commands_of_the_wheel() -> None:
    deployment = Deployment("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0", "http://127.0.0.1:1")
    for module, said in (("workers.health", "cannot ask the broker: "), ("beat.health", "cannot ask the store: ")):
        found = deployment.run("-m", module)
        assert found.returncode == 1
        assert found.stderr.startswith(said)
