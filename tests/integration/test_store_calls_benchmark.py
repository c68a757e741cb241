"""The programs that `benchmarks.store_calls` and `benchmarks.calls` run in any tree know the names of this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.calls import PREPARING
from benchmarks.store_calls import FIGURES, Tree
from kato_tasks.testing.services import RedisServer

CHECKOUT = Path(__file__).resolve().parents[2]


def test_each_call_of_the_store_is_measured_in_this_tree(redis_url: str) -> None:
    tree = Tree(CHECKOUT, redis_url, parts=3)
    try:
        assert len(tree.calls) >= 7
        for call in tree.calls:
            figures = [tree.measure(call) for _ in range(3)][-1]
            assert figures is not None
            assert set(figures) == set(FIGURES)
            assert figures["redis"] > 0
    finally:
        tree.close()


def test_the_load_that_is_drained_is_appended_in_this_tree(redis_server: RedisServer, redis_url: str) -> None:
    environment = {"PYTHONPATH": str(CHECKOUT), "KATO_TASKS_STORE_URL": redis_url, "PATH": "/usr/bin:/bin"}
    appended = "print(sum(len(rt.redis.keys(f'kt:{{p{p:03d}}}:log:*')) for p in range(256)))"
    done = subprocess.run(
        [sys.executable, "-c", PREPARING + appended, "20", "3"],
        env=environment,
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "20"
