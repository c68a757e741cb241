"""``kato-tasks import`` as a process: what it says, how it ends, and what a death of it costs (nothing)."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess

import pytest

from kato_tasks.bootstrap import Runtime
from kato_tasks.testing.services import RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, Imports

MAPPED = ("--session", "s", "--strings", "a")


def rows(count: int) -> str:
    return "s,a\n" + "".join(f"Case {i % 500},value {i}\n" for i in range(count))


@pytest.fixture
def events(rt: Runtime, imports: Imports) -> Imports:
    """Reads what is in the store."""
    return imports


def test_an_import_says_what_became_of_the_rows_on_stdout(cli: Cli, events: Imports) -> None:
    cli.write("a.csv", "s,a\nx,1\nx,2,3\ny,1\n")
    ran = cli("import", "a.csv", *MAPPED)
    assert ran.code == 3
    assert re.match(r"3 rows: 2 appended, 1 rejected \(see a\.csv\.rejects\.jsonl; mend .*\); \d\.\d s, ", ran.out)
    assert ran.err == ""
    again = cli("import", "a.csv", *MAPPED, "--json")
    assert {k: again.json[k] for k in ("rows", "appended", "duplicates", "rejected", "learns")} == {
        "rows": 3,
        "appended": 0,
        "duplicates": 2,
        "rejected": 1,
        "learns": 0,
    }
    assert again.json["rejects"] == "a.csv.rejects.jsonl"
    reject = json.loads((cli.directory / "a.csv.rejects.jsonl").read_text())
    told = {name: reject[name] for name in ("line", "reason", "raw")}
    assert told == {"line": 3, "reason": "has 3 cells, and the header has 2", "raw": "x,2,3"}
    assert reject["of"]["source"] == again.json["source"] == str((cli.directory / "a.csv").resolve())


def test_strict_makes_a_reject_the_exit_code(cli: Cli) -> None:
    cli.write("a.csv", "s,a\nx,1\nx,2,3\n")
    assert cli("import", "a.csv", *MAPPED, "--strict").code == 1


def test_an_import_of_nothing_but_rejects_has_failed(cli: Cli) -> None:
    cli.write("a.csv", "s,a\nx\ny\n")
    assert cli("import", "a.csv", *MAPPED).code == 1


def test_json_lines_come_on_standard_input(cli: Cli, events: Imports) -> None:
    lines = b'{"session_id":"x","observation":{"strings":["a"]}}\n{"session_id":"x","event_type":"learn"}\nno\n'
    ran = cli("import", "-", "--source", "s", stdin=lines)
    assert ran.code == 3, ran.err
    assert events.strings("x") == ["a", "learn"]
    assert json.loads((cli.directory / "s.rejects.jsonl").read_text())["line"] == 3


def test_standard_input_is_imported_again_under_its_source_name(inside: Runtime, cli: Cli, events: Imports) -> None:
    data = rows(50).encode()
    words = ("import", "-", "--format", "csv", "--source", "log", *MAPPED, "--json")
    assert cli(*words, stdin=data).json["appended"] == 50
    assert cli(*words, stdin=data + b"new,1\n").json["appended"] == 1
    ran = cli(*words, stdin=data.replace(b"value 7\n", b"value x\n"))
    assert ran.code == 2
    assert events.total() == 51
    cli.write("a.csv.gz", gzip.compress(data + b"new,1\n"))
    assert cli("import", "a.csv.gz", "--source", "log", *MAPPED, "--json").json["appended"] == 0


def test_standard_input_without_a_name_takes_rows_with_ids_alone(inside: Runtime, cli: Cli, events: Imports) -> None:
    ran = cli("import", "-", "--format", "csv", *MAPPED, stdin=b"s,a\nx,1\n")
    assert ran.code == 2
    assert "standard input has no name by which its rows can be recognized; add --source NAME" in ran.err
    lines = b'{"event_id":"1","session_id":"x","observation":{"strings":["a"]}}\n'
    assert cli("import", "-", "--json", stdin=lines).json["appended"] == 1
    assert cli("import", "-", "--json", stdin=lines).json["appended"] == 0
    ran = cli("import", "-", stdin=lines.replace(b'"event_id":"1",', b""))
    assert ran.code == 2
    assert "(line 1 has no event_id, and is the first that was not imported); add --source NAME" in ran.err
    ids = ("import", "-", "--format", "csv", *MAPPED, "--event-id", "n", "--json")
    assert cli(*ids, stdin=b"n,s,a\n2,x,b\n").json["appended"] == 1
    assert cli(*ids, stdin=b"n,s,a\n2,x,b\n3,x,b\n").json["appended"] == 1


def test_a_csv_on_standard_input_is_told_to_say_its_format(inside: Runtime, cli: Cli, events: Imports) -> None:
    ran = cli("import", "-", "--source", "log", *MAPPED, stdin=b"s,a\nx,1\n")
    assert ran.code == 1
    assert "standard input is read as JSON lines, and its first line is no JSON object" in ran.err
    assert "add --format csv" in ran.err
    assert events.total() == 0


def test_exit_codes_tell_some_rejected_from_all_and_none_and_undecided(inside: Runtime, cli: Cli) -> None:
    for text, code in (("x,1\n", 0), ("x,1\nx\n", 3), ("x,2\n", 2)):
        cli.write("a.csv", f"s,a\n{text}")
        assert cli("import", "a.csv", *MAPPED).code == code
    cli.write("b.csv", "s,a\nx\n")
    assert cli("import", "b.csv", *MAPPED).code == 1


def test_rows_whose_times_run_backwards_are_told(inside: Runtime, cli: Cli, events: Imports) -> None:
    cli.write(
        "a.csv",
        "s,a,t\nx,2,2025-01-02\ny,1,2025-01-01\nx,1,2025-01-01\nx,0,2024-01-01T01:00:00+02:00\nx,3,2025-01-03\n",
    )
    ran = cli("import", "a.csv", *MAPPED, "--timestamp", "t")
    assert "2 rows are older than ones before in the session (first: line 4), and the file's order was kept" in ran.out
    assert events.strings("x") == ["2", "1", "0", "3"]
    cli.write("a.csv", (cli.directory / "a.csv").read_text() + "y,0,2020-01-01\n")
    told = cli("import", "a.csv", *MAPPED, "--timestamp", "t", "--json").json
    assert (told["backwards"], told["backwards_line"]) == (1, 7), "those known from before are not told again"


def test_a_second_import_with_learn_says_what_new_rows_become(inside: Runtime, cli: Cli, events: Imports) -> None:
    cli.write("a.csv", "s,a\nx,1\ny,1\n")
    ran = cli("import", "a.csv", *MAPPED, "--learn")
    assert ", 2 learns at sessions' ends; " in ran.out
    cli.write("a.csv", "s,a\nx,0\nx,1\ny,1\n")
    ran = cli("import", "a.csv", *MAPPED, "--learn")
    assert ", 1 learn at sessions' ends, whose new rows are patterns of their own; " in ran.out
    assert (events.strings("x"), events.strings("y")) == (["1", "learn", "0", "learn"], ["1", "learn"])


def test_the_help_shows_options_in_groups_and_examples_as_they_are_typed(inside: Runtime, cli: Cli) -> None:
    shown = cli("import", "--help").out
    assert "\\b" not in shown
    assert "\n  kato-tasks import log.csv --session case --strings activity --learn\n" in shown
    places = [shown.index(f"\n{title}:\n") for title in ("What the rows hold", "How rows are recognized", "Help")]
    assert places == sorted(places)
    assert places[1] < shown.index("--event-id COLUMN  ") < places[2]


def test_every_mapping_option_reaches_the_event(cli: Cli, events: Imports) -> None:
    cli.write("a.tsv", "s\ta\tb\tw\tm\td\nx\t1\t\t2025-11-13T10:30:00Z\t0.5\tit\n")
    words = ["--session", "s", "--node-column", "d", "--strings", "a,b", "--prefix", "--emotive", "mood=m"]
    ran = cli("import", "a.tsv", *words, "--timestamp", "w", "--metadata", "d", "--learn")
    assert ran.code == 0, ran.err
    (observed, learned) = events.log("x")
    assert observed["observation"] == {
        "strings": ["a:1"],
        "vectors": [],
        "emotives": {"mood": 0.5},
        "metadata": {"d": "it"},
    }
    assert observed["timestamp"] == "2025-11-13T10:30:00Z"
    assert learned["event_type"] == "learn"
    assert events.rt.sessions.node_of("x") == "it"


def test_a_killed_import_of_50000_rows_is_completed_by_the_same_command(cli: Cli, events: Imports, rt: Runtime) -> None:
    cli.write("a.csv", rows(50_000))
    running = cli.start("import", "a.csv", *MAPPED)
    try:
        wait_until(lambda: events.total() > 12_000, 60, "the import is under way", every=0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    before = events.total()
    assert 12_000 < before < 50_000, "it was killed in the middle"
    ran = cli("import", "a.csv", *MAPPED, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["rows"] == 50_000
    assert ran.json["appended"] == 50_000 - before
    assert events.total() == 50_000
    for case in (0, 7, 499):
        assert events.strings(f"Case {case}") == [f"value {i}" for i in range(case, 50_000, 500)]


def test_ctrl_c_says_where_it_is_and_that_the_same_command_goes_on(cli: Cli, events: Imports) -> None:
    cli.write("a.csv", rows(50_000))
    running = cli.start("import", "a.csv", *MAPPED)
    wait_until(lambda: events.total() > 12_000, 60, "the import is under way", every=0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    said = re.search(
        r"stopped at about line [\d,]+ of a\.csv, with ([\d,]+) events appended; the same command goes on from there",
        err.decode(),
    )
    assert said is not None
    assert int(said[1].replace(",", "")) == events.total(), "it counts what is in the log"
    assert b"Traceback" not in err
    assert cli("import", "a.csv", *MAPPED).code == 0
    assert events.total() == 50_000


def test_redis_lost_midway_is_one_sentence_and_the_same_command_goes_on(
    cli: Cli, events: Imports, redis_server: RedisServer
) -> None:
    cli.write("a.csv", rows(50_000))
    running = cli.start("import", "a.csv", *MAPPED)
    try:
        wait_until(lambda: events.total() > 12_000, 60, "the import is under way", every=0.01)
        redis_server.stop()
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        redis_server.start()
    assert running.returncode == 2
    assert out == b""
    assert b"Traceback" not in err
    sentence = err.decode().strip().splitlines()[-1]
    assert sentence.startswith("Error: Redis does not answer: ")
    assert "the import stopped at about line" in sentence
    assert sentence.endswith("run the same command again to go on")
    assert cli("import", "a.csv", *MAPPED).code == 0
    assert events.total() == 50_000


def test_a_broker_that_is_away_does_not_stop_an_import(cli: Cli, events: Imports) -> None:
    cli.write("a.csv", rows(100))
    ran = cli("import", "a.csv", *MAPPED, BROKER_URL="redis://127.0.0.1:9/0")
    assert ran.code == 0
    assert events.total() == 100
    assert "Traceback" not in ran.err


def test_the_progress_bar_is_for_terminals_and_on_stderr(cli: Cli) -> None:
    pytest.importorskip("pty")
    import os
    import pty

    cli.write("a.csv", rows(30_000))
    terminal, side = pty.openpty()
    running = subprocess.Popen(
        cli.command("import", "a.csv", *MAPPED),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=side,
        cwd=cli.directory,
        env=cli.environment() | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(side)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the terminal's other side was closed
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    out, _ = running.communicate(timeout=30)
    assert out.startswith(b"30,000 rows: 30,000 appended")
    assert b"rows/s" in shown
    assert b"a.csv" in shown
