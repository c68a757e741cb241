"""A RabbitMQ node of a test run's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

import amqp

from kato_tasks.testing.services import LOOPBACK, Service, ServiceFailed, free_port


def rabbitmq_program() -> str | None:
    """Return a rabbitmq-server that runs as the calling user, else None.

    Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to the user rabbitmq; the script behind it
    does not.
    """
    behind_wrapper = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(behind_wrapper) if behind_wrapper.exists() else shutil.which("rabbitmq-server")


class EpmdServer(Service):
    """Erlang's port mapper on a port of its own: left to itself RabbitMQ would start one that outlives it."""

    name = "epmd"
    stop_seconds = 5.0

    @property
    def url(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        program = shutil.which("epmd")
        if program is None:
            raise ServiceFailed("RabbitMQ needs Erlang's epmd, which is not on PATH")
        return [program, "-address", LOOPBACK, "-port", str(self.port)]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1):
            return True
        return False


class RabbitmqServer(Service):
    """A RabbitMQ node of our own: name, ports, cookie, data and logs are not shared with any other."""

    name = "rabbitmq"
    start_seconds = 90.0
    stop_seconds = 40.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.epmd = EpmdServer(directory / "epmd")
        self._distribution_port = 0

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}//"

    def start(self) -> None:
        self.epmd.start()
        self._distribution_port = self._distribution_port or free_port()
        try:
            super().start()
        except ServiceFailed:
            self.epmd.kill()
            raise

    def command(self) -> list[str]:
        program = rabbitmq_program()
        if program is None:
            raise ServiceFailed("no rabbitmq-server on this machine")
        return [program]

    def environment(self) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        plugins = self.directory / "enabled_plugins"
        plugins.write_text("[].\n")
        erlang = "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return inherited | {
            # With this the script becomes the server instead of waiting for it: our pid is the node's pid.
            "RUNNING_UNDER_SYSTEMD": "true",
            "HOME": str(home),  # Erlang keeps its cookie there
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd.port),
            "RABBITMQ_NODENAME": f"kato-tasks-{os.getpid()}-{self.epmd.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_BASE": str(self.directory),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "no-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "no-rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }

    def answers(self) -> bool:
        try:
            with amqp.Connection(f"{LOOPBACK}:{self.port}", "guest", "guest", connect_timeout=5, read_timeout=5):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def close(self) -> None:
        """Stop the node and its port mapper."""
        self.stop()
        self.epmd.stop()
