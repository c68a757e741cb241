"""What a command of the stack shows of its parts' lines."""

import pytest

from kato_tasks.cli.screen import Screen

SWEPT = "[2026-11-23 14:57:32,938: INFO/ForkPoolWorker-1] Task kato_tasks.sweep[46ef] succeeded in 0.03s: 0"
LEARNED = "[2026-11-23 14:57:33,100: INFO/ForkPoolWorker-1] Task kato_tasks.learn[8d1a] succeeded in 0.01s: {}"
EARLY = "[W 261123 14:57:23 inspector:42] Inspect method stats failed"


def test_a_line_is_shown_with_its_part_and_the_time_of_day(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(quiet=False).line("worker", "info", LEARNED)
    assert capsys.readouterr().err == "worker  │ 14:57:33 Task kato_tasks.learn[8d1a] succeeded in 0.01s: {}\n"


def test_periodic_housekeeping_is_shown_only_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=False)
    screen.line("worker", "info", SWEPT)
    screen.line("flower", "warning", EARLY)
    assert capsys.readouterr().err == ""
    screen.line("worker", "error", "Task kato_tasks.sweep[46ef] raised unexpected: OSError()")
    assert "raised unexpected" in capsys.readouterr().err


def test_quiet_shows_warnings_and_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    screen.line("worker", "info", LEARNED)
    screen.line("kato", "warning", "Invalid HTTP request received.")
    assert capsys.readouterr().err == "kato    │ Invalid HTTP request received.\n"


def test_a_line_that_grows_is_ended_by_whatever_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    screen.begin("starting")
    screen.add("redis")
    screen.line("redis", "error", "out of memory")
    screen.end("1.0 s")
    assert capsys.readouterr().err == "  starting    ✓ redis \nredis   │ out of memory\n"
