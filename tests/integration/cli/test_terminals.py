"""What a person sees: hostile ids do nothing to the terminal, and narrow terminals lose no word."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Sequence
from io import StringIO

import pytest
from celery.app.log import TaskFormatter

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api import dead_letters, parking
from kato_tasks.api.scheduled import later_payload
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.worker.worker_signals import log_as_set
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.visible import visible, visible_id
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.telemetry.log_events import JsonFormatter, VisibleFormatter, log_event
from tests.contract.store.log import observation
from tests.integration.cli.running import Cli, append
from tests.integration.cli.terminal import on_terminal, screen_of, steering, widest

EVIL = "\x1b[31mred\x1b]0;pwned\x07 a\nb\tc\r\x00d\x85\x9b2J\u202e\u200b end"
EVIL_NODE = "n\x85\u202e\x9b2J"
EVIL_ID = "e\x85\u202e\x9b2J"


@pytest.fixture
def hostile(live: Runtime) -> Runtime:
    """A store in which every text that somebody else chose wants to take over the terminal."""
    append(live, EVIL, "a", "b")
    append(live, "of a node", EVIL, node_id=EVIL_NODE)
    parking.park(live, EVIL, EVIL)
    lane = live.sessions.lane_of("of a node")
    due = live.figures.now_ms() + 3_600_000
    live.redis.hset(f"{prefix(partition_of(lane))}s:of a node", mapping={"err": EVIL, "att": 1})
    letter = {
        "session_id": EVIL,
        "node_id": EVIL_NODE,
        "lane": lane,
        "position": 1,
        "event": {"event_id": EVIL_ID, "session_id": EVIL, "metadata": {EVIL: EVIL}},
        "reason": EVIL,
        "last_answer": EVIL,
        "attempts": 1,
        "first_ms": 1,
        "last_ms": 2,
    }
    raise_errors(
        live.store.execute(
            [
                ports.KeepDeadLetter(lane, EVIL, json.dumps(letter)),
                ports.KeepScheduled(lane, due, later_payload(observation(EVIL, EVIL_ID), EVIL)),
            ]
        )
    )
    return live


def commands(cli: Cli, rt: Runtime) -> list[Sequence[str]]:
    file = "evil\x1b]0;pwned\x07\u202e.csv"
    cli.write(file, f"s,a\n\x1b[31mx,\u202e\n,{'y' * 9}\n")
    (letter,) = dead_letters.dead_letters(rt)
    return [
        ["status"],
        ["status", "--json"],
        ["wait", "--timeout", "0"],
        ["config"],
        ["sessions", "list"],
        ["sessions", "list", "--json", "--sort", "last"],
        ["sessions", "list", "--state", "idle", "--prefix", EVIL, "--node", EVIL_NODE, "--after", EVIL],
        ["sessions", "list", "--limit", "1"],
        ["sessions", "list", "--sort", EVIL],
        ["sessions", "show", EVIL],
        ["sessions", "show", EVIL, "--json"],
        ["sessions", "show", "of a node"],
        ["sessions", "show", f"not known {EVIL}"],
        ["sessions", "show", "no UTF-8: \udcff"],
        ["sessions", "list", "--prefix", "\udcff"],
        ["sessions", "scheduled"],
        ["sessions", "scheduled", "--json"],
        ["sessions", "scheduled", f"not known {EVIL}"],
        ["sessions", "park", EVIL],
        ["sessions", "resume", EVIL],
        ["sessions", "park", EVIL, "--reason", EVIL, "--json"],
        ["sessions", EVIL],
        ["sessions", f"--{EVIL}"],
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["dead-letters", "show", letter.id],
        ["dead-letters", "show", EVIL],
        ["dead-letters", "redrive", letter.id],
        ["dead-letters", "redrive", EVIL],
        ["dead-letters", "redrive", "--all"],
        ["dead-letters", "discard", EVIL],
        ["import", file, "--session", "s", "--strings", "a"],
        ["import", file, "--session", EVIL, "--strings", EVIL],
        ["import", EVIL.replace("\x00", ""), "--session", "s", "--strings", "a"],
        [EVIL],
        [f"--{EVIL}"],
        ["wait", EVIL],
        ["wait", "--timeout", EVIL],
    ]


def test_no_command_lets_a_hostile_id_steer_the_terminal(cli: Cli, hostile: Runtime) -> None:
    cli.inside = False
    asked = commands(cli, hostile)
    for words, shown in zip(asked, on_terminal(cli, *asked), strict=True):
        assert steering(shown) == [], (words, shown)
        assert shown.strip(), words
        assert "Traceback" not in shown, (words, shown)


def test_no_command_writes_control_characters_into_a_pipe_or_a_file(cli: Cli, hostile: Runtime) -> None:
    for words in commands(cli, hostile):
        ran = cli(*words)
        assert steering(ran.out + ran.err) == [], (words, ran)
        if "--json" in words:
            assert ran.json


def test_an_id_is_found_as_it_is_shown_and_as_it_is(cli: Cli, hostile: Runtime) -> None:
    written = visible_id(EVIL)
    assert f"session         {written}\n" in cli("sessions", "show", EVIL).out
    for given in (EVIL, written):
        assert cli("sessions", "show", given, "--json").json["session_id"] == EVIL
    assert cli("sessions", "resume", written).code == 0
    append(hostile, "a\\nb", "x")  # the characters themselves come first
    append(hostile, "a\nb", "x")
    assert cli("sessions", "show", "a\\nb", "--json").json["session_id"] == "a\\nb"
    assert cli("sessions", "show", "a\\\\nb", "--json").json["session_id"] == "a\\nb"


LONG = "visit-of-the-web-shop-" + "x" * 180 + "-in-the-evening"


@pytest.mark.parametrize("columns", [60, 40])
def test_on_a_narrow_terminal_no_cell_loses_its_words(cli: Cli, live: Runtime, columns: int) -> None:
    append(live, "ann 1", "a", node_id="the web shop")
    append(live, LONG, "a", "b")
    reason = "KATO answered 422: strings must not be empty, whatever stands in the metadata"
    parking.park(live, LONG, reason)
    lane = live.sessions.lane_of(LONG)
    due = live.figures.now_ms() + 3_600_000
    letter = {"session_id": LONG, "node_id": "", "lane": lane, "position": 1, "event": {"event_id": LONG}}
    letter |= {"reason": reason, "attempts": 3, "first_ms": 1, "last_ms": 2}
    raise_errors(
        live.store.execute(
            [
                ports.KeepDeadLetter(lane, "x", json.dumps(letter)),
                ports.KeepScheduled(lane, due, later_payload(observation("ann 1", "e"), "task-1")),
            ]
        )
    )
    listed, shown, scheduled, letters, config, waited, status = on_terminal(
        cli,
        ["sessions", "list"],
        ["sessions", "show", LONG],
        ["sessions", "scheduled"],
        ["dead-letters", "list"],
        ["config"],
        ["wait", "--timeout", "0"],
        ["status"],
        columns=columns,
    )
    for table in (listed, shown, scheduled, letters):
        assert widest(table) <= columns
    for table in (listed, shown, letters):
        assert set(reason.split()) <= set(table.split())
    for word in ("ann 1", "the web shop", "parked", "cursor", "head", "last event", "ago", "visit-of-the-web-sho…"):
        assert word in listed
    assert "x" * 180 in "".join(shown.split()), "one session is shown with its whole id"
    assert {"ann", "1", "observation", "task-1", "e", "due"} <= set(scheduled.split())
    assert set(re.findall(r"\bKATO_TASKS_\w+", config)) >= {"KATO_TASKS_PREDICT_PATIENCE_SECONDS"}
    assert widest(config) <= columns
    assert "3 events of 2 sessions left" in waited
    assert "health" in status


LINES_OF_A_WORKER = f"""
from kato_tasks.cli.screen import Screen
screen = Screen(quiet=False)
start = "[2026-11-28 15:00:00,123: INFO/MainProcess] "
task = "Task kato_tasks.process_observation_async[0e6ee7a0-3f0a-4a3c-8d1a-9c1f7d7a2b11]"
screen.line("worker", "info", f"{{start}}{{task}} succeeded in 0.01s: {{{{'status': 'okay'}}}}")
screen.line("worker", "warning", start + "lane.lost lane=" + {EVIL!r})
screen.line("worker", "info", "word " * 500)
screen.field("data", {EVIL!r})
screen.say({EVIL!r}, bold=True)
screen.tail("worker", [{EVIL!r}])
"""


@pytest.mark.parametrize("columns", [60, 40])
def test_on_a_narrow_terminal_a_line_of_a_log_goes_on_below_and_keeps_its_verb(cli: Cli, columns: int) -> None:
    shown = screen_of([sys.executable, "-c", LINES_OF_A_WORKER], cli, columns)
    assert steering(shown) == []
    told = "".join(line.removeprefix("worker  │ ") for line in shown.splitlines())
    assert "succeeded in 0.01s" in " ".join(shown.replace("worker  │", "").split())
    assert "15:00:00 Task kato_tasks.process_observation_async[" in " ".join(told.split()).replace(
        "Taskkato", "Task kato"
    )
    assert widest(shown.split("data")[0]) <= columns
    assert shown.count("word word") <= columns, "a very long line takes a few rows; its file has the whole"
    assert "…" in shown


TABLES_OF_THE_DEMOS = """
from kato_tasks.cli.demo.webshop import TODAY, _shown
from kato_tasks.cli.demo.helpdesk import Score, _table
from kato_tasks.cli.screen import Screen
pages = [["product", "checkout"], ["payment"]]
answer = {"predictions": [{"future": pages, "similarity": 0.5, "frequency": 12}]}
table, _ = _shown([(visit, answer) for visit in TODAY])
screen = Screen(quiet=True)
screen.show(table)
screen.show(_table(Score(684, 940, 1000), Score(552, 950, 1000)))
with screen.progress("applying", 100) as done:
    done(50)
