"""The servers that tests rely on: they start, come back with what they held, and end when told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import amqp
import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer, free_port
from kato_tasks.testing.waiting import StillWaiting, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
NEVER = Retry(NoBackoff(), 0)


def connected(server: RedisServer) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=server.port, socket_timeout=5)


def alive(pid: int) -> bool:
    """True while the process runs; a zombie that nobody collected has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestRedis:
    def test_a_restart_keeps_the_data_and_the_address(self, redis_server: RedisServer, redis_url: str) -> None:
        with connected(redis_server) as client:
            client.set("kept", "yes")
        before = redis_server.pid
        redis_server.stop()
        assert redis_server.pid is None
        redis_server.start()
        assert redis_server.url == redis_url
        assert redis_server.pid != before
        with connected(redis_server) as client:
            assert client.get("kept") == b"yes"

    def test_what_was_answered_survives_a_kill(self, redis_server: RedisServer, redis_url: str) -> None:
        with connected(redis_server) as client:
            for number in range(1000):
                client.rpush("answered", number)
        redis_server.kill()
        redis_server.start()
        with connected(redis_server) as client:
            assert client.llen("answered") == 1000

    def test_each_test_finds_it_empty(self, redis_server: RedisServer, redis_url: str) -> None:
        with connected(redis_server) as client:
            assert client.dbsize() == 0

    def test_it_is_reached_only_from_this_machine(self, redis_server: RedisServer, redis_url: str) -> None:
        with connected(redis_server) as client:
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            assert client.config_get("appendonly")["appendonly"] == "yes"

    def test_a_paused_server_answers_again_when_it_goes_on(self, redis_server: RedisServer, redis_url: str) -> None:
        redis_server.pause()
        try:
            with (
                redis.Redis(host="127.0.0.1", port=redis_server.port, socket_timeout=0.3, retry=NEVER) as client,
                pytest.raises(redis.TimeoutError),
            ):
                client.ping()
        finally:
            redis_server.resume()
        assert wait_until(redis_server.answers, 5, "redis goes on")


class TestRabbitmq:
    def test_a_durable_message_survives_restart_and_kill(self, rabbitmq_server: RabbitmqServer) -> None:
        address = rabbitmq_server.url

        def connect() -> amqp.Connection:
            connection = amqp.Connection(f"127.0.0.1:{rabbitmq_server.port}", "guest", "guest", confirm_publish=True)
            connection.connect()
            return connection

        def kept() -> str:
            with connect() as connection:
                message = connection.channel().basic_get("kept")  # never acknowledged: it goes back
                return str(message.body)

        with connect() as connection:
            channel = connection.channel()
            channel.queue_declare("kept", durable=True, auto_delete=False)
            channel.basic_publish_confirm(amqp.Message("durable", delivery_mode=2), routing_key="kept")
        rabbitmq_server.stop()
        rabbitmq_server.start()
        assert kept() == "durable"
        rabbitmq_server.kill()
        rabbitmq_server.start()
        assert kept() == "durable"
        assert rabbitmq_server.url == address
        with connect() as connection:
            connection.channel().queue_delete("kept")

    def test_it_is_a_node_of_its_own(self, rabbitmq_server: RabbitmqServer) -> None:
        node, epmd = rabbitmq_server.pid, rabbitmq_server.epmd.pid
        assert node
        assert epmd
        assert "beam" in Path(f"/proc/{node}/comm").read_text()  # the pid is the server's, not a script's
        assert list((rabbitmq_server.directory / "data").iterdir())


class TestKato:
    def test_each_test_finds_it_empty(self, kato: KatoServer, kato_url: str) -> None:
        with httpx.Client(base_url=kato_url) as client:
            assert client.post("/sessions", json={"node_id": "n"}).status_code == 200
            assert client.get("/_embedded/stats").json()["sessions_live"] == 1
            kato.reset()
            assert client.get("/_embedded/stats").json()["sessions_live"] == 0

    def test_it_comes_back_on_its_port(self, kato: KatoServer, kato_url: str) -> None:
        kato.kill()
        assert not kato.answers()
        kato.start()
        assert kato.url == kato_url


def inner_run(directory: Path, test: str, **environment: str) -> subprocess.Popen[str]:
    """Start pytest in a process of its own on the source of one test, with this project's fixtures."""
    file = directory / "test_inner.py"
    file.write_text(test)
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", f"--basetemp={directory / 'base'}"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", f"--rootdir={directory}", *options, str(file)],
        env=dict(os.environ) | {"PYTHONPATH": str(CHECKOUT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class TestEndings:
    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_an_interrupted_run_leaves_no_server_behind(self, ending: signal.Signals, tmp_path: Path) -> None:
        told = tmp_path / "pid"
        run = inner_run(
            tmp_path,
            "from pathlib import Path\n"
            "from kato_tasks.testing.waiting import wait_until\n"
            "def test_it_waits_to_be_interrupted(redis_server):\n"
            f"    Path({str(told)!r}).write_text(str(redis_server.pid))\n"
            "    wait_until(lambda: False, 60, 'an interruption')\n",
        )
        with run:
            try:
                wait_until(lambda: told.exists() and told.read_text(), 30, "the inner run's redis is up")
                server = int(told.read_text())
                assert alive(server)
                run.send_signal(ending)
                run.communicate(timeout=30)
                wait_until(lambda: not alive(server), 10, "its redis has ended")
            finally:
                run.kill()

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        broken = RedisServer(tmp_path, "--no-such-setting", "1")
        with pytest.raises(RuntimeError, match=r"no-such-setting"):
            broken.start()
        assert broken.pid is None


class TestMissingServices:
    MISSING = "from tests.services import unreachable\ndef test_needs_it():\n    unreachable('rabbitmq')\n"

    def test_a_missing_service_is_named_at_the_end_of_the_run(self, tmp_path: Path) -> None:
        with inner_run(tmp_path, self.MISSING, CI="") as run:
            said, _ = run.communicate(timeout=60)
        assert "LEFT OUT for want of rabbitmq: 1 test" in said
        assert run.returncode == 0

    def test_in_ci_a_missing_service_is_a_failure(self, tmp_path: Path) -> None:
        with inner_run(tmp_path, self.MISSING, CI="true") as run:
            said, _ = run.communicate(timeout=60)
        assert "rabbitmq is not available" in said
        assert run.returncode == 1


def test_waiting_for_what_never_comes_says_what_was_awaited() -> None:
    with pytest.raises(StillWaiting, match="the moon: not after"):
        wait_until(lambda: False, 0.05, "the moon")


def test_free_ports_differ() -> None:
    assert len({free_port() for _ in range(5)}) > 1
