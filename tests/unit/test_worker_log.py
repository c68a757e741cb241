"""What a worker's log says of its own tasks, and of the queues that it leaves to others."""

import logging
from typing import Any

import pytest

from kato_tasks.celery_tasks.worker.quiet_tasks import is_news
from kato_tasks.celery_tasks.worker.shards_served import unserved


def record(level: int, text: str, *args: Any) -> logging.LogRecord:
    return logging.LogRecord("celery.app.trace", level, "", 0, text, args, None)


@pytest.mark.parametrize(
    "name", ["kato_tasks.sweep", "kato_tasks.keep_alive", "kato_tasks.drain", "kato_tasks.drain_overdue"]
)
def test_only_trouble_is_news_of_a_task_that_nobody_sent(name: str) -> None:
    said = {"name": name, "id": "1"}
    assert not is_news(record(logging.INFO, "Task %(name)s[%(id)s] received", said))
    assert is_news(record(logging.ERROR, "Task %(name)s[%(id)s] raised", said))


def test_everybody_elses_tasks_are_news() -> None:
    assert is_news(record(logging.INFO, "Task %(name)s[%(id)s] received", {"name": "kato_tasks.learn", "id": "1"}))
    assert is_news(record(logging.INFO, "Connected to %s", "redis"))


@pytest.mark.parametrize(
    ("consumed", "others"),
    [
        ({"kato.lane.00", "kato.lane.01", "kato.lane.02", "kato.lane.03", "kato.control"}, []),
        ({"kato.lane.00"}, ["kato.lane.01..03", "kato.control"]),
        ({"kato.lane.01", "kato.control", "mine"}, ["kato.lane.00", "kato.lane.02..03"]),
    ],
)
def test_a_worker_names_the_queues_that_it_leaves_to_others(consumed: set[str], others: list[str]) -> None:
    assert unserved(consumed, 4) == others
