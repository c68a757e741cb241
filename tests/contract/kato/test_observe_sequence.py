"""KATO's observe-sequence: many observations, saved once."""

import re

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, KatoSession, body_of


def test_a_sequence_answers_what_became_of_each(session: KatoSession) -> None:
    session.observe("before")
    answer = body_of(
        session.ask(
            "POST",
            "observe-sequence",
            json={
                "observations": [
                    {"strings": ["b", "a"], "unique_id": "one"},
                    {"emotives": {"joy": 1}, "unique_id": "two"},
                    {"strings": ["c"], "unique_id": "three"},
                ]
            },
        )
    )
    assert answer == {
        "status": "completed",
        "processor_id": session.node,
        "observations_processed": 3,
        "initial_stm_length": 1,
        "final_stm_length": 3,
        "results": [
            {
                "status": "okay",
                "sequence_position": position,
                "stm_length": length,
                "time": position + 2,
                "unique_id": unique_id,
                "auto_learned_pattern": None,
            }
            for position, (length, unique_id) in enumerate([(2, "one"), (2, "two"), (3, "three")])
        ],
        "auto_learned_patterns": [],
        "final_learned_pattern": None,
        "isolated": False,
    }
    assert session.stm() == [["before"], ["a", "b"], ["c"]]


def test_an_id_is_echoed_and_never_deduplicated(session: KatoSession) -> None:
    observations = [{"strings": ["x"], "unique_id": "same"}] * 2
    answer = body_of(session.ask("POST", "observe-sequence", json={"observations": observations}))
    assert [result["unique_id"] for result in answer["results"]] == ["same", "same"]
    assert session.stm() == [["x"], ["x"]]


def test_an_observation_without_an_id_gets_one(session: KatoSession) -> None:
    (result,) = session.sequence(["x"])["results"]
    assert re.search(r"[0-9a-f]{32}", result["unique_id"])


def test_an_id_with_quotes_and_other_letters_is_echoed_whole(session: KatoSession) -> None:
    unique_id = 'a"b\\c é\n'
    observations = [{"strings": ["x"], "unique_id": unique_id}]
    answer = body_of(session.ask("POST", "observe-sequence", json={"observations": observations}))
    assert answer["results"][0]["unique_id"] == unique_id


def test_an_empty_sequence_answers_200_and_changes_nothing(session: KatoSession) -> None:
    session.observe("a")
    answer = session.sequence()
    assert (answer["observations_processed"], answer["results"]) == (0, [])
    assert answer["initial_stm_length"] == answer["final_stm_length"] == 1
    assert session.time() == 1


def test_a_422_leaves_stm_and_time_untouched(session: KatoSession) -> None:
    session.observe("a")
    answer = session.ask("POST", "observe-sequence", json={"observations": [{"strings": ["b"]}, {"strings": "c"}]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "observations", 1, "strings"]
    assert (session.stm(), session.time()) == ([["a"]], 1)


def test_a_500_leaves_stm_and_time_untouched(session: KatoSession) -> None:
    session.observe("a")
    answer = session.ask(
        "POST",
        "observe-sequence",
        json={"observations": [{"strings": ["b"]}, {"vectors": [[1.0, 2.0], [1.0, 2.0, 3.0]]}]},
    )
    assert answer.status_code == 500
    assert (session.stm(), session.time()) == ([["a"]], 1)


def test_a_sequence_without_observations_answers_422(session: KatoSession) -> None:
    answer = session.ask("POST", "observe-sequence", json={})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "missing"


def test_the_stm_keeps_the_newest_1000_events_and_time_counts_on(session: KatoSession) -> None:
    session.sequence(*([str(number)] for number in range(600)))
    answer = session.sequence(*([str(number)] for number in range(600, 1100)))
    assert answer["results"][-1]["time"] == 1100
    stm = session.stm()
    assert (len(stm), stm[0], stm[-1]) == (1000, ["100"], ["1099"])
    assert session.observe("more")["stm_length"] == 1000


def test_a_sequence_counts_events_beyond_the_1000_that_the_stm_keeps(session: KatoSession) -> None:
    def counted(*observations: list[str]) -> tuple[int, list[int], int]:
        answer = session.sequence(*observations)
        return answer["initial_stm_length"], [r["stm_length"] for r in answer["results"]], answer["final_stm_length"]

    session.sequence(*([str(number)] for number in range(950)))
    assert counted(*([str(number)] for number in range(100))) == (950, [*range(951, 1051)], 1050)
    assert counted(["a"], ["b"]) == (1000, [1001, 1002], 1002)
    assert counted([], ["c"], [], ["d"], []) == (1000, [1000, 1001, 1001, 1002, 1002], 1002)
    assert counted([], []) == (1000, [1000, 1000], 1000)
    assert (session.observe("e")["stm_length"], len(session.stm()), session.time()) == (1000, 1000, 1060)


def test_a_sequence_can_learn_at_its_end(session: KatoSession) -> None:
    answer = session.sequence(["a"], ["b"], learn_at_end=True)
    assert answer["final_learned_pattern"].startswith("PTRN|")
    assert answer["auto_learned_patterns"] == [answer["final_learned_pattern"]]
    assert answer["final_stm_length"] == 0
    assert session.stm() == []


def test_a_sequence_can_learn_after_each(session: KatoSession) -> None:
    answer = session.sequence(["a", "b"], ["c", "d"], learn_after_each=True)
    assert len(set(answer["auto_learned_patterns"])) == 2
    assert [result["stm_length"] for result in answer["results"]] == [0, 0]


def test_a_sequence_can_keep_its_observations_apart(session: KatoSession) -> None:
    answer = session.sequence(["a"], ["b"], clear_stm_between=True)
    assert answer["isolated"] is True
    assert session.stm() == [["b"]]


def test_patterns_learned_on_the_way_stay_when_the_sequence_fails(kato: Kato) -> None:
    session = kato.session()
    name = session.learned(["a", "b"])
    answer = session.ask(
        "POST",
        "observe-sequence",
        json={
            "observations": [{"strings": ["a", "b"]}, {"vectors": [[1.0, 2.0], [1.0, 2.0, 3.0]]}],
            "learn_after_each": True,
        },
    )
    assert answer.status_code == 500

    def twice() -> bool:
        pattern = session.pattern(name)
        return pattern is not None and pattern["frequency"] == 2

    wait_until(twice, 5, "the pattern was counted")
    assert (session.stm(), session.time()) == ([], 0)
