"""Names of generations, and of the sessions that fill them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.domain.generations import generation_name, is_shadow_session, shadow_session
from kato_tasks.domain.ids import MAX_ID_CHARS, check_node_id, default_node, lane_of

REPLAY = "0123456789ab"
LONGEST = "n" * 200


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), st.integers(1, 99))
def test_kato_takes_the_name_of_a_generation_as_it_is_and_never_cuts_it(node: str, attempt: int) -> None:
    name = generation_name(node, REPLAY, attempt)
    assert len(name) <= 55
    assert lane_of(name) == name == check_node_id(name)
    assert lane_of(name) != lane_of(node)


def test_a_generation_keeps_what_is_readable_of_its_node() -> None:
    assert generation_name("shop 1", REPLAY).startswith("shop_1~")
    assert generation_name("test_of", REPLAY).startswith("s_test_of~")


def test_lanes_replays_and_attempts_have_names_of_their_own_and_one_lane_has_one() -> None:
    """Falls when the digits are made of less than the lane, the replay and the attempt."""
    named = [
        generation_name(node, replay, attempt)
        for node in (LONGEST, f"{LONGEST[:-1]}m", "n")
        for replay in (REPLAY, "ba9876543210")
        for attempt in (1, 2)
    ]
    assert len(set(named)) == len(named)
    assert generation_name("a-b", REPLAY) == generation_name("a_b", REPLAY) == generation_name("a b", REPLAY)
    assert generation_name("n", REPLAY) == generation_name("n", REPLAY, 1)


def test_no_session_is_given_a_generation_by_default() -> None:
    name = generation_name("shop", REPLAY)
    assert default_node(name) != name
    again = generation_name(name, REPLAY)
    assert again != name


@pytest.mark.parametrize("session", ["ann", "a\nb: c", "x" * 492, "x" * 493, "x" * MAX_ID_CHARS, "ä" * MAX_ID_CHARS])
def test_a_shadow_is_named_after_its_session_as_far_as_an_id_may_be_long(session: str) -> None:
    shadow = shadow_session(REPLAY, session)
    assert len(shadow) <= MAX_ID_CHARS
    assert is_shadow_session(shadow)
    assert (shadow == f"replay:{REPLAY}:{session}") == (len(session) <= 492)
    assert shadow_session(REPLAY, f"{session[:-1]}y") != shadow


@pytest.mark.parametrize(
    "session", ["ann", "replay", f"replay:{REPLAY}", f"replay:{REPLAY}:", f"my replay:{REPLAY}:ann", "replay:xyz:ann"]
)
def test_other_sessions_are_no_shadows(session: str) -> None:
    assert not is_shadow_session(session)


@pytest.mark.parametrize("replay", ["", "0123", "0123456789aB", "0123456789ab:"])
def test_a_shadow_is_of_a_replay_with_an_id(replay: str) -> None:
    with pytest.raises(ValueError, match="12 hexadecimal digits"):
        shadow_session(replay, "ann")