"""


@pytest.mark.parametrize("columns", [60, 40])
def test_on_a_narrow_terminal_the_demos_tables_keep_their_words(cli: Cli, columns: int) -> None:
    shown = screen_of([sys.executable, "-c", TABLES_OF_THE_DEMOS], cli, columns)
    for word in (
        "similar",
        "learned",
        "0.50",
        "12",
        "product",
        "checkout",
        "payment",
        "top",
        "68.4%",
        "95.0%",
        "follower",
    ):
        assert word in shown.split(), shown
    assert "What comes next?" in shown or columns == 40
    assert widest(shown.split("applying")[0]) <= columns


def test_in_a_pipe_a_row_is_a_line_and_long_ids_are_shortened(cli: Cli, live: Runtime) -> None:
    append(live, LONG, "a")
    append(live, "ann 1", "a")
    out = cli("sessions", "list").out.splitlines()
    assert len(out) == 3
    assert max(map(len, out)) < 120
    assert out[2].startswith("visit-of-the-web-sho")
    assert [row["session_id"] for row in cli("sessions", "list", "--json").json] == ["ann 1", LONG]


def test_colour_is_the_terminals_alone_and_no_color_forbids_it(cli: Cli, live: Runtime) -> None:
    append(live, "ann 1", "a")
    (coloured,) = on_terminal(cli, ["sessions", "show", "ann 1"], plain=False)
    assert "\x1b[1m" in coloured
    assert "\x1b" not in cli("sessions", "show", "ann 1").out


def formatted(formatter: logging.Formatter, caplog: pytest.LogCaptureFixture) -> list[str]:
    log = logging.getLogger("kato_tasks.test")
    with caplog.at_level(logging.INFO, log.name):
        log_event(log, logging.WARNING, "lane.failed", lane=EVIL, error=ValueError(EVIL))
        log.info("Task %s[%s] received", "observe", EVIL)
        log.info("several\nlines of %(name)s", {"name": ValueError(f"\n{EVIL}")})
        try:
            int(EVIL)
        except ValueError:
            log.exception("Task %s raised", EVIL)
    return [formatter.format(record) for record in caplog.records]


def test_no_line_of_a_log_is_broken_or_steered_by_an_id(caplog: pytest.LogCaptureFixture) -> None:
    inner = logging.Formatter("[%(levelname)s] %(message)s")
    event, celerys, several, failed = formatted(VisibleFormatter(inner), caplog)
    assert event == f"[WARNING] lane.failed lane={visible(EVIL)} error={visible(EVIL)}"
    for text in (event, celerys, several, failed):
        assert steering(text) == []
    assert celerys == f"[INFO] Task observe[{visible(EVIL)}] received"
    assert [line for line in several.splitlines() if not line.startswith((" ", "[INFO]"))] == []
    assert failed.startswith("[ERROR] Task ")
    assert "ValueError" in failed


def test_a_worker_logs_visibly_whatever_celery_logs_of_an_id() -> None:
    """Falls without `log_as_set`; a coloured terminal has its colours and nothing else."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(TaskFormatter("[%(levelname)s] %(task_id)s %(message)s", use_color=True))
    log = logging.getLogger("celery.test_of_its_form")
    log.propagate = False
    log.addHandler(handler)
    log_as_set(log)
    log_as_set(log)  # Celery sets up two loggers, which may have one handler
    log.error("Task %(name)s raised", {"name": EVIL}, extra={"task_id": EVIL_ID})
    text = written.getvalue()
    assert text.startswith("\x1b[1;31m[ERROR] ")
    assert text.endswith("\x1b[0m\n")
    assert steering(text.removeprefix("\x1b[1;31m").removesuffix("\x1b[0m\n").replace("\n", "")) == []


def test_a_log_as_json_has_one_visible_line_for_each_record(caplog: pytest.LogCaptureFixture) -> None:
    for line in formatted(JsonFormatter(), caplog):
        assert steering(line) == []
        assert "\n" not in line
        assert json.loads(line)
