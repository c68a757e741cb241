"""Asks the KATO at KATO_URL and an embedded one the same; without KATO_URL the comparison proves itself."""

import os
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest

from kato_tasks.embedded.kato.server import serve_in_thread
from tests.differential.calls import Call, asks
from tests.differential.histories import history
from tests.differential.running import Pair, Summary, pair

SECONDS = 60
HISTORIES = int(os.environ.get("DIFFERENTIAL_HISTORIES", "0"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "0")) or secrets.randbelow(10**6)
KATO_URL = os.environ.get("KATO_URL", "")


@pytest.mark.skipif(not KATO_URL, reason="KATO_URL names no real KATO to compare with")
@pytest.mark.timeout(0 if HISTORIES else 240)
def test_a_real_kato_and_the_embedded_one_answer_random_histories_alike(capsys: pytest.CaptureFixture[str]) -> None:
    summary, started = Summary(), time.monotonic()
    with pair(KATO_URL) as both:
        while summary.histories < HISTORIES or (not HISTORIES and time.monotonic() < started + SECONDS):
            found = both.run(history(SEED, summary.histories), summary)
            if found is not None:
                pytest.fail(f"history {summary.histories} of seed {SEED} differs\n{both.shrink(found).shown()}")
            summary.histories += 1
    with capsys.disabled():
        print("\n" + summary.shown(SEED, time.monotonic() - started))


@pytest.fixture
def twins() -> Iterator[tuple[Pair, str, str]]:
    """Two embedded KATOs as if one were real, and their addresses."""
    with serve_in_thread(visible_after=0.0) as one, serve_in_thread(visible_after=0.0) as other:
        yield Pair(one, other), one, other


def test_two_embedded_katos_answer_random_histories_alike(twins: tuple[Pair, str, str]) -> None:
    both, summary = twins[0], Summary()
    for index in range(12):
        found = both.run(history(7, index), summary)
        assert found is None, found.shown()
    assert sum(summary.calls.values()) > 150
    assert len(summary.calls) > 15


def test_a_history_whose_call_took_too_long_over_an_expiry_is_given_up_and_counted(
    twins: tuple[Pair, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.differential.running.IN_TIME_SECONDS", 0.0)
    calls = [
        asks("create", "POST", "/sessions", {"node_id": "~n0"})._replace(makes="~s0"),
        asks("observe", "POST", "/sessions/~s0/observe", {"strings": ["a"]}),
        Call("wait", "WAIT", "0.01"),
        asks("exists", "GET", "/sessions/~s0/exists"),
    ]
    summary = Summary()
    assert twins[0].run(calls, summary) is None
    assert summary.slow == 1
    monkeypatch.undo()
    assert twins[0].run(calls, summary) is None
    assert summary.slow == 1


def test_a_difference_is_found_and_shortened_to_the_calls_that_it_needs(twins: tuple[Pair, str, str]) -> None:
    both, _, other = twins
    # The other one answers a learn and keeps its STM.
    rules = {"rules": [{"kind": "not_saved", "route": "learn"}]}
    httpx.post(f"{other}/_embedded/faults", json=rules, trust_env=False).raise_for_status()
    needed = [
        asks("create", "POST", "/sessions", {"node_id": "~n0"})._replace(makes="~s0"),
        asks("observe", "POST", "/sessions/~s0/observe", {"strings": ["a", "b"]}),
        asks("learn", "POST", "/sessions/~s0/learn"),
        asks("stm", "GET", "/sessions/~s0/stm"),
    ]
    between = [asks("percept", "GET", "/sessions/~s0/percept-data"), asks("get", "GET", "/sessions/~s0")]
    found = both.run([needed[0], *between, needed[1], *between, needed[2], *between, needed[3], *between])
    assert found is not None
    assert both.shrink(found).calls == needed
