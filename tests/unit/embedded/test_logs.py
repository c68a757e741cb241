"""Lines of the stack's parts: what level they have, and how they are shown."""

import pytest

from kato_tasks.embedded.stack.logs import Level, brief, level_of

CELERY = "[2026-11-23 14:42:21,409: {}/MainProcess] Task received"
REDIS = "22:M 23 Nov 2026 14:42:21.123 {} Ready to accept connections"
FLOWER = "[{} 261123 14:42:21 command:168] Visit me"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (CELERY.format("INFO"), "info"),
        (CELERY.format("WARNING"), "warning"),
        (CELERY.format("CRITICAL"), "error"),
        (REDIS.format("*"), "info"),
        (REDIS.format("#"), "warning"),
        (FLOWER.format("I"), "info"),
        (FLOWER.format("E"), "error"),
        ("WARNING:  Invalid HTTP request received.", "warning"),
        ("/lib/x.py:12: DeprecationWarning: gone soon", "warning"),
        ("Traceback (most recent call last):", "error"),
    ],
)
def test_each_parts_own_form_tells_a_lines_level(line: str, level: Level) -> None:
    assert level_of(line, "info") == level


def test_a_line_without_a_level_belongs_to_the_one_before_it() -> None:
    assert level_of('  File "x.py", line 1', "error") == "error"


@pytest.mark.parametrize("line", [CELERY.format("INFO"), REDIS.format("*"), FLOWER.format("I")])
def test_a_line_is_shown_with_the_time_of_day_only(line: str) -> None:
    assert brief(line).startswith("14:42:21 ")
    assert len(brief(line).split("14:42:21")) == 2
    assert not any(mark in brief(line) for mark in "[]*")


def test_a_line_without_a_form_is_shown_as_it_is() -> None:
    assert brief("embedded KATO on http://127.0.0.1:1") == "embedded KATO on http://127.0.0.1:1"
