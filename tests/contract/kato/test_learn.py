"""KATO's learn, and the patterns it leaves."""

import hashlib

import pytest

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import QUIET, Kato, KatoSession, body_of


def test_learn_names_the_pattern_by_the_text_of_the_stm_and_empties_it(session: KatoSession) -> None:
    session.sequence(["b", "a"], ["c's"])
    stm = session.stm()
    answer = session.learn()
    assert answer["status"] == "learned"
    assert answer["pattern_name"] == "PTRN|" + hashlib.sha1(str(stm).encode()).hexdigest()  # noqa: S324  KATO's own choice
    assert answer["session_id"] == session.id
    assert answer["processor_id"] is None
    # The events are counted when they are gone.
    assert answer["message"] == f"Learned pattern {answer['pattern_name']} from 0 events"
    assert session.stm() == []


def test_learn_does_not_reset_time(session: KatoSession) -> None:
    session.sequence(["a"], ["b"])
    session.learn()
    assert session.time() == 2
    assert session.observe("c")["time"] == 3


def test_an_empty_stm_answers_400(session: KatoSession) -> None:
    answer = session.ask("POST", "learn")
    assert (answer.status_code, answer.json()) == (400, {"detail": "Cannot learn from empty STM"})


def test_a_single_string_is_learned_as_nothing_and_the_stm_is_cleared(session: KatoSession) -> None:
    session.observe("alone")
    assert session.learn()["pattern_name"] == ""
    assert session.stm() == []


def test_two_strings_of_one_event_are_a_pattern(session: KatoSession) -> None:
    session.observe("a", "b")
    assert session.learn()["pattern_name"].startswith("PTRN|")


def test_a_pattern_can_be_read_by_its_name_and_node(session: KatoSession) -> None:
    name = session.learned(["a"], ["b", "c"])
    answer = body_of(session.http.get(f"/pattern/{name}", params={"node_id": session.node}))
    assert answer["node_id"] == f"{session.node}_kato"
    assert answer["pattern"]["status"] == "okay"
    pattern = answer["pattern"]["pattern"]
    assert pattern["pattern_data"] == [["a"], ["b", "c"]]
    assert pattern["frequency"] == 1
    assert {"name", "length", "emotives", "metadata"} <= set(pattern)


def test_an_unknown_pattern_answers_200_with_status_error(session: KatoSession) -> None:
    session.observe("a")
    answer = session.http.get(f"/pattern/PTRN|{'0' * 40}", params={"node_id": session.node})
    assert answer.status_code == 200
    assert answer.json()["pattern"]["status"] == "error"


def test_the_same_content_again_is_the_same_pattern_once_more(session: KatoSession) -> None:
    name = session.learned(["a"], ["b"])
    assert session.learned(["a"], ["b"]) == name

    def counted() -> bool:
        pattern = session.pattern(name)
        return pattern is not None and pattern["frequency"] == 2

    wait_until(counted, 5, "the frequency is 2")


def test_sessions_of_one_node_share_its_patterns(kato: Kato, session: KatoSession) -> None:
    name = session.learned(["a"], ["b"])
    other = kato.session(session.node)
    other.sequence(["a"], ["b"])
    assert other.learn()["pattern_name"] == name
    pattern = session.pattern(name)
    assert pattern is not None
    assert pattern["frequency"] == 2


def test_node_ids_with_one_sanitised_name_share_patterns(kato: Kato, session: KatoSession) -> None:
    dashed = kato.session(f"{session.node}-x y")
    underlined = kato.session(f"{session.node}_x_y")
    name = dashed.learned(["a"], ["b"])
    assert underlined.pattern(name) is not None


def test_emotives_and_metadata_leak_into_the_next_pattern(session: KatoSession) -> None:
    session.observe("a", emotives={"joy": 1.0}, metadata={"k": "v"})
    session.observe("b")
    session.learn()
    session.sequence(["c"], ["d"])
    name = session.learn()["pattern_name"]
    pattern = wait_until(lambda: session.pattern(name), 5, "the second pattern is seen")
    assert pattern is not None
    assert pattern["emotives"] == [{"joy": 1.0}]
    assert pattern["metadata"] == {"k": ["v"]}


def test_clear_stm_keeps_emotives_out_of_the_next_pattern(session: KatoSession) -> None:
    session.observe("a", emotives={"joy": 1.0})
    session.observe("b")
    session.learn()
    session.clear()
    session.sequence(["c"], ["d"])
    name = session.learn()["pattern_name"]
    pattern = wait_until(lambda: session.pattern(name), 5, "the second pattern is seen")
    assert pattern is not None
    assert pattern["emotives"] == []


@pytest.mark.parametrize("persistence", [2, 9])
def test_a_pattern_keeps_the_newest_five_emotives_whatever_persistence_the_session_asks_for(
    kato: Kato, persistence: int
) -> None:
    session = kato.session(config={**QUIET, "persistence": persistence})
    for number in range(7):
        session.observe("a", emotives={"joy": number / 4, "fear": 1} if number else {"joy": 0.0})
    name = session.learn()["pattern_name"]
    pattern = wait_until(lambda: session.pattern(name), 5, "the pattern is seen")
    assert pattern is not None
    assert pattern["emotives"] == [{"joy": number / 4, "fear": 1.0} for number in range(2, 7)]


