"""What the embedded KATO says of itself."""

import json

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, body_of, fresh_node
from tests.integration.embedded.conftest import Start
from tests.integration.embedded.control import history, journal, stats


def test_stats_count_what_was_done(kato: Kato) -> None:
    session = kato.session()
    session.sequence(["a"], ["b"])
    session.learn()
    session.observe("a")
    session.predictions()
    answered = stats(kato)
    assert {key: answered[key] for key in ("observes", "learns", "predictions", "sessions_created")} == {
        "observes": 3,
        "learns": 1,
        "predictions": 1,
        "sessions_created": 1,
    }
    assert answered["sessions_live"] == 1
    assert answered["requests"] == {
        "create": 1,
        "observe-sequence": 1,
        "learn": 1,
        "observe": 1,
        "predictions": 1,
    }


def test_reset_forgets_everything(kato: Kato) -> None:
    session = kato.session()
    name = session.learned(["a"], ["b"])
    body_of(kato.http.post("/_embedded/reset"))
    answered = stats(kato)
    assert (answered["observes"], answered["sessions_created"], answered["sessions_live"]) == (0, 0, 0)
    assert answered["requests"] == {}
    assert session.ask("GET", "stm").status_code == 404
    assert session.pattern(name) is None


def test_a_sessions_history_is_what_was_applied_in_order(kato: Kato) -> None:
    session = kato.session("a-b")
    ids = ["one", "two", "three"]
    observations = [{"strings": [unique_id], "unique_id": unique_id} for unique_id in ids]
    body_of(session.ask("POST", "observe-sequence", json={"observations": observations}))
    shown = history(session)
    assert {key: shown[key] for key in ("node", "time", "stm", "applied", "alive")} == {
        "node": "a_b",
        "time": 3,
        "stm": [["one"], ["two"], ["three"]],
        "applied": ids,
        "alive": True,
    }
    session.ask("DELETE")
    assert history(session) == {**shown, "alive": False, "expires": history(session)["expires"]}


def test_a_journal_is_what_was_applied_on_a_node_over_all_sessions(kato: Kato) -> None:
    one = kato.session("a-b")
    two = kato.session("a_b")
    expected = []
    for number in range(6):
        session = one if number % 2 else two
        observations = [{"strings": ["x"], "unique_id": f"event-{number}"}]
        body_of(session.ask("POST", "observe-sequence", json={"observations": observations}))
        expected.append((session.id, f"event-{number}"))
    kept = journal(kato, "a b")
    assert list(zip(kept["sessions"], kept["applied"], strict=True)) == expected
    assert kept["dropped"] == 0


def test_a_journal_outlives_its_sessions(kato: Kato) -> None:
    session = kato.session()
    session.observe("x")
    session.ask("DELETE")
    kato.session(session.node).observe("y")
    assert len(journal(kato, session.node)["applied"]) == 2


def test_a_journal_is_bounded_and_says_what_it_dropped(start: Start) -> None:
    kato = start(journal=5)
    session = kato.session()
    session.sequence(*[["x"]] * 8)
    kept = journal(kato, session.node)
    assert (len(kept["applied"]), kept["dropped"]) == (5, 3)


def test_without_a_journal_it_says_so(start: Start) -> None:
    assert start().http.get("/_embedded/journal", params={"node": "n"}).status_code == 400


def test_patterns_of_a_node_are_listed_with_what_they_hold(kato: Kato) -> None:
    session = kato.session()
    name = session.learned(["a"], ["b"])
    listed = body_of(kato.http.get("/_embedded/patterns", params={"node": session.node}))
    assert listed == {name: {"frequency": 1, "data": [["a"], ["b"]]}}


def test_a_new_pattern_is_seen_late(start: Start) -> None:
    kato = start(visible_after=0.3)
    session = kato.session()
    session.sequence(["a"], ["b"], ["c"])
    name = session.learn()["pattern_name"]
    session.sequence(["a"], ["b"])
    assert (session.predictions(), session.pattern(name)) == ([], None)
    wait_until(session.predictions, 5, "the pattern is seen")


def test_a_learn_just_before_clear_all_comes_back(start: Start) -> None:
    kato = start(visible_after=0.2)
    session = kato.session()
    session.sequence(["a"], ["b"])
    name = session.learn()["pattern_name"]
    body_of(session.ask("POST", "clear-all"))
    wait_until(lambda: session.pattern(name), 5, "the late row comes back")


def test_expired_sessions_are_forgotten_while_others_are_created(start: Start) -> None:
    kato = start()
    for _ in range(20):
        kato.session(ttl_seconds=1).observe("x")
    wait_until(lambda: stats(kato)["sessions_live"] == 0, 5, "they expire")
    kato.session()
    # A sweep looks at four per creation; the twenty are gone after a few.
    for _ in range(10):
        kato.session()
    assert stats(kato)["sessions_live"] == 11


def test_a_string_of_a_megabyte_fails_and_changes_nothing(kato: Kato) -> None:
    session = kato.session()
    body = json.dumps({"strings": ["x" * 1_000_000]})
    answer = session.ask("POST", "observe", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 500
    assert session.time() == 0


def test_an_unknown_path_answers_404_and_another_method_405(kato: Kato) -> None:
    node = fresh_node()
    session = kato.session(node)
    assert kato.http.get("/nowhere").status_code == 404
    assert kato.http.get("/_embedded/nowhere").status_code == 404
    assert kato.http.get("/sessions").status_code == 405
    assert session.ask("GET", "observe").status_code == 405
    assert session.ask("GET", "nowhere").status_code == 404
    assert kato.http.get("/_embedded/reset").status_code == 405
