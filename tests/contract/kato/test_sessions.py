"""KATO's sessions: create, read, expire, delete."""

import os
import re
import time
from datetime import datetime
from typing import Any

import pytest

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import QUIET, Kato, KatoSession, body_of, fresh_node

SHORT = 10 if os.environ.get("KATO_URL") else 2
"""Seconds that a session lives which must not die between two calls; a real KATO may share its machine."""


def known_node(kato: Kato) -> str:
    """A node that KATO's process has met: the first call on one may take as long as a short session lives."""
    session = kato.session()
    session.observe("met")
    return session.node


def expiry(shown: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(shown["expires_at"])


def test_a_creation_answers_200_with_an_id_of_the_servers_own(kato: Kato) -> None:
    node = fresh_node()
    answer = kato.http.post("/sessions", json={"node_id": node, "metadata": {"who": "me"}, "unknown": 1})
    assert answer.status_code == 200
    body = answer.json()
    assert re.fullmatch(r"session-[0-9a-f]{32}-\d+", body["session_id"])
    assert body["node_id"] == node
    assert body["ttl_seconds"] == 3600
    assert body["metadata"] == {"who": "me"}
    assert (expiry(body) - datetime.fromisoformat(body["created_at"])).total_seconds() == pytest.approx(3600, abs=2)


def test_a_ttl_of_0_means_3600(kato: Kato) -> None:
    assert kato.session(ttl_seconds=0).created["ttl_seconds"] == 3600


@pytest.mark.parametrize("ttl", [-1, 10**15])
def test_a_negative_or_huge_ttl_answers_500(kato: Kato, ttl: int) -> None:
    answer = kato.http.post("/sessions", json={"node_id": fresh_node(), "ttl_seconds": ttl})
    assert answer.status_code == 500


def test_a_creation_without_a_node_answers_422(kato: Kato) -> None:
    answer = kato.http.post("/sessions", json={})
    assert answer.status_code == 422
    detail = answer.json()["detail"][0]
    assert (detail["type"], detail["loc"]) == ("missing", ["body", "node_id"])


def test_a_session_can_be_read(session: KatoSession) -> None:
    shown = body_of(session.ask("GET"))
    assert (shown["session_id"], shown["node_id"]) == (session.id, session.node)
    assert shown["ttl_seconds"] == 3599  # whole seconds that are left


def test_a_session_exists_until_it_is_deleted(session: KatoSession) -> None:
    assert body_of(session.ask("GET", "exists")) == {
        "exists": True,
        "expired": False,
        "session_id": session.id,
    }
    assert body_of(session.ask("DELETE")) == {"status": "deleted", "session_id": session.id}
    assert session.ask("DELETE").status_code == 404
    assert body_of(session.ask("GET", "exists"))["exists"] is False
    assert session.ask("POST", "observe", json={"strings": ["a"]}).status_code == 404


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("POST", "observe"),
        ("POST", "observe-sequence"),
        ("POST", "learn"),
        ("POST", "clear-stm"),
        ("GET", "stm"),
        ("GET", "predictions"),
        ("GET", "cognition-data"),
        ("GET", "percept-data"),
    ],
)
def test_an_unknown_session_answers_404_in_katos_own_form(kato: Kato, method: str, action: str) -> None:
    nobody = fresh_node()
    body = b'{"observations":[]}' if method == "POST" else b""
    answer = kato.http.request(method, f"/sessions/{nobody}/{action}", content=body)
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "code": "SESSION_NOT_FOUND",
            "message": f"Session {nobody} not found or expired",
            "session_id": nobody,
        }
    }


def test_an_unknown_session_itself_answers_404_in_another_form(kato: Kato) -> None:
    for name, told in (("nobody", "nobody"), ("a%20b", "a b"), ("%C3%A9", "é"), ('a"b', 'a"b')):
        answer = kato.http.get(f"/sessions/{name}")
        assert (answer.status_code, answer.json()) == (404, {"detail": f"Session {told} not found or expired"})
    deleted = kato.session()
    deleted.ask("DELETE")
    assert deleted.ask("GET").json() == {"detail": f"Session {deleted.id} not found or expired"}