def test_emotives_and_metadata_of_later_learns_are_added_to_the_pattern(session: KatoSession) -> None:
    for number, said in enumerate([{"k": 1, "l": [1, 2]}, {"k": 1.0, "l": None}, {"k": 1, "m": {"x": True}}]):
        session.observe("a", emotives={"joy": float(number)}, metadata=said)
        session.observe("b")
        name = session.learn()["pattern_name"]
        session.clear()
    pattern = wait_until(lambda: session.pattern(name), 5, "the pattern is seen")
    assert pattern is not None
    assert pattern["emotives"] == [{"joy": 0.0}, {"joy": 1.0}, {"joy": 2.0}]
    assert pattern["metadata"] == {"k": ["1", "1.0"], "l": ["None", "[1, 2]"], "m": ["{'x': True}"]}


def test_a_length_limit_learns_by_itself_and_clears(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "max_pattern_length": 3, "stm_mode": "CLEAR"})
    answers = [session.observe(string) for string in "abc"]
    assert [answer["stm_length"] for answer in answers] == [1, 2, 0]
    assert [bool(answer["auto_learned_pattern"]) for answer in answers] == [False, False, True]
    assert session.stm() == []


def test_a_rolling_length_limit_learns_at_every_later_observe(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "max_pattern_length": 3, "stm_mode": "ROLLING"})
    answers = [session.observe(string) for string in "abcd"]
    assert [answer["stm_length"] for answer in answers] == [1, 2, 2, 2]
    assert [bool(answer["auto_learned_pattern"]) for answer in answers] == [False, False, True, True]
    assert session.stm() == [["c"], ["d"]]


@pytest.mark.parametrize(("mode", "kept"), [("CLEAR", []), ("ROLLING", [["a"], ["b"], ["c"]])])
def test_a_limit_of_one_event_learns_one_and_keeps_all_of_an_stm_that_was_longer_before(
    kato: Kato, mode: str, kept: list[list[str]]
) -> None:
    session = kato.session()
    session.sequence(["a"], ["b"])
    body_of(session.ask("POST", "config", json={"config": {"max_pattern_length": 1, "stm_mode": mode}}))
    assert session.observe("c")["auto_learned_pattern"].startswith("PTRN|")
    assert session.stm() == kept
    session.clear()
    answer = session.observe("d")  # one symbol is no pattern, and the STM is emptied all the same
    assert (answer["auto_learned_pattern"], answer["stm_length"]) == (None, 0)


def test_a_rolling_limit_that_is_no_whole_number_fails_at_its_second_event(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "max_pattern_length": 1.5, "stm_mode": "ROLLING"})
    session.observe("a")
    assert session.ask("POST", "observe", json={"strings": ["b"]}).status_code == 500
    assert (session.stm(), session.time()) == ([["a"]], 1)


def test_a_pattern_learned_by_itself_stores_no_emotives(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "max_pattern_length": 2})
    session.observe("a", emotives={"joy": 1.0})
    name = session.observe("b")["auto_learned_pattern"]
    pattern = wait_until(lambda: session.pattern(name), 5, "the pattern is seen")
    assert pattern is not None
    assert pattern["emotives"] == []


def test_a_sequence_names_what_was_learned_on_the_way(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "max_pattern_length": 2})
    answer = session.sequence(["a"], ["b"], ["c"])
    names = [result["auto_learned_pattern"] for result in answer["results"]]
    assert names[0] is names[2] is None
    assert answer["auto_learned_patterns"] == [names[1]]
    assert answer["final_stm_length"] == 1


def test_clear_all_empties_the_nodes_patterns_and_this_sessions_stm(kato: Kato, session: KatoSession) -> None:
    name = session.learned(["a"], ["b"])
    other = kato.session(session.node)
    other.observe("kept")
    session.observe("x")
    answer = body_of(session.ask("POST", "clear-all"))
    assert answer["status"] == "cleared"
    assert (session.stm(), session.time()) == ([], 0)
    assert session.pattern(name) is None
    assert other.stm() == [["kept"]]


def test_finalize_training_makes_new_patterns_visible(session: KatoSession) -> None:
    session.sequence(["a"], ["b"], ["c"])
    session.learn()
    answer = body_of(session.ask("POST", "finalize-training"))
    took = answer.pop("time_ms")
    assert answer == {
        "status": "completed",
        "patterns_processed": 1,
        "session_id": session.id,
        "node_id": session.node,
        "message": f"Computed Shannon entropy and TF vectors for 1 patterns in {took}ms",
    }
    session.sequence(["a"], ["b"])
    assert [prediction["future"] for prediction in session.predictions()] == [[["c"]]]
