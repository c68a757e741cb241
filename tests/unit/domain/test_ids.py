"""Names and placement. What is pinned here is pinned for ever: keys of running stores are named after it."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.domain.ids import (
    MAX_NODE_CHARS,
    PARTITIONS,
    check_event_id,
    check_node_id,
    check_text_id,
    default_node,
    lane_of,
    node_problem,
    partition_of,
    pick_instance,
    queue_of,
    shard_of,
)
from kato_tasks.errors import InvalidEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=600)


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        ("", 0),
        ("a", 67),
        ("n1", 236),
        ("Case_1", 132),
        ("helpdesk", 177),
        ("shop_1", 228),
        ("user_123", 89),
        ("ünï_🙂", 214),
        ("x" * 200, 166),
    ],
)
def test_a_lanes_partition_never_changes(name: str, partition: int) -> None:
    """Falls with any other hash, or another number of partitions."""
    assert PARTITIONS == 256
    assert partition_of(name) == partition


@given(TEXT)
def test_every_name_has_a_partition_and_a_shard(name: str) -> None:
    partition = partition_of(lane_of(name))
    assert 0 <= partition < 256
    for shards in (1, 4, 16, 256):
        assert 0 <= shard_of(partition, shards) < shards


def test_partitions_are_used_evenly() -> None:
    used = Counter(partition_of(f"user_{i}") for i in range(25_600))
    assert len(used) == 256
    assert max(used.values()) < 200


def test_a_shard_is_a_set_of_partitions() -> None:
    for shards in (1, 3, 16, 256):
        served = Counter(shard_of(p, shards) for p in range(PARTITIONS))
        assert set(served) == set(range(shards))
        assert max(served.values()) - min(served.values()) <= 1


def test_queues_have_the_names_that_deployments_listen_to() -> None:
    assert [queue_of(0), queue_of(7), queue_of(15), queue_of(255)] == [
        "kato.lane.00",
        "kato.lane.07",
        "kato.lane.15",
        "kato.lane.255",
    ]


@pytest.mark.parametrize("char", list('/\\."$*<>:|?- '))
def test_characters_that_kato_replaces_make_no_lane_of_their_own(char: str) -> None:
    """As KATO sanitises a node_id (3.10.1): `a-b`, `a_b` and `a b` are one knowledge base."""
    assert lane_of(f"a{char}b") == "a_b"


@pytest.mark.parametrize("char", list("ab1_äß🙂#%&()+,;=@[]^`{}~!"))
def test_other_characters_stay(char: str) -> None:
    assert lane_of(f"a{char}b") == f"a{char}b"


@given(TEXT)
def test_a_lane_is_its_own_lane(name: str) -> None:
    assert lane_of(lane_of(name)) == lane_of(name)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("", "empty"),
        ("it's", "apostrophe"),
        ("'", "apostrophe"),
        ("a\nb", "control character"),
        ("a\x00", "control character"),
        ("\x7f", "control character"),
        ("a\ud800", "surrogate"),
        ("test_shop", "begins with test_"),
        ("test-shop", "begins with test_"),
        ("test shop", "begins with test_"),
        ("test.", "begins with test_"),
        ("x" * 201, "201 characters"),
    ],
)
def test_an_explicit_node_that_kato_cannot_take_is_refused_with_the_reason(node: str, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason) as refused:
        check_node_id(node)
    assert refused.value.field == "node_id"


@pytest.mark.parametrize("node", ["a", "testing", "Test_x", "my_test_x", "tes_t", "test", 'a"b', "ünï 🙂", "x" * 200])
def test_other_nodes_are_taken(node: str) -> None:
    assert check_node_id(node) == node


@pytest.mark.parametrize("session", ["user-123", "Case 1", "ünï 🙂", "x" * 200])
def test_a_sessions_default_node_is_its_own_id_where_kato_can_take_it(session: str) -> None:
    assert default_node(session) == session


@pytest.mark.parametrize(
    ("session", "node"),
    [
        ("it's", "s_it_s_79bbc535e98f"),
        ("a\nb", "s_a_b_fcd127ffa101"),
        ("test_x", "s_test_x_4e4dce1cf4e8"),
        ("test-x", "s_test-x_8e40920802cb"),
        ("x" * 300, "s_" + "x" * 100 + "_" + hashlib.sha1(b"x" * 300).hexdigest()[:12]),  # noqa: S324
    ],
)
def test_a_derived_node_never_changes(session: str, node: str) -> None:
    """It is written nowhere but in the store: another rule would part a session from its memory."""
    assert default_node(session) == node


@given(TEXT)
def test_every_sessions_default_node_can_be_taken(session: str) -> None:
    """Falls when default_node leaves one of node_problem's rules out."""
    node = default_node(session)
    assert node_problem(node) is None
    assert len(node) <= MAX_NODE_CHARS


@given(TEXT, TEXT)
def test_sessions_that_kato_cannot_take_as_they_are_never_share_a_derived_node(one: str, two: str) -> None:
    one, two = f"'{one}", f"'{two}"
    if one != two:
        assert lane_of(default_node(one)) != lane_of(default_node(two))


def test_text_ids_are_checked_with_their_field_in_the_message() -> None:
    for value, reason in (("", "empty"), ("x" * 513, "513 characters, at most 512"), ("\udc00", "surrogate")):
        with pytest.raises(InvalidEvent, match=rf"session_id: .*{reason}"):
            check_text_id("session_id", value)
    assert check_text_id("session_id", "any\ntext 🙂 '{}'") == "any\ntext 🙂 '{}'"


@pytest.mark.parametrize("char", ["\n", "\r", "\t", "\x00", "\x7f"])
def test_an_event_id_has_no_control_character(char: str) -> None:
    """The log, and the keys of results, put it on a line of its own."""
    with pytest.raises(InvalidEvent, match=r"event_id: .*control character"):
        check_event_id(f"a{char}b")


def test_a_lane_stays_with_its_instance_when_another_comes_or_goes() -> None:
    urls = ("http://a:1", "http://b:1", "http://c:1")
    lanes = [f"lane {i}" for i in range(3_000)]
    before = {lane: pick_instance(lane, urls) for lane in lanes}
    shares = Counter(before.values())
    assert min(shares.values()) > 700
    for gone in urls:
        after = {lane: pick_instance(lane, tuple(u for u in urls if u != gone)) for lane in lanes}
        assert all(after[lane] == before[lane] for lane in lanes if before[lane] != gone)
    assert {lane: pick_instance(lane, urls[::-1]) for lane in lanes} == before
    assert pick_instance("helpdesk", urls) == "http://c:1"
