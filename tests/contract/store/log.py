"""A store of the test's own, spoken to in the words of the port: one lane at a time, or many."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.store import RedisStore
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Entry, entry_of, predict_entry
from kato_tasks.errors import KatoTasksError
from kato_tasks.testing.waiting import wait_until

T = TypeVar("T")
LEASE_MS = 20_000
BATCH = ports.Batch(400, 1_000_000)


def observation(session: str, event_id: str, *strings: str, wanted: bool = False) -> Entry:
    event = {"session_id": session, "event_id": event_id, "observation": {"strings": list(strings or ("x",))}}
    return entry_of(parse_event(event), event_id=event_id, wanted=wanted)


def learn(session: str, event_id: str) -> Entry:
    return entry_of(parse_event({"session_id": session, "event_type": "learn"}), event_id=event_id)


def predict(session: str, event_id: str, until_ms: int = 0) -> Entry:
    return predict_entry(session, event_id, until_ms)


def numbered(session: str, first: int, last: int) -> list[Entry]:
    """Observations `session-1`, `session-2`, …"""
    return [observation(session, f"{session}-{i}", str(i)) for i in range(first, last + 1)]


def binding(node: str = "n", *, time: int = 0, epoch: int = 1) -> Binding:
    return Binding("http://kato", "session-1", node, time, time, epoch, 10**15)


def new_token() -> str:
    return uuid.uuid4().hex


class Log:
    """The store's operations, each with what most tests do not care about filled in."""

    def __init__(self, client: redis.Redis, retention: Retention | None = None) -> None:
        self.redis = client
        self.store = RedisStore(client, retention)

    def all(self, *operations: ports.Effect[Any]) -> list[Any]:
        return self.store.execute(operations)

    def do(self, operation: ports.Effect[T]) -> T:
        """The answer of one operation; its error is raised."""
        (answer,) = self.store.execute([operation])
        if isinstance(answer, KatoTasksError):
            raise answer
        result: T = answer
        return result

    def append(
        self, node: str, *entries: Entry, source: str = "", offsets: Sequence[int] = ()
    ) -> list[tuple[str, int]]:
        """What became of each entry, appended in one call to sessions of `node`."""
        rows = [
            (lane_of(node), node, entry, offset)
            for entry, offset in zip(entries, offsets or [0] * len(entries), strict=True)
        ]
        batch = self.do(ports.Append(partition_of(lane_of(node)), rows, source))
        return [(status.status, status.position) for status in batch.statuses]

    def wakes(self, node: str, *entries: Entry) -> bool:
        """Whether appending these asks for a wake-up."""
        rows = [(lane_of(node), node, entry, 0) for entry in entries]
        return self.do(ports.Append(partition_of(lane_of(node)), rows)).wake

    def lease(self, node: str, token: str, *, ms: int = LEASE_MS, batch: ports.Batch = BATCH) -> ports.Work | None:
        """The first piece of work of the node's lane, if the lane was ready and free."""
        works = self.do(ports.AcquireLanes(partition_of(lane_of(node)), token, ms, 64, batch))
        mine = [work for work in works if work.lane == lane_of(node)]
        assert len(mine) == len(works), "the tests' nodes are in partitions of their own"
        return mine[0] if mine else None

    def taken(self, node: str, token: str, *, ms: int = LEASE_MS) -> ports.Work:
        work = self.lease(node, token, ms=ms)
        assert work is not None
        return work

    def comes(self, node: str, token: str, *, ms: int = LEASE_MS) -> ports.Work:
        """Wait until the lane can be leased."""
        found = wait_until(lambda: self.lease(node, token, ms=ms), 5, f"lane {node} is ready and free")
        assert found is not None
        return found

    def expire_lease(self, node: str) -> None:
        """The lane's holder has been gone for as long as its lease: the lane is due, and anyone may take it."""
        root = prefix(partition_of(node))
        self.redis.delete(f"{root}lease:{node}")
        self.redis.zadd(f"{root}ready", {node: 1})

    def held(self, node: str, token: str, *, ms: int = LEASE_MS, batch: ports.Batch = BATCH) -> ports.Lease:
        return ports.Lease(lane_of(node), token, ms, batch)

    def commit(
        self,
        held: ports.Lease,
        work: ports.Work,
        *,
        call: str | None = None,
        to: int | None = None,
        results: Sequence[tuple[str, str]] = (),
        answers: str = "",
        go_on: bool = True,
    ) -> ports.NextWork:
        """Commit a piece of work as a drain would."""
        end = work.cursor + len(work.entries) if to is None else to
        return self.do(
            ports.Commit(
                held,
                work.session,
                call or new_token(),
                work.cursor,
                end,
                binding(work.node, time=end),
                results=results,
                predict_id=answers,
                go_on=go_on,
            )
        )

    def intent(self, held: ports.Lease, work: ports.Work, call: str, *, follows: str = "") -> None:
        last = work.cursor + max(1, len(work.entries))
        self.do(
            ports.WriteIntent(
                held,
                work.session,
                work.cursor,
                Intent(call=call, kind="observe", first=work.cursor + 1, last=last),
                binding(work.node),
                replaces_call=follows,
            )
        )

    def claim(
        self,
        node: str,
        session: str,
        event_id: str,
        *,
        position: int = 1,
        task_id: str = "",
        request: str = "{}",
        token: str = "",
        kind: str = "",
    ) -> ports.Found:
        return self.do(
            ports.TakeOrWait(lane_of(node), session, event_id, position, task_id, request, token, LEASE_MS, BATCH, kind)
        )

    def drained(self, node: str) -> list[tuple[str, str]]:
        """Apply all that is due now; (session, event_id) in the order of applying."""
        token, out = new_token(), []
        work = self.lease(node, token)
        while work is not None:
            out += [(work.session, entry.event_id) for entry in work.entries]
            work = self.commit(self.held(node, token), work, answers=work.predict_id).work
        return out

    def apply_learn(self, node: str) -> None:
        """Apply the learn that is next; the STM begins after it."""
        token = new_token()
        work = self.taken(node, token)
        (entry,) = work.entries
        end = entry.position
        held = self.held(node, token)
        self.do(ports.Commit(held, work.session, "c", work.cursor, end, binding(node), stm_start=end, go_on=False))

    def state(self, node: str, session: str) -> Mapping[str, str]:
        """The session's hash as it is stored."""
        stored = self.redis.hgetall(f"{prefix(partition_of(lane_of(node)))}s:{session}")
        return {str(field): str(value) for field, value in stored.items()}

    def events(self, node: str, session: str) -> list[str]:
        """The event ids of the session's log, by position."""
        read = self.do(ports.ReadLog(lane_of(node), session, 1, 1_000_000))
        assert [entry.position for entry in read] == list(range(1, len(read) + 1))
        return [entry.event_id for entry in read]

    def order(self, node: str) -> list[tuple[int, str, int]]:
        """What was applied in the lane: its number there, session, position."""
        rows = self.redis.lrange(f"{prefix(partition_of(lane_of(node)))}order:{lane_of(node)}", 0, -1)
        out = []
        for row in rows:
            numbers, session = str(row).split("\n", 1)
            seq, first, last, _ = map(int, numbers.removesuffix(" d").split(" "))
            out += [(seq + i, session, first + i) for i in range(last - first + 1)]
        return out

    def dump(self) -> dict[str, Any]:
        """Every key's content, apart from the leases' own clocks (`lease:`, `ready`)."""
        out: dict[str, Any] = {}
        for name in sorted(map(str, self.redis.scan_iter(count=1_000))):
            if ":lease:" in name or name.endswith(":ready"):
                continue
            match self.redis.type(name):
                case "string":
                    out[name] = self.redis.get(name)
                case "hash":
                    out[name] = self.redis.hgetall(name)
                case "list":
                    out[name] = self.redis.lrange(name, 0, -1)
                case "set":
                    out[name] = sorted(map(str, self.redis.smembers(name)))
                case _:
                    out[name] = self.redis.zrange(name, 0, -1, withscores=True)
        return out
