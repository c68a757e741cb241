"""Our own app has the settings that it is made with, else those of the environment when it is first used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kato_tasks
from kato_tasks import ConfigurationError, Settings, make_app
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.settings import settings
from kato_tasks.testing.inline import inline

CHECKOUT = str(Path(__file__).resolve().parents[2])
ELSEWHERE = "redis://127.0.0.1:1/5"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """The app as it is before its first use."""
    app.close()
    yield
    app.close()


def told(program: str, **environment: str) -> Any:
    """What a program in a process of its own prints (JSON)."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=inherited | {"PYTHONPATH": CHECKOUT} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lanes() -> int:
    return sum(queue.name.startswith("kato.lane.") for queue in app.conf.task_queues)


def test_importing_every_name_raises_nothing_for_a_bad_setting_and_each_use_does_until_it_is_mended() -> None:
    program = """
        import json, os
        import kato_tasks
        for name in kato_tasks.__all__:
            getattr(kato_tasks, name)
        def said():
            try:
                return kato_tasks.observe.s("s", {"strings": ["a"]}).task
            except kato_tasks.ConfigurationError as exc:
                return str(exc)
        before = [said(), said()]
        os.environ["KATO_TASKS_SHARDS"] = "3"
        print(json.dumps([*before, said(), len(kato_tasks.app.conf.task_queues)]))
    """
    sentence = 'KATO_TASKS_SHARDS: must be a whole number, not "many"'
    name = "kato_tasks.process_observation_async"
    assert told(program, KATO_TASKS_SHARDS="many") == [sentence, sentence, name, 5]


def test_a_hosts_app_is_made_whole_whatever_our_settings_are() -> None:
    program = """
        import json
        from celery import Celery
        from kato_tasks import observe
        app = Celery("host", broker="memory://")
        @app.task
        def mine(): pass
        app.finalize()
        print(json.dumps([mine.app.main, "celery.chord" in app.tasks, app.conf.broker_url]))
    """
    assert told(program, KATO_TASKS_SHARDS="many") == ["host", True, "memory://"]


def test_the_environment_counts_at_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not app.configured
    monkeypatch.setenv("KATO_TASKS_SHARDS", "7")
    assert lanes() == 7


def test_given_settings_are_those_of_the_app_and_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KATO_TASKS_SHARDS", "7")
    assert make_app(Settings(shards=3, broker_url=ELSEWHERE)) is kato_tasks.app
    assert (lanes(), app.conf.broker_url, settings().shards) == (3, ELSEWHERE, 3)


def test_settings_can_be_given_after_the_configuration_was_looked_at() -> None:
    assert lanes() == 16
    make_app(Settings(shards=3))
    assert lanes() == 3


def test_equal_settings_are_no_others_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(Settings(shards=3))
    home()
    monkeypatch.setenv("KATO_TASKS_SHARDS", "3")
    assert make_app(Settings()) is make_app() is app
    assert app.used


def test_other_settings_are_refused_once_something_was_sent() -> None:
    make_app(Settings(shards=3))
    home()
    with pytest.raises(ConfigurationError, match=r"was used under other settings .*; call kato_tasks\.make_app where"):
        make_app(Settings(shards=4))
    assert lanes() == 3


def test_other_settings_are_refused_once_the_store_was_used() -> None:
    with inline():
        kato_tasks.session_status("anybody")
        with pytest.raises(ConfigurationError, match="the store is in use under other settings in this process"):
            make_app(Settings(shards=4))


def test_the_tasks_of_a_hosts_app_are_not_taken_back() -> None:
    program = """
        import json
        from celery import Celery
        import kato_tasks
        kato_tasks.install(Celery("host"))
        try:
            kato_tasks.make_app(kato_tasks.Settings())
        except kato_tasks.ConfigurationError as exc:
            print(json.dumps(str(exc)))
    """
    assert told(program) == (
        "the tasks of kato_tasks are on the Celery app 'host' in this process; give the settings to "
        "kato_tasks.install(app, settings=…) instead"
    )


def test_a_closed_app_forgets_the_settings_and_takes_others() -> None:
    with make_app(Settings(shards=3)):
        home()
        assert lanes() == 3
    assert lanes() == 16
    with make_app(Settings(shards=4)):
        assert lanes() == 4


def test_what_an_application_sets_on_the_app_stays_whichever_settings_come() -> None:
    app.conf.task_ignore_result = True
    try:
        assert lanes() == 16
        app.conf.worker_max_tasks_per_child = 9
        app.conf.beat_schedule["mine"] = {"task": "mine", "schedule": 1.0}
        make_app(Settings(shards=3))
        assert (lanes(), app.conf.task_ignore_result, app.conf.worker_max_tasks_per_child) == (3, True, 9)
        assert {"mine", "kato-sweep"} <= set(app.conf.beat_schedule)
    finally:
        for name in ("task_ignore_result", "worker_max_tasks_per_child", "beat_schedule"):
            app.conf.changes.pop(name, None)
            app._preconf.pop(name, None)


def test_a_closed_app_publishes_again_at_the_same_broker() -> None:
    """kombu keeps one pool of connections for each broker, which closing the app empties."""
    for _ in range(3):
        with make_app(Settings(broker_url="memory://", result_backend="cache+memory://")):
            for _ in range(12):
                app.send_task("kato_tasks.drain", (0,), queue="kato.lane.00")
