"""What makes two rows the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.importer.identity import EventIds, Occurrences, content_key, metadata_check
from kato_tasks.importer.keys import KeyTable

TEXT = st.text(max_size=3)
EVENT = st.fixed_dictionaries(
    {"session_id": TEXT, "observation": st.fixed_dictionaries({"strings": st.lists(TEXT, max_size=3)})},
    optional={"timestamp": TEXT},
)


def event(**observation: Any) -> dict[str, Any]:
    return {"session_id": "x", "timestamp": "2025-01-01", "observation": {"strings": ["a"], **observation}}


@given(EVENT, EVENT)
def test_rows_have_one_key_if_and_only_if_kato_sees_the_same_of_them(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    def seen(made: dict[str, Any]) -> tuple[Any, ...]:
        return made["session_id"], made.get("timestamp") or "", made["observation"]["strings"]

    assert (content_key(one) == content_key(other)) == (seen(one) == seen(other))


@pytest.mark.parametrize(
    "other",
    [
        event(strings=["b"]),
        event(strings=["a", ""]),
        event(emotives={"m": 1}),
        event(vectors=[[1.0]]),
        {**event(), "timestamp": None},
        {**event(), "session_id": "y"},
        {**event(), "event_type": "learn"},
    ],
)
def test_what_kato_sees_makes_another_row(other: dict[str, Any]) -> None:
    assert content_key(event()) != content_key(other)


@pytest.mark.parametrize(
    "same",
    [
        event(metadata={"m": 1}),
        event(emotives={}, vectors=[]),
        {**event(), "metadata": {"m": 1}},
        {**event(), "node_id": "n"},
        {**event(), "event_type": "observation"},
    ],
)
def test_metadata_and_node_and_empty_fields_make_no_other_row(same: dict[str, Any]) -> None:
    assert content_key(event()) == content_key(same)


def test_a_number_is_the_same_however_it_is_written() -> None:
    assert content_key(event(emotives={"m": 1})) == content_key(event(emotives={"m": 1.0}))


@pytest.mark.parametrize(
    "odd", [{}, {"observation": 3}, {"session_id": 3}, {"observation": {"strings": 5}}, {"session_id": "\ud800"}]
)
def test_a_row_that_is_no_event_has_a_key_too(odd: dict[str, Any]) -> None:
    assert content_key(odd) == content_key(dict(odd)) != content_key(event())
    assert metadata_check(odd) == 1


def test_metadata_is_told_apart() -> None:
    checks = {metadata_check(e) for e in (event(), event(metadata={"a": 1}), {**event(), "metadata": {"a": 1}})}
    assert len(checks) == 3


def test_equal_rows_are_numbered() -> None:
    met = Occurrences()
    assert [met.number(key) for key in (7, 7, 8, 7, 8)] == [1, 2, 1, 3, 2]


def test_rows_of_two_sources_have_different_ids() -> None:
    one, other = EventIds("one"), EventIds("other")
    assert one(5) != other(5)
    assert one(5) == EventIds("one")(5) != one(6)
    assert len(one(5)) == 24


def test_a_table_of_keys_holds_what_a_set_holds() -> None:
    chance = random.Random(1)
    keys = [chance.getrandbits(64) | 1 for _ in range(5_000)]
    table, known = KeyTable(), set()
    for key in keys + keys[::3]:
        assert table.add(key) == (key not in known)
        known.add(key)
    assert table.count == len(known)
    assert all(table.find(key) >= 0 for key in known)
    assert table.find(2) == -1
