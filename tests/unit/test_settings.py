"""Settings: a bad one, or a name that is none, is one sentence with its variable; each says where it comes from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kato_tasks.cli import kato
from kato_tasks.domain.session_config import KNOWN
from kato_tasks.errors import ConfigurationError
from kato_tasks.kato_wire.config import IN_FORCE
from kato_tasks.settings import Settings, settings

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = "pw-7f3a"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("KATO_TASKS_"):
            monkeypatch.delenv(name)
    settings.cache_clear()
    yield
    settings.cache_clear()


def refused(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in values.items():
        monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        settings()
    told = str(caught.value)
    assert "\n" not in told
    assert SECRET not in told
    return told


# ---------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("KATO_URL", "KATO_TASKS_KATO_URL is not a setting; did you mean KATO_TASKS_KATO_URLS?"),
        ("LEASE_SECOND", "KATO_TASKS_LEASE_SECOND is not a setting; did you mean KATO_TASKS_LEASE_SECONDS?"),
        ("BROKERURL", "KATO_TASKS_BROKERURL is not a setting; did you mean KATO_TASKS_BROKER_URL?"),
        (
            "XYZ",
            "KATO_TASKS_XYZ is not a setting; unset it, or ignore such names with KATO_TASKS_UNKNOWN_SETTINGS=pass",
        ),
        # No address of a service, though it ends as one.
        ("REDIS_PORT", None),
    ],
)
def test_a_name_that_is_no_setting_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, name: str, told: str | None
) -> None:
    said = refused(monkeypatch, **{name: "6379"})
    assert told is None or said == told


def test_a_name_in_an_env_file_is_looked_at_in_the_same_way_and_other_peoples_names_are_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=x\nKATO_PORT=1\nKATO_TASKS_LEASE_SECOND=9\n")
    with pytest.raises(ConfigurationError) as caught:
        settings()
    assert str(caught.value) == (
        "KATO_TASKS_LEASE_SECOND in .env is not a setting; did you mean KATO_TASKS_LEASE_SECONDS?"
    )


def test_a_setting_lets_other_names_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KATO_TASKS_UNKNOWN_SETTINGS", "pass")
    monkeypatch.setenv("KATO_TASKS_KATO_URL", "x")
    assert settings().unknown_settings == "pass"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "80"),
        ("SERVICE_PORT_HTTP", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP_ADDR", "10.0.0.1"),
        ("FLOWER_SERVICE_HOST", "10.0.0.1"),
        ("FLOWER_PORT_5555_TCP_PORT", "5555"),
    ],
)
def test_what_kubernetes_says_of_a_service_called_kato_tasks_is_not_meant_for_us(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    settings()


def test_a_setting_given_in_code_by_another_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^kato_url is not a setting; did you mean kato_urls\?$"):
        Settings(kato_url="http://kato:1")


# --------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("KATO_SESSION_CONFIG", "{bad", 'write {"recall_threshold": 0.3}'),
        ("KATO_SESSION_CONFIG", "[1]", "is no JSON object"),
        (
            "KATO_SESSION_CONFIG",
            '{"recall_treshold": 0.3}',
            '"recall_treshold" is no key of KATO\'s session config; did you mean recall_threshold?',
        ),
        ("KATO_SESSION_CONFIG", '{"new_in_kato_4": 1}', "KATO_TASKS_UNKNOWN_KEYS=pass"),
        ("BROKER_URL", "http://x", "KATO_TASKS_BROKER_URL: 'http://x' is no broker that works here; write redis://"),
        ("BROKER_URL", f"sentinel://:{SECRET}@h", "Redis Sentinel, which is not supported"),
        ("BROKER_URL", f"redis://:{SECRET}@h:x/0", "is no address"),
        ("BROKER_URL", "", "is empty"),
        ("RESULT_BACKEND", f"http://u:{SECRET}@x", "KATO_TASKS_RESULT_BACKEND: 'http://u:***@x' is no result backend"),
        ("STORE_URL", "redis+socket:///x", "write unix:///path/to/redis.sock"),
        ("STORE_URL", f"redis://:{SECRET}@h:6379/events", "names no database of Redis: those are numbers"),
        ("STORE_URL", "amqp://x", "KATO_TASKS_STORE_URL: 'amqp://x' is not the address of a Redis"),
        ("STREAMS_URL", "amqp://x", "KATO_TASKS_STREAMS_URL: 'amqp://x' is not the address of a Redis"),
        ("RABBITMQ_URL", f"redis://:{SECRET}@h", "KATO_TASKS_RABBITMQ_URL: 'redis://:***@h' is not the address of a "),
        ("RABBITMQ_URL", f"amqp://u:{SECRET}/x@h", "is no address: a port is a number below 65536, and signs such as"),
        ("RABBITMQ_URL", f"amqp://a:1;http://u:{SECRET}@h", "'http://u:***@h' is not the address of a RabbitMQ"),
        ("KAFKA_BOOTSTRAP", "", "KATO_TASKS_KAFKA_BOOTSTRAP: names no broker, or one that is empty; write host:9092"),
        ("KAFKA_BOOTSTRAP", "a:9092,", "names no broker, or one that is empty"),
        ("KAFKA_BOOTSTRAP", f"kafka://u:{SECRET}@h", "'kafka://u:***@h' is no broker of Kafka; write host:9092"),
        ("KAFKA_BOOTSTRAP", "a:9092,b:99999", "'b:99999' is no broker of Kafka"),
        (
            "ARCHIVE_URL",
            f"mysql://u:{SECRET}@h/x",
            "ARCHIVE_URL: 'mysql://u:***@h/x' is no database that works here",
        ),
        (
            "ARCHIVE_URL",
            f"postgresql://u:{SECRET}@h",
            "names no database; write postgresql://user:password@host/database",
        ),
        ("ARCHIVE_URL", f"postgresql://u:{SECRET}/x@h/d", "is no address"),
        ("ARCHIVE_URL", "postgresql+asyncpg://h/x", "is no database that works here"),
        ("ARCHIVE_URL", "sqlite:///archive.db", "names no file by its whole path; write sqlite:////absolute/path"),
        ("ARCHIVE_URL", "sqlite://", "names no file by its whole path"),
        ("ARCHIVE_URL", "archive.db", "write postgresql://user:password@host/database or sqlite:////absolute/path"),
        (
            "RENEW_SECONDS",
            "3",
            "KATO_TASKS_RENEW_SECONDS must be at most half of KATO_TASKS_LEASE_SECONDS (4): set it to 2 or less, or a",
        ),
        ("BACKOFF_CAP_SECONDS", "0.5", "must be at most KATO_TASKS_BACKOFF_CAP_SECONDS (0.5)"),
        ("SHARDS", "many", 'KATO_TASKS_SHARDS: must be a whole number, not "many"'),
        ("SHARDS", "", "KATO_TASKS_SHARDS: must be a whole number, and is empty"),
        ("SHARDS", "300", "KATO_TASKS_SHARDS: must be at most 256, not 300"),
        ("RENEW_SECONDS", "0", "KATO_TASKS_RENEW_SECONDS: must be more than 0, not 0"),
        ("KATO_TIMEOUT_SECONDS", "inf", "must be a finite number, not inf"),
        ("KEEP_ALIVE_HOURS", "long", 'must be a number, not "long"'),
        ("VERIFY_LAST", "maybe", 'must be true or false, not "maybe"'),
        ("LOG_FORMAT", "jsn", "KATO_TASKS_LOG_FORMAT: must be 'console' or 'json', not \"jsn\""),
    ],
)
def test_a_value_that_cannot_work_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    assert told in refused(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "amqps://u:p@h:5671/v"),
        ("BROKER_URL", "redis+socket:///run/redis.sock"),
        ("BROKER_URL", "amqp://a:1;amqp://b:2"),
        ("BROKER_URL", "memory://"),
        ("RESULT_BACKEND", "db+postgresql://u:p@h/x"),
        ("RESULT_BACKEND", ""),
        ("STORE_URL", "unix:///run/redis.sock"),
        ("STREAMS_URL", "rediss://u:p@h:6380/3"),
        ("RABBITMQ_URL", "amqp://localhost"),
        ("RABBITMQ_URL", "amqps://u:p@h:5671/v;amqps://u:p@i:5671/v"),
        ("KAFKA_BOOTSTRAP", "kafka"),
        ("KAFKA_BOOTSTRAP", "a.b-c:9092, [::1]:9093"),
        ("ARCHIVE_URL", ""),
        ("ARCHIVE_URL", "postgresql://u:p@h:5433/d?sslmode=require"),
        ("ARCHIVE_URL", "postgresql+psycopg://h/d"),
        ("ARCHIVE_URL", "sqlite:////var/lib/kato/archive.sqlite"),
    ],
)
def test_an_address_that_can_work_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    assert getattr(settings(), name.lower()) == value


def test_the_known_keys_of_a_session_config_are_katos_and_others_can_be_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(IN_FORCE) == KNOWN
    monkeypatch.setenv("KATO_TASKS_UNKNOWN_KEYS", "pass")
    monkeypatch.setenv("KATO_TASKS_KATO_SESSION_CONFIG", '{"new_in_kato_4": 1}')
    assert settings().kato_session_config == {"new_in_kato_4": 1}
    assert settings().limits.unknown_keys == "pass"


# ------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_bytes(b"KATO_TASKS_SHARDS=4 # caf\xe9\n"), ".env is not UTF-8 (byte 25): convert it"),
        (lambda path: path.write_text("KATO_TASKS_SHARDS\n"), "KATO_TASKS_SHARDS in .env has no value"),
        (lambda path: path.mkdir(), ".env is a directory; settings are read from a file of that name: move it"),
        (lambda path: path.symlink_to("/proc/self/mem"), ".env cannot be read (Input/output error)"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, make: object, told: str) -> None:
    make(tmp_path / ".env")  # type: ignore[operator]
    with pytest.raises(ConfigurationError) as caught:
        settings()
    assert str(caught.value).startswith(told)


def test_a_virtual_environment_called_env_is_none(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert settings().shards == 16


def test_what_an_editor_puts_before_the_first_line_hides_no_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfKATO_TASKS_SHARDS=4\n")
    assert settings().shards == 4


def test_each_value_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / ".env").write_text("export KATO_TASKS_SHARDS=4\nKATO_TASKS_MAX_RETRIES=2\n")
    monkeypatch.setenv("KATO_TASKS_MAX_RETRIES", "3")
    monkeypatch.setenv("kato_tasks_kato_token_file", str(tmp_path / "token"))
    found = Settings(lease_seconds=5)
    assert (found.shards, found.max_retries, found.lease_seconds) == (4, 3, 5.0)
    origins = {name: found.origin(name) for name in ("shards", "max_retries", "lease_seconds", "batch_events")}
    assert origins == {
        "shards": ".env",
        "max_retries": "environment",
        "lease_seconds": "code",
        "batch_events": "default",
    }
    assert found.origin("kato_token") == f"file {tmp_path / 'token'}"


def test_config_shows_each_settings_value_origin_and_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KATO_TASKS_SHARDS", "4")
    ran = CliRunner().invoke(kato, ["config"])
    rows = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines()}
    assert rows["KATO_TASKS_SHARDS"][:2] == ["4", "environment"]
    assert len(rows["KATO_TASKS_MAX_VECTORS"]) > 3
    assert json.loads(CliRunner().invoke(kato, ["config", "--json"]).stdout)["shards"] == 4


# ---------------------------------------------------------------------- somebody else's command


def ran(words: list[str], directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
    environment |= {"PYTHONPATH": f"{directory}:{CHECKOUT}", **more}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", [["celery", "-A", "kato_tasks", "worker"], ["workers.lanes"]])
def test_a_worker_with_a_bad_setting_ends_with_its_sentence_alone(words: list[str], tmp_path: Path) -> None:
    done = ran(words, tmp_path, KATO_TASKS_KATO_URL="x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kato_tasks: KATO_TASKS_KATO_URL is not a setting; did you mean KATO_TASKS_KATO_URLS?\n"


def test_an_application_gets_an_error_that_it_can_catch_under_celerys_command_line_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from celery import Celery\n"
        "from kato_tasks import ConfigurationError, observe\n"
        "try:\n    observe.delay('s', {'strings': ['a']})\n"
        "except ConfigurationError as exc:\n    print('caught', exc)\n"
        "app = Celery('mine')\n"
    )
    done = ran(["celery", "-A", "mine", "report"], tmp_path, KATO_TASKS_SHARDS="many")
    assert done.stdout.startswith('caught KATO_TASKS_SHARDS: must be a whole number, not "many"\n')
