"""The recorder before a real KATO, and the judge who believes it: what is spoiled behind the workers' backs is found.

The embedded KATO stands in for the real one: the recorder uses nothing of it but KATO's own routes.
"""

from __future__ import annotations

import http.client
import json
import select
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from kato_tasks.bootstrap import Runtime, build
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.settings import Settings
from kato_tasks.testing.waiting import wait_until
from tests.chaos.books import Verdict, judge, read_sessions
from tests.chaos.callers import Record
from tests.chaos.drained import left
from tests.chaos.frequencies import ROW_MS, Learn, compare
from tests.chaos.journal import Journal, Request
from tests.chaos.recorder import PLAYED, Recorder
from tests.chaos.views import Pattern, Views
from tests.gateway import Gateway

SESSIONS = ("first", "second")


@dataclass
class Ground:
    """kato_tasks in this process, the recorder before its KATO, and an application's record."""

    recorder: Recorder
    runtime: Runtime
    views: Views
    record: Record = field(default_factory=Record)
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def send(self, *events: dict[str, Any]) -> None:
        """Append these to each session, and have them applied."""
        entries = []
        for session in SESSIONS:
            name = f"{session} {self.tag}"
            sent = self.record.attempted.setdefault(name, [])
            for event in events:
                event_id = f"{name}/{len(sent)}"
                sent.append(event_id)
                whole = {"session_id": name, "node_id": f"shop {self.tag}", **event}
                entries.append(entry_of(parse_event(whole), event_id=event_id))
        self.runtime.mailbox.append(entries)
        self.record.acknowledged.update(event_id for sent in self.record.attempted.values() for event_id in sent)
        wait_until(self._done, 60, "everything is applied", every=0.02)

    def _done(self) -> bool:
        for shard in range(self.runtime.settings.shards):
            self.runtime.drainer.drain_partitions(self.runtime.partitions_of(shard))
        return not left(self.views)

    def verdict(self) -> Verdict:
        nodes = [(session, self.views.node_of(session)) for session in self.record.attempted]
        return judge(self.views, [self.record], read_sessions(self.views, nodes), [])


@pytest.fixture
def ground(redis_url: str, kato_url: str) -> Iterator[Ground]:
    with Recorder(kato_url) as recorder:
        settings = Settings(
            store_url=redis_url,
            kato_urls=(recorder.url,),
            shards=1,
            kato_timeout_seconds=1.0,
            backoff_base_seconds=0.05,
            backoff_cap_seconds=0.2,
            kato_settle_seconds=0.3,
            breaker_interval_seconds=0.3,
        )
        view = redis.Redis.from_url(redis_url, decode_responses=True)
        with closing(build(settings)) as runtime, view:
            yield Ground(recorder, runtime, Views(recorder.url, view, uuid.uuid4().hex[:6]))


def seen(*strings: str, **more: Any) -> dict[str, Any]:
    return {"observation": {"strings": list(strings), **more}}


LEARN = {"event_type": "learn"}
STORY = [seen("a"), seen("b", vectors=[[0.5, 1.0], [0.25, 2.0]]), seen("c", "d"), LEARN, seen("e"), seen("f", "g")]
END = [seen("end 1"), seen("end 2")]


def test_a_faithful_run_is_clean_whatever_the_recorder_does_to_its_calls(ground: Ground) -> None:
    ground.send(*STORY)
    after = [
        {"kind": kind, "route": "observe-sequence", "count": 1} for kind in sorted(PLAYED - {"delay", "delay_after"})
    ]
    late = {"kind": "delay_after", "route": "learn", "count": 1, "seconds": 1.3}
    ground.views.set_faults([*after, late], seed=4)
    for _ in range(2):
        ground.send(*STORY)
    ground.views.ask("DELETE", "/_embedded/faults")
    ground.send(*END)
    verdict = ground.verdict()
    assert verdict.violations == {}, verdict.evidence
    assert set(ground.views.stats()["faults"]) == PLAYED - {"delay"}
    assert verdict.frequencies.learns == 6
    assert verdict.frequencies.patterns == 2, "the first learn of a session, and those behind what was left of the last"


