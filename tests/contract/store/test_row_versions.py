"""Two versions of the stored rows side by side: the version before this one, this one, and the next.

What the version before read and wrote is frozen here: its parsing rules, and samples of its rows. The next version is
this one's rows with more at their ends.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import BINDING_FIELDS, INTENT_FIELDS, prefix, text_in
from kato_tasks.api.scheduled import later_payload, read_later
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Entry, Logged
from kato_tasks.errors import UnreadableRow
from tests.contract.store.log import Log, learn, new_token, numbered, observation

S = f"{prefix(partition_of(lane_of('n')))}s:a"
LOG = f"{prefix(partition_of(lane_of('n')))}log:a"


class Before:
    """How the version before reads rows: anything else ends a whole lease there."""

    BINDING = ("url", "kato_session", "node", "time", "stm_length", "epoch", "expires_ms", "run", "before")
    INTENT = frozenset(
        ("call", "kind", "first", "last", "time", "stm_length", "pattern", "frequency", "again"),
    )
    KINDS = frozenset(("observe", "learn", "settle", "verify", "clear_after_learn", "clear", "fence"))

    @classmethod
    def binding(cls, text: str) -> dict[str, Any]:
        return dict(zip(cls.BINDING, json.loads(text), strict=False))  # later versions append to the list

    @classmethod
    def intent(cls, text: str) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(text)
        assert set(fields) <= cls.INTENT
        assert {"call", "kind", "first", "last"} <= set(fields)
        assert fields["kind"] in cls.KINDS
        return fields

    @staticmethod
    def entry(text: str) -> tuple[str, bool, str, Any, str]:
        flags, event_id, head, body = text.split("\n", 3)
        return flags[0], flags[1] == "1", event_id, json.loads(head), body

    @staticmethod
    def later(payload: str) -> Entry:
        return Entry(*json.loads(payload))


WRITTEN_BEFORE = {
    "binding": '["http://kato:8000","session-1","n",4,3,1,1764000000000,"0123456789ab",3]',
    "binding without what came later": '["http://kato:8000","session-1","n",4,3,1,1764000000000]',
    "observe": '{"call":"c","kind":"observe","first":1,"last":3,"time":0,"stm_length":0}',
    "learn": (
        '{"call":"c","kind":"learn","first":4,"last":4,"time":3,"stm_length":3,'
        '"pattern":"PTRN|x","frequency":2,"again":false}'
    ),
    "entry": 'o11764000000000\ne1\n{"v":1,"ts":"2026-01-01T00:00:00Z"}\n{"strings":["a"],"vectors":[],"emotives":{}}',
    "later": '["s",null,"e1","o",true,"d","o1\\ne1\\n{\\"v\\":1}\\n{\\"strings\\":[\\"a\\"],\\"vectors\\":[]}"]',
}
WRITTEN_NOW = '["http://kato:8000","session-1","n",4,3,1,1764000000000,"0123456789ab",3,1,1,"c0ffee"]'


def test_what_the_version_before_wrote_is_read() -> None:
    bound = Binding.load(WRITTEN_BEFORE["binding"])
    assert bound is not None
    assert (bound.kato_session, bound.time, bound.before) == ("session-1", 4, 3)
    older = Binding.load(WRITTEN_BEFORE["binding without what came later"])
    assert older is not None
    assert (older.run, older.before) == ("", -1)
    assert (bound.base, bound.shared, bound.config) == (0, False, "")
    observe, learned = Intent.load(WRITTEN_BEFORE["observe"]), Intent.load(WRITTEN_BEFORE["learn"])
    assert observe is not None
    assert learned is not None
    assert (observe.kind, observe.last, learned.pattern, learned.frequency) == ("observe", 3, "PTRN|x", 2)
    entry = Logged.parse(1, WRITTEN_BEFORE["entry"])
    assert (entry.kind, entry.wanted, entry.event_id, entry.content) == ("o", True, "e1", "s")
    assert read_later(WRITTEN_BEFORE["later"]).event_id == "e1"


def test_what_the_next_version_writes_is_read_as_far_as_it_is_known() -> None:
    written = json.dumps([*json.loads(WRITTEN_NOW), "new", {"more": 1}])
    assert Binding.load(written) == Binding.load(WRITTEN_NOW)
    intent = json.loads(WRITTEN_BEFORE["learn"]) | {"new": [1], "v": 1}
    assert Intent.load(json.dumps(intent)) == Intent.load(WRITTEN_BEFORE["learn"])
    entry = WRITTEN_BEFORE["entry"].replace("000\n", "000szq\n", 1)
    assert Logged.parse(1, entry) == Logged.parse(1, WRITTEN_BEFORE["entry"])
    later = json.dumps([*json.loads(WRITTEN_BEFORE["later"]), {"new": 1}])
    assert read_later(later) == read_later(WRITTEN_BEFORE["later"])


@pytest.mark.parametrize("text", ['{"v":2}', '["u"]', "[", "7", '["u","k","n","1",0,1,1]', '["u","k",null,1,0,1,1]'])
def test_a_binding_that_must_not_be_touched_says_so(text: str) -> None:
    with pytest.raises(UnreadableRow):
        Binding.load(text)


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"kind": "merge"}, {"first": "1"}, {"call": None}, {"kind": ["observe"]}], ids=str
)
def test_an_intent_that_must_not_be_touched_says_so(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRow):
        Intent.load(json.dumps(json.loads(WRITTEN_BEFORE["observe"]) | change))


def test_what_this_version_writes_is_read_by_the_version_before(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2), learn("a", "l"))
    token = new_token()
    held, work = log.held("n", token), log.taken("n", token)
    log.intent(held, work, "call")
    state = log.state("n", "a")
    assert Before.binding(text_in(state, BINDING_FIELDS))["kato_session"] == "session-1"
    assert Before.intent(text_in(state, INTENT_FIELDS))["call"] == "call"
    assert [Before.entry(str(text))[:3] for text in log.redis.lrange(LOG, 0, -1)] == [
        ("o", False, "a-1"),
        ("o", False, "a-2"),
        ("l", False, "l"),
    ]
    for kind in Before.KINDS:
        for again in (False, True):
            Before.intent(Intent("c", kind, 1, 1, pattern="PTRN|x", again=again).dump())  # type: ignore[arg-type]
    entry = observation("a", "later")
    log.do(ports.KeepScheduled("n", 1, later_payload(entry)))
    (kept,) = log.do(ports.DueScheduled(partition_of("n"), 2, 10))
    assert Before.later(kept) == entry


def test_three_versions_drain_one_log_in_turns(log: Log) -> None:
    """Each turn leaves what its version would write; each row is read by all three."""
    log.append("n", *numbered("a", 1, 30))
    for i, entry in enumerate(log.redis.lrange(LOG, 0, -1)):
        flags, rest = str(entry).split("\n", 1)
        # Every third entry as the version before wrote it, every third as the next will.
        log.redis.lset(LOG, i, f"{(flags.rstrip('s'), flags, f'{flags}q')[i % 3]}\n{rest}")
    applied: list[str] = []
    for turn in range(15):
        token = new_token()
        held = log.held("n", token, batch=ports.Batch(2, 10_000))
        work = log.lease("n", token, batch=ports.Batch(2, 10_000))
        assert work is not None
        assert (work.unreadable, work.intent) == ("", None)
        applied += [entry.event_id for entry in work.entries]
        log.intent(held, work, f"call-{turn}")
        state = log.state("n", "a")
        if turn % 3 == 1:
            assert Before.binding(text_in(state, BINDING_FIELDS))
            assert Before.intent(text_in(state, INTENT_FIELDS))["call"] == f"call-{turn}"
        log.commit(held, work, call=f"call-{turn}", go_on=False)
        text = text_in(log.state("n", "a"), BINDING_FIELDS)
        if turn % 3 == 2:  # the next version writes more
            longer = json.dumps([*json.loads(text), "", {"new": turn}], separators=(",", ":"))
            pieces = (longer[:64], longer[64:128], longer[128:192], longer[192:])
            log.redis.hset(S, mapping=dict(zip(BINDING_FIELDS, pieces, strict=True)))
        elif turn % 3 == 0:  # the version before wrote less
            assert Before.binding(text)
    assert applied == [f"a-{i}" for i in range(1, 31)]
    assert log.state("n", "a")["cur"] == "30"


def test_a_binding_with_more_at_its_end_expires_as_any_other(log: Log) -> None:
    """The scripts read two of its fields by their places."""
    log.append("n", *numbered("a", 1, 1))
    token = new_token()
    held, work = log.held("n", token), log.taken("n", token)
    log.commit(held, work)
    assert log.redis.zscore(f"{prefix(partition_of('n'))}exp", "a") == 10**15
