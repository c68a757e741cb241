"""sessions events: a history, a part at a time, as a table or as lines of JSON."""

from __future__ import annotations

import json
import re
import shlex

from kato_tasks import append_event, history
from kato_tasks.bootstrap import Runtime
from tests.integration.cli.running import Cli, append


def test_events_are_printed_with_what_they_hold(cli: Cli, inside: Runtime) -> None:
    append_event("order 7", "placed", {"total": 12.5}, event_id="one", timestamp="2026-01-02T03:04:05Z")
    append_event("order 7", "x" * 100, event_id="two")
    ran = cli("sessions", "events", "order 7")
    assert (ran.code, ran.err) == (0, "")
    head, first, second = ran.out.splitlines()
    assert head.split() == ["position", "time", "event", "event_id", "content"]
    assert first.split() == ["1", "2026-01-02T03:04:05Z", "observation", "one", "placed;", '{"total":', "12.5}"]
    assert second.endswith("x…")


def test_lines_of_json_are_the_history_and_import_reads_them_again(cli: Cli, inside: Runtime) -> None:
    append_event("a", "placed", {"total": 1})
    append(inside, "a", "b", first=2)
    ran = cli("sessions", "events", "a", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert lines == list(history("a"))
    moved = "".join(json.dumps({**line, "session_id": "b", "node_id": None}) + "\n" for line in lines)
    (cli.directory / "moved.jsonl").write_text(moved)
    assert cli("import", "moved.jsonl").code == 0
    assert [event.get("data") for event in history("b")] == [{"total": 1}, None]


def test_each_part_says_how_to_go_on_and_the_parts_are_the_whole(cli: Cli, inside: Runtime) -> None:
    append(inside, "it's", *"abcde")
    words, positions = ["sessions", "events", "it's", "--limit", "2"], []
    while words:
        ran = cli(*words, "--json")
        positions.append([json.loads(line)["position"] for line in ran.out.splitlines()])
        told = re.search(r"go on with: kato-tasks (.*)", ran.err)
        words = shlex.split(told[1]) if told else []
    assert positions == [[1, 2], [3, 4], [5]]


def test_a_session_without_events_says_so(cli: Cli, inside: Runtime) -> None:
    ran = cli("sessions", "events", "nobody")
    assert (ran.code, ran.out, ran.err) == (0, "", "session 'nobody' has no events\n")
    append(inside, "a", "b")
    assert cli("sessions", "events", "a", "--after", "1").err == "session 'a' has no events after position 1\n"
    assert cli("sessions", "events", "a", "--after", "-1").code == 2