@pytest.mark.parametrize(
    ("kind", "slips"),
    [
        ("twice", {"duplicated": 2, "reordered": 1, "stm_mismatches": 1}),
        ("dropped", {"lost": 1, "stm_mismatches": 1}),
        ("swapped", {"reordered": 1, "stm_mismatches": 1}),
        ("learned", {"frequency_mismatches": 1}),
    ],
)
def test_what_is_done_to_kato_behind_the_workers_backs_is_a_violation(
    ground: Ground, kind: str, slips: dict[str, int]
) -> None:
    ground.send(*STORY[:3])
    ground.views.ask("POST", "/_embedded/sabotage", {"kinds": [kind]})
    ground.send(*([LEARN] if kind == "learned" else END))
    assert ground.views.stats()["spoiled"] == [], "the sabotage took place"
    assert ground.verdict().violations == slips


def test_two_calls_at_once_on_one_node_overlap_and_one_whose_caller_has_gone_lands_late(ground: Ground) -> None:
    paths = [f"/sessions/{_call(ground, 'POST', '/sessions', {'node_id': 'a b'})['session_id']}" for _ in range(2)]
    ground.views.set_faults([{"kind": "delay", "route": "observe", "seconds": 0.5}], seed=1)
    body = {"strings": ["x"]}
    first = threading.Thread(target=_call, args=(ground, "POST", f"{paths[0]}/observe", body))
    first.start()
    wait_until(lambda: ground.views.stats()["in_flight"] == 1, 10, "the first call is under way", every=0.01)
    _call(ground, "GET", f"{paths[1]}/stm")
    first.join(10)
    assert ground.views.stats()["overlaps"] == 1
    with pytest.raises(TimeoutError):
        _call(ground, "POST", f"{paths[0]}/observe", body, seconds=0.1)
    wait_until(lambda: ground.views.stats()["late_landings"] == 1, 10, "the call lands", every=0.01)
    assert ground.views.stats()["overlaps"] == 1
    assert ground.views.kato_session(paths[0].split("/")[2])["stm"] == [["x"], ["x"]]  # type: ignore[index]


