"""Names and placement. What is pinned here never changes: keys of running stores are named after it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kato_tasks.domain.ids import (
    MAX_NODE_CHARS,
    PARTITIONS,
    belongs,
    check_event_id,
    check_node_id,
    check_text_id,
    default_node,
    lane_of,
    node_id_of,
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


@pytest.mark.parametrize("session", ["user_123", "Case1", "ünï🙂", "x" * 200, "a~b"])
def test_a_sessions_default_node_is_its_own_id_where_kato_leaves_it_as_it_is(session: str) -> None:
    assert default_node(session) == session


@pytest.mark.parametrize(
    ("session", "node"),
    [
        ("user-123", "user_123~d5ecfb11836d"),
        ("Case 1", "Case_1~03b28b241732"),
        ("it's", "it_s~79bbc535e98f"),
        ("a\nb", "a_b~fcd127ffa101"),
        ("test_x", "s_test_x~4e4dce1cf4e8"),
        ("test-x", "s_test_x~8e40920802cb"),
        ("x" * 300, "x" * 40 + "~" + hashlib.sha1(b"x" * 300).hexdigest()[:12]),  # noqa: S324
    ],
)
def test_a_derived_node_never_changes(session: str, node: str) -> None:
    """Processes of two versions must not tell KATO different names, though the store keeps a session's first one."""
    assert default_node(session) == node


@given(TEXT, TEXT)
@example("a.b@x.org", "a-b@x.org")
@example("it's", "it\ns")
@example("a-b", default_node("a-b"))
@example("x" * 201, "x" * 202)
def test_two_sessions_never_share_a_default_node_as_kato_writes_it(one: str, two: str) -> None:
    if one != two:
        assert lane_of(default_node(one)) != lane_of(default_node(two))


@given(TEXT)
@example("a-b")
@example("it's")
@example("x" * 300)
def test_a_derived_node_is_left_alone_and_not_cut_by_kato(session: str) -> None:
    node = default_node(session)
    assert lane_of(node) == node
    assert node == session or len(node) <= 55


@given(TEXT)
@example("a-b")
@example("it's")
def test_callers_know_a_default_node_by_the_sessions_id(session: str) -> None:
    """Also one that was bound before such ids were told apart: it was the id itself, or s_<readable>_<digits>."""
    readable = re.sub(r"[\x00-\x1f\x7f']", "_", session)[:100]
    before = f"s_{readable}_{hashlib.sha1(session.encode()).hexdigest()[:12]}"  # noqa: S324
    for node in (default_node(session), session if node_problem(session) is None else before):
        assert node_id_of(session, node) == session
        assert all(belongs(session, node_id, node) for node_id in (None, session, node))
        assert not belongs(session, "another node", node)
    assert node_id_of(session, "team") == "team"
    assert not belongs(session, session, "team") or session == "team"


@given(TEXT)
def test_every_sessions_default_node_can_be_taken(session: str) -> None:
    """Falls when default_node leaves one of node_problem's rules out."""
    node = default_node(session)
    assert node_problem(node) is None
    assert len(node) <= MAX_NODE_CHARS


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