def test_an_unknown_session_is_named_before_the_body_is_looked_at(kato: Kato) -> None:
    assert kato.http.post("/sessions/nobody/observe", json={"strings": "no list"}).status_code == 404


def test_an_expired_session_that_nobody_looked_at_is_told_as_one_that_never_was(kato: Kato) -> None:
    short = kato.session(ttl_seconds=1)
    # A first look is what this is about: nothing may ask whether it expired.
    time.sleep(1.5)
    answer = body_of(short.ask("GET", "exists"))
    assert answer == {"exists": False, "expired": False, "session_id": short.id}


def test_an_expired_session_that_was_read_before_is_told_as_expired_once(kato: Kato) -> None:
    short = kato.session(ttl_seconds=3)
    time.sleep(2)
    short.stm()
    # Past its expiry, and within the time for which the read made KATO's store keep it.
    time.sleep(1.7)
    # Sessions that are made meanwhile have no say in that.
    for _ in range(20):
        kato.session(short.node)
    answers = [body_of(short.ask("GET", "exists")) for _ in range(2)]
    assert answers == [{"exists": False, "expired": told, "session_id": short.id} for told in (True, False)]


def test_a_session_expires_and_loses_its_stm_but_not_the_patterns(kato: Kato) -> None:
    lasting = kato.session()
    name = lasting.learned(["a"], ["b"])
    short = kato.session(lasting.node, ttl_seconds=1)
    short.ask("POST", "observe", json={"strings": ["a"]})  # on a busy machine it may come too late
    wait_until(lambda: not body_of(short.ask("GET", "exists"))["exists"], 30, "it expires", every=0.1)
    assert short.ask("GET", "stm").status_code == 404
    assert lasting.pattern(name) is not None


def test_a_write_slides_the_expiry_and_a_read_does_not(kato: Kato) -> None:
    node = known_node(kato)
    written, read = (kato.session(node, ttl_seconds=SHORT) for _ in range(2))

    def gone() -> bool:
        # `exists` moves nothing; `stm` is the read on trial.
        written.observe("a")
        read.ask("GET", "stm")
        return not body_of(read.ask("GET", "exists"))["exists"]

    wait_until(gone, 60, "the session that is only read expires", every=0.2)
    assert body_of(written.ask("GET", "exists"))["exists"] is True


def test_a_read_shows_a_later_expiry(kato: Kato) -> None:
    session = kato.session()
    assert expiry(body_of(session.ask("GET"))) > expiry(session.created)


def test_an_extension_is_undone_by_the_next_access(kato: Kato) -> None:
    session = kato.session(ttl_seconds=100)
    extended = session.ask("POST", "extend", params={"ttl_seconds": 5000})
    assert body_of(extended) == {"status": "extended", "session_id": session.id, "ttl_seconds": 5000}
    session.observe("a")
    shown = body_of(session.ask("GET"))
    assert (expiry(shown) - datetime.fromisoformat(session.created["created_at"])).total_seconds() < 200


def test_an_extension_by_its_own_time_to_live_slides_the_expiry_and_leaves_everything_else(kato: Kato) -> None:
    """The one write that changes nothing but the expiry, so the one that a keep-alive can be; twice is as good."""
    node = known_node(kato)
    extended = kato.session(node, ttl_seconds=SHORT, config={**QUIET, "recall_threshold": 0.3})
    left = kato.session(node, ttl_seconds=SHORT)
    for session in (extended, left):
        session.observe("b", "a")

    def outlived() -> bool:
        for _ in range(2):
            body_of(extended.ask("POST", "extend", params={"ttl_seconds": SHORT}))
        body_of(extended.ask("GET", "stm"))  # an access does not undo it
        return not body_of(left.ask("GET", "exists"))["exists"]

    wait_until(outlived, 60, "the session that is left alone expires", every=0.5)
    after = body_of(extended.ask("GET", "cognition-data"))["cognition_data"]
    assert (after["short_term_memory"], after["time"]) == ([["a", "b"]], 1)
    config = body_of(extended.ask("GET", "config"))["config"]
    assert (config["recall_threshold"], config["process_predictions"]) == (0.3, False)
    assert body_of(extended.ask("GET", "exists"))["exists"] is True