def test_a_caller_that_gave_up_does_not_overlap_with_its_own_next_call_though_nobody_noticed_yet(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads that wait for KATO and for the caller may be late on a busy machine; here they never notice.
    monkeypatch.setattr("tests.gateway._wait", lambda upstream, caller: select.select([upstream], [], []))
    monkeypatch.setattr(ground.recorder, "_note_gone", lambda caller, at: None)
    session = _call(ground, "POST", "/sessions", {"node_id": "a"})["session_id"]
    ground.views.set_faults([{"kind": "delay", "route": "observe", "seconds": 0.6}], seed=1)
    with Gateway(ground.recorder.url) as gateway:
        with pytest.raises(TimeoutError):
            _call(ground, "POST", f"/sessions/{session}/observe", {"strings": ["x"]}, seconds=0.1, url=gateway.url)
        _call(ground, "GET", f"/sessions/{session}/stm", url=gateway.url)
    wait_until(lambda: ground.views.stats()["late_landings"] == 1, 10, "the call lands", every=0.01)
    assert ground.views.stats()["overlaps"] == 0


def _call(
    ground: Ground, method: str, path: str, body: Any = None, seconds: float = 10.0, url: str | None = None
) -> Any:
    at = urlsplit(url or ground.recorder.url)
    with closing(http.client.HTTPConnection(str(at.hostname), at.port, timeout=seconds)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        return json.loads(connection.getresponse().read())


@pytest.mark.parametrize(("counted", "applied"), [(3, ["1", "2", "3"]), (1, ["1"])], ids=["applied", "not applied"])
def test_what_became_of_a_call_that_a_killed_kato_never_answered_shows_in_its_next_time(
    counted: int, applied: list[str]
) -> None:
    journal = Journal()
    journal.answered(_request("/sessions", node_id="n"), 200, b'{"session_id": "s"}')
    first = _request("/sessions/s/observe-sequence", observations=[{"unique_id": "1"}])
    journal.answered(first, 200, b'{"results": [{"time": 1}]}')
    journal.lost(_request("/sessions/s/observe-sequence", observations=[{"unique_id": "2"}, {"unique_id": "3"}]))
    answer = {"cognition_data": {"time": counted, "short_term_memory": []}}
    journal.answered(Request("GET", "/sessions/s/cognition-data", b""), 200, json.dumps(answer).encode())
    assert journal.sessions["s"].applied == applied


def _request(path: str, **body: Any) -> Request:
    return Request("POST", path, json.dumps(body).encode())


class Told(Views):
    """A KATO whose patterns are these."""

    def __init__(self, view: redis.Redis, found: dict[str, Pattern]) -> None:
        super().__init__("", view)
        self._found = found

    def patterns(self, node: str) -> dict[str, Pattern]:
        return self._found


OWN, NEAR = "VCTR|own", "VCTR|near"


@pytest.mark.parametrize(
    ("kill_ms", "have", "lost", "wrong"),
    [
        (10_000, 0, 1, 0),
        (9_999, 0, 0, 1),
        (10_000 + ROW_MS + 1, 0, 0, 1),
        (10_000, 2, 0, 1),
        (10_000, 1, 0, 0),
    ],
    ids=["killed at once", "killed before", "killed later", "counted twice", "as it should be"],
)
def test_a_row_is_excused_only_when_kato_was_killed_right_after_the_learn(
    redis_url: str, kill_ms: int, have: int, lost: int, wrong: int
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as view:
        kato = Told(view, {"PTRN|x": Pattern(have, [["a"], ["b"]])} if have else {})
        learns = [Learn("s", "n", 3, "PTRN|x", 10_000, [["a"], ["b"]])]
        found = compare(kato, {"n": set()}, learns, [], [kill_ms])
    assert (len(found.rows_lost), found.mismatches) == (lost, wrong)


@pytest.mark.parametrize(
    ("contents", "wrong"),
    [
        ([[[OWN, "a"], ["b"]], [[NEAR, OWN, "a"], ["b"]]], 0),
        ([[[OWN, "a"], ["b"]]], 1),
        ([[[OWN, "a"], ["b"]], [[NEAR, "a"], ["b"]]], 1),
        ([[[OWN, "a"], ["b"]], [[OWN, "VCTR|foreign", "a"], ["b"]]], 1),
    ],
    ids=["a learned vector came along", "one is missing", "not its own", "never sent"],
)
def test_patterns_that_differ_in_what_kato_adds_for_a_vector_are_counted_together(
    redis_url: str, contents: list[list[list[str]]], wrong: int
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as view:
        kato = Told(view, {f"PTRN|{number}": Pattern(1, content) for number, content in enumerate(contents)})
        learns = [Learn("s", "n", position, "PTRN|0", 10_000, [[OWN, "a"], ["b"]]) for position in (3, 6)]
        found = compare(kato, {"n": {OWN, NEAR}}, learns, [])
    assert found.mismatches == wrong


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"PTRN|y": Pattern(1, None)}, 0),
        ({"PTRN|y": Pattern(2, None)}, 1),
        ({}, 1),
        ({"PTRN|x": Pattern(1, [[OWN, "a"], ["b"]]), "PTRN|y": Pattern(1, None)}, 1),
    ],
    ids=["in its place", "twice in its place", "none", "beside it"],
)
def test_a_count_without_a_row_stands_for_a_pattern_with_vectors_that_kato_seems_not_to_have(
    redis_url: str, found: dict[str, Pattern], wrong: int
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as view:
        learns = [Learn("s", "n", 3, "PTRN|x", 10_000, [[OWN, "a"], ["b"]])]
        assert compare(Told(view, found), {"n": {OWN}}, learns, []).mismatches == wrong
