"""Dead letters and parked sessions: looked at, redriven in order, discarded."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api import dead_letters, parking
from kato_tasks.api.status import read_counts
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.engine.drain.context import Policy
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.errors import StoreUnavailable
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, append, drain, post, stm

FAILING: dict[str, Any] = {"rules": [{"kind": "error_before", "route": "observe-sequence", "rate": 1.0}], "seed": 1}
WELL: dict[str, Any] = {"rules": [], "seed": 1}


def impatient(rt: Runtime, on_exhausted: Policy) -> Runtime:
    """Drains that give an event up after its first failure."""
    rt.drainer.options = dataclasses.replace(
        rt.drainer.options,
        on_exhausted=on_exhausted,
        retry=RetryPolicy(base_seconds=0.01, cap_seconds=0.01, max_retries=0),
    )
    return rt


def learn(rt: Runtime, session: str, event_id: str) -> None:
    event = parse_event({"event_type": "learn", "session_id": session})
    rt.mailbox.append([entry_of(event, event_id=event_id)])


@pytest.fixture
def buried(live: Runtime, kato_url: str) -> Runtime:
    """Session x: ``e1`` could not be applied and is a dead letter, ``e2`` was applied."""
    impatient(live, "dead_letter")
    append(live, "x", "a", timestamp="2025-11-13T10:30:00Z")
    post(f"{kato_url}/_embedded/faults", FAILING)
    drained_until(live, dead=1)
    post(f"{kato_url}/_embedded/faults", WELL)
    append(live, "x", "b", first=2)
    drain(live)
    return live


def drained_until(rt: Runtime, *, dead: int = 0, parked: int = 0) -> None:
    """Drain until so many letters are kept and sessions parked; a failing event waits a little between attempts."""

    def there() -> bool:
        drain(rt)
        counts = read_counts(rt)
        return (counts.dead_letters, counts.parked) == (dead, parked)

    wait_until(there, 20, f"{dead} dead letters, {parked} parked sessions")


def letters(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("dead-letters", "list", "--json").json
    return found


def test_a_dead_letter_is_kept_with_all_that_a_person_needs(cli: Cli, buried: Runtime) -> None:
    (letter,) = letters(cli)
    assert (letter["session_id"], letter["position"], letter["event_id"], letter["attempts"]) == ("x", 1, "e1", 1)
    assert letter["reason"] == "failed 1 times"
    assert letter["last_answer"]
    assert letter["first_at"] <= letter["last_at"]
    assert letter["event"]["observation"]["strings"] == ["a"]
    assert letter["event"]["timestamp"] == "2025-11-13T10:30:00Z"
    assert cli("dead-letters", "show", "e1").json == letter
    assert cli("dead-letters", "show", letter["id"]).json == letter
    listed = cli("dead-letters", "list")
    assert listed.out.splitlines()[1].split()[:4] == [letter["id"], "x", "1", "e1"]
    assert cli("status", "--json").json["dead_letters"] == 1


def test_a_letter_whose_session_has_gone_on_is_appended_at_the_end(cli: Cli, buried: Runtime, kato_url: str) -> None:
    ran = cli("dead-letters", "redrive", "e1")
    assert ran.code == 0, ran.err
    assert ran.out == ("session 'x' has gone on, so the event was appended at the end: 'e1~redriven-1', position 3\n")
    drain(buried)
    assert stm(kato_url, cli("sessions", "show", "x", "--json").json) == [["b"], ["a"]]
    assert letters(cli) == []
    assert cli("status").code == 0


def test_a_letter_stays_when_its_append_fails(buried: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    (letter,) = dead_letters.dead_letters(buried)

    def away(*_: object) -> None:
        raise StoreUnavailable("Redis does not answer")

    monkeypatch.setattr(dead_letters, "append_entries", away)
    with pytest.raises(StoreUnavailable):
        dead_letters.redrive(buried, letter)
    assert list(dead_letters.dead_letters(buried)) == [letter]


def test_a_redrive_that_died_after_its_append_appends_nothing_twice(
    cli: Cli, buried: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    (letter,) = dead_letters.dead_letters(buried)
    with monkeypatch.context() as patched:
        patched.setattr(dead_letters, "discard", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            dead_letters.redrive(buried, letter)
    assert len(letters(cli)) == 1, "removed only after the append"
    assert cli("dead-letters", "redrive", "e1", "--json").json[0]["position"] == 3
    assert cli("sessions", "show", "x", "--json").json["head"] == 3
    assert letters(cli) == []


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_letter_that_was_redriven_and_failed_again_gets_the_next_number(
    cli: Cli, buried: Runtime, kato_url: str
) -> None:
    cli("dead-letters", "redrive", "e1")
    # Once: the rebuild after it must go through.
    post(f"{kato_url}/_embedded/faults", {"rules": [{**FAILING["rules"][0], "count": 1}], "seed": 1})
    drained_until(buried, dead=1)
    post(f"{kato_url}/_embedded/faults", WELL)
    assert letters(cli)[0]["event_id"] == "e1~redriven-1"
    assert cli("dead-letters", "redrive", "--all", "--json").json[0]["event_id"] == "e1~redriven-2"


def test_redrive_all_keeps_the_order_of_a_session(cli: Cli, live: Runtime, kato_url: str) -> None:
    impatient(live, "dead_letter")
    live.drainer.options = dataclasses.replace(
        live.drainer.options, batch=dataclasses.replace(live.drainer.options.batch, events=1)
    )
    append(live, "x", *[f"v{i}" for i in range(12)])
    append(live, "y", "w", first=100)
    post(f"{kato_url}/_embedded/faults", FAILING)
    drained_until(live, dead=13)
    post(f"{kato_url}/_embedded/faults", WELL)
    assert len(letters(cli)) == 13
    ran = cli("dead-letters", "redrive", "--all")
    assert ran.code == 0
    assert "13 dead letters redriven" in ran.err
    drain(live)
    assert stm(kato_url, cli("sessions", "show", "x", "--json").json) == [[f"v{i}"] for i in range(12)]
    assert letters(cli) == []


def test_an_event_redriven_goes_to_its_own_place_when_its_session_is_parked_at_it(
    cli: Cli, live: Runtime, kato_url: str
) -> None:
    impatient(live, "park")
    append(live, "x", "a", "b", "c")
    post(f"{kato_url}/_embedded/faults", FAILING)
    live.drainer.options = dataclasses.replace(
        live.drainer.options, batch=dataclasses.replace(live.drainer.options.batch, events=1)
    )
    drained_until(live, parked=1)
    post(f"{kato_url}/_embedded/faults", WELL)
    shown = cli("sessions", "show", "x", "--json").json
    assert (shown["state"], shown["parked"]["event_id"], shown["cursor"]) == ("parked", "e1", 0)
    append(live, "x", "d", first=4)
    ran = cli("dead-letters", "redrive", "e1")
    assert ran.out == "session 'x' goes on at 'e1', position 1\n"
    drain(live)
    after = cli("sessions", "show", "x", "--json").json
    assert (after["state"], after["cursor"], after["attempts"]) == ("idle", 4, 0)
    assert stm(kato_url, after) == [["a"], ["b"], ["c"], ["d"]]


def test_a_letter_at_whose_event_its_session_is_parked_is_a_resume(cli: Cli, buried: Runtime) -> None:
    (letter,) = dead_letters.dead_letters(buried)
    parking.park(buried, "x", "for a test")
    key = f"{prefix(partition_of('x'))}s:x"
    buried.redis.hset(key, "pk", json.dumps({"position": 1, "event_id": "other"}))
    assert dead_letters.redrive(buried, letter).resumed
    assert letters(cli) == []
    assert cli("sessions", "show", "x", "--json").json["head"] == 2


def test_a_learn_without_anything_to_learn_can_be_redriven_too(cli: Cli, live: Runtime) -> None:
    learn(live, "x", "too early")
    drain(live)
    append(live, "x", "a", "b")
    drain(live)
    assert cli("dead-letters", "redrive", "too early", "--json").json[0]["event_id"] == "too early~redriven-1"
    drain(live)
    assert letters(cli) == []
    assert cli("sessions", "show", "x", "--json").json["binding"]["stm_length"] == 0


def test_an_event_whose_id_was_taken_can_be_redriven_under_its_own(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    append(live, "x", "b")
    append(live, "x", "c")
    found = letters(cli)
    assert {letter["event"]["observation"]["strings"][0] for letter in found} == {"b", "c"}
    assert cli("dead-letters", "redrive", "e1").err.startswith(
        "Error: 2 dead letters have the event_id 'e1'; say which by id: "
    )
    ids = {one["event_id"] for one in cli("dead-letters", "redrive", "--all", "--json").json}
    assert ids == {"e1~redriven-1", "e1~redriven-2"}
    assert letters(cli) == []
    assert cli("sessions", "show", "x", "--json").json["head"] == 3


def test_a_discarded_letter_is_printed_and_gone(cli: Cli, buried: Runtime) -> None:
    ran = cli("dead-letters", "discard", "e1")
    assert ran.json["event"]["observation"]["strings"] == ["a"]
    assert letters(cli) == []
    assert cli("dead-letters", "list").err == "there are no dead letters\n"


def test_redrive_needs_one_id_or_all(cli: Cli, live: Runtime) -> None:
    for words in ((), ("e1", "--all")):
        ran = cli("dead-letters", "redrive", *words)
        assert ran.code == 2
        assert "give one ID, or --all" in ran.err
