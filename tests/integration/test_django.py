"""`delay_on_commit` in a real Django project on SQLite: what is rolled back is never appended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = """
SECRET_KEY = "none"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
"""
START = """
import json
import django
django.setup()
from django.db import transaction
from kato_tasks import learn, observe, session_status
from kato_tasks.errors import InvalidEvent

def head(session):
    status = session_status(session)
    return None if status is None else status.head
"""
COMMITTED = """
with transaction.atomic():
    observe.delay_on_commit("kept", {"strings": ["a"]})
    observe.delay_on_commit("kept", observation={"strings": ["b"]}, event_id="b")
    learn.apply_async_on_commit(("kept",), priority=3)
    inside = head("kept")
try:
    with transaction.atomic():
        observe.delay_on_commit("gone", {"strings": ["a"]})
        raise KeyError
except KeyError:
    pass
observe.delay_on_commit("at once", {"strings": ["a"]})
print(json.dumps([inside, head("kept"), head("gone"), head("at once")]))
"""
REFUSED = """
with transaction.atomic():
    try:
        observe.delay_on_commit("kept", {"strings": "no list"})
    except InvalidEvent as exc:
        print(json.dumps(exc.field))
"""
BARE = """
import json
from kato_tasks import observe
from kato_tasks.errors import ConfigurationError
try:
    observe.delay_on_commit("kept", {"strings": ["a"]})
except ConfigurationError as exc:
    print(json.dumps(str(exc)))
"""


def told(program: str, tmp_path: Path, store: str, **more: str) -> Any:
    """What a program of the project prints (JSON)."""
    (tmp_path / "shop_settings.py").write_text(PROJECT)
    environment = dict(os.environ) | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}",
        "KATO_TASKS_BROKER_URL": store,
        "KATO_TASKS_RESULT_BACKEND": store,
        "KATO_TASKS_STORE_URL": store,
        "KATO_TASKS_KATO_URLS": "http://127.0.0.1:9",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_event_of_a_transaction_is_appended_once_it_is_committed_and_never_when_it_is_rolled_back(
    tmp_path: Path, redis_url: str
) -> None:
    program = START + COMMITTED
    assert told(program, tmp_path, redis_url, DJANGO_SETTINGS_MODULE="shop_settings") == [None, 3, None, 1]


def test_wrong_arguments_raise_at_the_call_and_not_at_the_commit(tmp_path: Path, redis_url: str) -> None:
    told_field = told(START + REFUSED, tmp_path, redis_url, DJANGO_SETTINGS_MODULE="shop_settings")
    assert told_field == "observation.strings"


def test_without_a_configured_django_the_error_says_what_is_missing(tmp_path: Path, redis_url: str) -> None:
    assert "needs a configured Django" in told(BARE, tmp_path, redis_url)


def test_without_django_the_error_says_what_is_missing(tmp_path: Path, redis_url: str) -> None:
    hidden = "import sys\nsys.modules['django'] = None\n"
    assert told(hidden + BARE, tmp_path, redis_url) == (
        "delay_on_commit needs Django, which is not installed; use delay"
    )
