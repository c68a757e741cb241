"""Pools that cannot work are refused by a real worker, before it takes anything from a queue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# What Celery touches of either before it has read the app; both patch the whole process, so neither is installed here.
PATCHES = {
    "gevent": {
        "gevent/__init__.py": "",
        "gevent/monkey.py": "def patch_all(*a, **k): pass\n",
        "gevent/signal.py": "",
    },
    "eventlet": {
        "eventlet/__init__.py": "def monkey_patch(*a, **k): pass\n",
        "eventlet/debug.py": "def hub_blocking_detection(*a, **k): pass\n",
        "greenlet.py": "class GreenletExit(BaseException): pass\n",
    },
}


def started(tmp_path: Path, store: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}",
        "KATO_TASKS_BROKER_URL": store,
        "KATO_TASKS_RESULT_BACKEND": store,
        "KATO_TASKS_STORE_URL": store,
        "KATO_TASKS_KATO_URLS": "http://127.0.0.1:9",
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "kato_tasks", "worker", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("pool", list(PATCHES))
def test_a_worker_under_gevent_or_eventlet_ends_at_once_with_a_sentence(
    pool: str, tmp_path: Path, redis_url: str
) -> None:
    """Falls when worker_signals does not ask."""
    (tmp_path / pool).mkdir()
    for name, text in PATCHES[pool].items():
        (tmp_path / name).write_text(text)
    done = started(tmp_path, redis_url, "--pool", pool)
    assert done.returncode == 1, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith(f"kato_tasks: the pool {pool} is not supported"), done.stderr
    assert said.endswith("--pool prefork, threads or solo")


def test_a_pool_of_somebodys_own_is_refused_by_its_name(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "mine.py").write_text("from celery.concurrency.base import BasePool\nclass Pool(BasePool): pass\n")
    done = started(tmp_path, redis_url, "--pool", "custom", CELERY_CUSTOM_WORKER_POOL="mine:Pool")
    assert done.returncode == 1, done.stderr
    assert "the pool mine.Pool is not supported" in done.stderr
