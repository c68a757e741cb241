"""A Kafka broker of a test run's own, and librdkafka's mock of one for machines without Java."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kato_tasks.testing.services import LOOPBACK, Service, ServiceFailed, free_port

VERSION = "4.1.0"
OLDEST_JAVA = 17
JARS = "KATO_KAFKA_JARS"
"""The environment variable that names another directory with the jars."""
POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kato-tasks</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>{VERSION}</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
"""What Maven is asked for. Without slf4j-simple the broker would not say why it does not start."""


def java_program() -> str | None:
    """Return a Java that can run Kafka, from JAVA_HOME or else from PATH, else None."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which(f"{home}/bin/java" if home else "java")
    return program if program and _java_version(Path(program).resolve()) >= OLDEST_JAVA else None


@functools.cache
def _java_version(program: Path) -> int:
    told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else 0


def jar_directory() -> Path:
    """Return where Kafka's jars are, or are to be: a cache of the user's, or what KATO_KAFKA_JARS names."""
    if named := os.environ.get(JARS):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "kato_tasks" / f"kafka-{VERSION}" / "lib"


def has_jars() -> bool:
    """Whether Kafka's jars are in their directory."""
    return any(jar_directory().glob("kafka_2.13-*.jar"))


def kafka_programs() -> Path | None:
    """Return the directory of Kafka's jars where this machine can run them, else None."""
    return jar_directory() if has_jars() and java_program() else None


def fetch_jars() -> None:
    """Have Maven bring Kafka's jars (46 MB) into their directory, from wherever this machine's Maven is set to look.

    Raises ServiceFailed, with the end of what Maven said, when they are not there after that.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceFailed("Kafka's jars are fetched by Maven, which is not on PATH (Debian: apt-get install maven)")
    directory = jar_directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=directory.parent) as scratch:
        pom, jars = Path(scratch) / "pom.xml", Path(scratch) / "lib"
        pom.write_text(POM)
        words = ["-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        done = subprocess.run([maven, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}")
        # As a whole or not at all: half a directory would pass for all of them from then on.
        shutil.rmtree(directory, ignore_errors=True)
        jars.rename(directory)


class KafkaServer(Service):
    """One broker that is its own controller (KRaft). Topics that are not there are made when somebody writes to them.

    Partitions go to another reader as soon as the group hears of it, and a session may be as short as a test wants it:
    a group of tests' readers is not to wait for more of them, nor a test for one that died.
    """

    name = "kafka"
    start_seconds = 60.0
    stop_seconds = 30.0

    def __init__(self, directory: Path, *, partitions: int = 4) -> None:
        super().__init__(directory)
        self._partitions = partitions
        self._controller_port = 0

    @property
    def url(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        settings = self.directory / "server.properties"
        if f":{self.port}\n" not in (settings.read_text() if settings.exists() else ""):
            self._controller_port = free_port()
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if not (self._data / "meta.properties").exists():
            self._format(settings)
        return self._java("kafka.Kafka", str(settings))

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _settings(self) -> dict[str, object]:
        controller = f"{LOOPBACK}:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CONTROLLER://{controller},PLAINTEXT://{self.url}",
            "log.dirs": self._data,
            "num.partitions": self._partitions,
            # There is one broker, and few threads are enough for it.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            # A broker that was killed is taken back only when its last session has run out.
            "broker.session.timeout.ms": 1500,
            "broker.heartbeat.interval.ms": 300,
            "controlled.shutdown.enable": "false",
        }

    def _format(self, settings: Path) -> None:
        words = ["format", "--cluster-id", "kato-tasks-of-tests-00", "--config", str(settings)]
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *words), capture_output=True, text=True, check=False
        )
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise ServiceFailed(f"Kafka's storage could not be made:\n{done.stdout}{done.stderr}")

    def _java(self, program: str, *arguments: str) -> list[str]:
        java, jars = java_program(), kafka_programs()
        if java is None or jars is None:
            raise ServiceFailed(missing_part())
        options = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        log = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return [java, *options, *log, "-cp", f"{jars}/*", program, *arguments]

    def answers(self) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # What it logs while nobody listens yet is no news.
        client = AdminClient({"bootstrap.servers": self.url, "log_level": 0, "socket.timeout.ms": 2000})
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False


def missing_part() -> str:
    """What this machine lacks to run a Kafka, in a clause for people; '' if nothing."""
    if java_program() is None:
        return f"Kafka needs Java {OLDEST_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless)"
    if not has_jars():
        return "Kafka's jars are not here: fetch them with `python -m tests.services fetch`"
    return ""


@contextmanager
def mock_cluster() -> Iterator[str]:
    """Run the mock of a cluster that librdkafka brings, inside this process, and give its address.

    It knows topics, groups and offsets, makes a topic when somebody asks for it, and cannot be stopped.
    """
    from confluent_kafka import Producer

    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    owner.flush(0)


__all__ = ["KafkaServer", "fetch_jars", "has_jars", "java_program", "kafka_programs", "missing_part", "mock_cluster"]
