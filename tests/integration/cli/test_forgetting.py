"""`kato-tasks sessions forget`: it asks first, says what it erased and what KATO holds, and refuses in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.testing.services import KatoServer
from tests.integration.cli.conftest import commands_inside
from tests.integration.cli.running import Cli, append, drain


@pytest.fixture
def slow_to_show(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The pieces of a process whose KATO shows a new pattern 400 ms after it was learned."""
    kato = KatoServer(tmp_path / "kato", "--visible-after-ms", "400")
    kato.start()
    cli.settings["KATO_URLS"] = kato.url
    yield from commands_inside(cli, monkeypatch)
    kato.stop()


@pytest.fixture
def taught(live: Runtime) -> Runtime:
    """A session with a learned pattern on its own node, and one that shares a node with another."""
    return teach(live)


def teach(live: Runtime) -> Runtime:
    for session, node in (("alone", "alone"), ("one", "shop"), ("other", "shop")):
        append(live, session, "a", "b", node_id=node)
        event = parse_event({"session_id": session, "event_type": "learn"})
        live.mailbox.append([entry_of(event, event_id="learn")])
    drain(live)
    return live


def test_it_asks_first_and_says_what_was_erased_and_what_kato_holds(cli: Cli, taught: Runtime) -> None:
    refused = cli("sessions", "forget", "one", stdin=b"n\n")
    assert refused.code != 0
    assert "Erase session 'one' for good?" in refused.err
    assert cli("sessions", "show", "one").code == 0
    ran = cli("sessions", "forget", "one", stdin=b"y\n")
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["events", "erased", "3"] in rows
    (pattern,) = [row for row in rows if row and row[0].startswith("PTRN|")]
    assert pattern[1:] == ["1", "2", "yes"]
    assert "kato-tasks replay start --mode rebuild --node shop builds the node without them" in ran.err
    assert cli("sessions", "show", "one").code == 1


def test_a_pattern_that_kato_does_not_show_yet_is_told_with_its_frequency(cli: Cli, slow_to_show: Runtime) -> None:
    teach(slow_to_show)
    told = cli("sessions", "forget", "one", "--yes", "--json").json
    assert [(one["learns"], one["frequency"]) for one in told["patterns"]] == [(1, 2)]


def test_json_says_everything(cli: Cli, taught: Runtime) -> None:
    told = cli("sessions", "forget", "alone", "--yes", "--json").json
    assert (told["known"], told["events"], told["node_is_shared"], told["history"]) == (True, 3, False, True)
    assert [(one["learns"], one["frequency"], one["only_here"]) for one in told["patterns"]] == [(1, 1, True)]
    assert "clear the node at KATO" in told["remedy"]


def test_patterns_empties_a_node_that_nobody_else_uses(cli: Cli, taught: Runtime) -> None:
    told = cli("sessions", "forget", "alone", "--yes", "--patterns", "--json").json
    assert (told["patterns"], told["remedy"]) == ([], "")
    shared = cli("sessions", "forget", "one", "--yes", "--patterns", "--json").json
    assert [one["frequency"] for one in shared["patterns"]] == [2]


def test_an_unknown_session_and_one_with_work_left_are_one_sentence(cli: Cli, taught: Runtime) -> None:
    ran = cli("sessions", "forget", "nobody", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert "session 'nobody' is not known" in ran.err
    append(taught, "one", "new", first=9)
    ran = cli("sessions", "forget", "one", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.strip().endswith("session 'one' is not applied to its end (1 to go); wait until it is")
