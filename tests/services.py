"""Real services for tests: each on a free port of 127.0.0.1, in a directory of its own, stopped by pid.

python -m tests.services run pytest [arguments]   finds (in a container or CI: installs) services, runs all
python -m tests.services check                    says what is here; exit status 1 if something is missing
python -m tests.services fetch                    has Maven bring the jars of the tests' Kafka into a cache of yours
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from kato_tasks.testing.kafka import fetch_jars, has_jars, java_program, kafka_programs, missing_part
from kato_tasks.testing.postgres import postgres_programs
from kato_tasks.testing.rabbitmq import rabbitmq_program
from kato_tasks.testing.services import ServiceFailed, redis_program

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def unreachable(service: str, hint: str = "") -> NoReturn:
    """Leave a test out for want of `service`, by name; in CI nothing is left out: fail."""
    reason = f"{service} is not available" + (f" ({hint})" if hint else "")
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


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
    if may_install():
        if wanted := [*absent_packages()]:
            install(wanted)
        if not has_jars():
            fetch()
    found = {
        "redis": redis_program(),
        "rabbitmq": rabbitmq_program(),
        "postgresql": postgres_programs(),
        "kafka": kafka_programs(),
    }
    for service, program in found.items():
        why = f" ({missing_part()})" if service == "kafka" else ""
        print(f"tests: {service:10} {program or 'MISSING' + why}", file=sys.stderr, flush=True)
    return [service for service, program in found.items() if program is None]


def fetch() -> bool:
    """Fetch the jars of Kafka, or say on stderr why they could not be; whether they are there."""
    print("tests: fetching Kafka's jars (Maven)", file=sys.stderr, flush=True)
    try:
        fetch_jars()
    except ServiceFailed as exc:
        print(f"tests: {exc}", file=sys.stderr, flush=True)
    return has_jars()


def absent_packages() -> list[str]:
    packages = []
    if shutil.which("redis-server") is None:
        packages.append("redis-server")
    if rabbitmq_program() is None:
        packages.append("rabbitmq-server")
    if postgres_programs() is None:
        packages.append("postgresql")
    if java_program() is None:
        packages.append("openjdk-17-jre-headless")
    if not has_jars() and shutil.which("mvn") is None:
        packages.append("maven")
    return packages


def main(arguments: Sequence[str]) -> int:
    match list(arguments):
        case ["check"]:
            return 1 if missing_services() else 0
        case ["fetch"]:
            return 0 if fetch() else 1
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
