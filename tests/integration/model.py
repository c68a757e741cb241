"""One lane against a KATO in memory and a real store, one effect at a time, with a fault wherever the test wants it.

The KATO is the embedded one without its HTTP; the store is the real Redis with the real scripts; the engine's
generators are the real ones. What is played here is only the world: calls that get lost, answered late or applied
late, workers that die or are stopped between any two effects, replies of the store that are lost.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import BINDING_FIELDS, INTENT_FIELDS, prefix, text_in
from kato_tasks.adapters.redis.store import RedisStore
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Entry, entry_of, predict_entry
from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.patterns import Patterns
from kato_tasks.embedded.kato.routes import Found, find
from kato_tasks.embedded.kato.sessions import Session
from kato_tasks.embedded.kato.vectors import NEAREST, added, vector_symbol
from kato_tasks.engine.drain.context import KatoSessionOptions, LaneContext
from kato_tasks.engine.drain.drain import DrainedLane, drain
from kato_tasks.engine.drain.known_sessions import KnownSessions
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.errors import KatoError, KatoUnavailable, LeaseLost, OutcomeUnknown, StoreUnavailable
from kato_tasks.kato_wire.answers import Answer, gone, server_error

URL = "http://kato"
LEASE_MS = 60_000
CALL_FAULTS = (
    "refused",
    "busy",
    "lost_before",
    "lost_after",
    "error_before",
    "error_after",
    "unauthorised",
    "forbidden",
    "redirected",
    "foreign_404",
    "gateway_before",
    "gateway_after",
    "too_many_after",
    "maintenance",
    "other_shape",
    "other_fields",
    "not_saved",
    "not_found",
    "redis_down",
    "expire",
    "clickhouse_down",
    "late_1",
    "late_3",
    "late_8",
    "dies_before",
    "dies_after",
    "stopped",
)
STORE_FAULTS = ("twice", "dies_before", "dies_after", "stopped")


NOT_PASSED_ON = {
    "busy": ports.KatoReply(
        503, b"Service Unavailable", content_type="text/plain", server="uvicorn", connection="close"
    ),
    "forbidden": ports.KatoReply(403, b"<html>no</html>"),
    "unauthorised": ports.KatoReply(401, b"<html>no</html>"),
    "redirected": ports.KatoReply(302, b"", location="http://elsewhere/login"),
    "foreign_404": ports.KatoReply(404, b"<html>no</html>"),
    "gateway_before": ports.KatoReply(503, b"<html>no</html>"),
    "maintenance": ports.KatoReply(200, b'{"status":"maintenance"}'),
}
"""Answered by KATO's server or by a gateway before KATO sees the call."""


class WorkerDied(Exception):
    """The process is gone: nothing after this line runs."""


class WorkerStopped(Exception):
    """The process was stopped with SIGSTOP before it carried out what it was about to do."""


@dataclass
class _Late:
    at: int
    found: Found


class ModelKato:
    """A KATO whose every call may go wrong, by the number of the call."""

    def __init__(self, faults: Mapping[int, str]) -> None:
        self.kato = Kato(Options(visible_after=0.0, history=100_000))
        self.faults = faults
        self.calls = 0
        self.log: list[str] = []
        self.predicted: list[list[str]] | None = None
        """the STM of the last session that was asked for predictions"""
        self._late: list[_Late] = []

    def session(self, name: str) -> Session | None:
        return self.kato.sessions.peek_live(name)

    def land(self, *, everything: bool = False) -> None:
        """What was still running inside KATO, though its caller had given up, lands now."""
        due = [late for late in self._late if everything or late.at <= self.calls]
        self._late = [late for late in self._late if late not in due]
        for late in due:
            self.log.append(f"(late {late.found.name})")
            late.found.carry_out(self.kato)

    def answer(self, request: ports.KatoRequest) -> ports.KatoReply:
        self.calls += 1
        self.land()
        fault = self.faults.get(self.calls, "")
        parts = urlsplit(request.path)
        asked = Request(request.method, unquote(parts.path), parts.query.encode(), request.body or b"")
        found = find(asked)
        assert isinstance(found, Found), f"no route: {asked}"
        self.log.append(f"{self.calls} {found.name} {found.session_id[8:14]} {fault}".rstrip())
        if fault == "stopped":
            raise WorkerStopped
        if fault == "dies_before":
            raise WorkerDied
        if fault == "refused":
            raise KatoUnavailable("connection refused")
        if fault in NOT_PASSED_ON:
            return NOT_PASSED_ON[fault]
        if fault == "lost_before":
            raise OutcomeUnknown("the connection was lost")
        if fault.startswith("late"):
            self._late.append(_Late(self.calls + int(fault.split("_")[1]), found))
            raise OutcomeUnknown("time-out")
        if fault == "error_before":
            return _reply(server_error())
        if fault in ("not_found", "redis_down") and found.session_id:
            return _reply(gone(found.session_id))
        if fault == "redis_down":
            return _reply(server_error())
        session = self.session(found.session_id)
        if fault == "expire" and session is not None:
            self.kato.sessions.drop(session)
        if found.name == "predictions" and session is not None:
            self.predicted = list(session.stm)
        self.kato.brain.saving = fault != "not_saved" or found.name == "delete"
        self.kato.brain.clickhouse_up = fault != "clickhouse_down"
        try:
            done = found.carry_out(self.kato)
        finally:
            self.kato.brain.saving = self.kato.brain.clickhouse_up = True
        if fault == "dies_after":
            raise WorkerDied
        if fault == "lost_after":
            raise OutcomeUnknown("the connection was lost")
        return INSTEAD.get(fault) or _reply(done)


def _entry(event: Mapping[str, Any]) -> Entry:
    if event["event_type"] == "predict":
        return predict_entry(event["session_id"], event["event_id"])
    return entry_of(parse_event(event), event_id=event["event_id"])


def _reply(answer: Answer) -> ports.KatoReply:
    return ports.KatoReply(answer.status, answer.body)


INSTEAD = {
    "error_after": _reply(server_error()),
    "gateway_after": ports.KatoReply(503, b"<html>no</html>"),
    "too_many_after": ports.KatoReply(429, b'{"detail": "slow down"}', retry_after=0.001),
    "other_shape": ports.KatoReply(200, b"null"),
    "other_fields": ports.KatoReply(200, b'{"results": {}, "cognition_data": [], "pattern": 7, "predictions": "no"}'),
}
"""What is answered in the place of KATO's answer once it has applied the call."""


# --------------------------------------------------------------------------------- the oracle


@dataclass(frozen=True)
class Asked:
    """Where a predict stands in its session's order: behind so many events."""

    session: str
    after: int


Named = dict[tuple[str, int], list[str]]
"""session, position → the symbols that the store last said KATO holds for an observation with vectors"""


class Oracle:
    """What KATO must hold after these events: one after another, each once.

    Which learned vectors KATO adds to an event depends on when it saw it; so an event with vectors is what was written
    down of it, provided that this can be true: its own symbol, its strings, and vectors that were observed.
    """

    def __init__(self, named: Named) -> None:
        self.named = named
        self.stm: dict[str, list[list[str]]] = {}
        self.emotives: dict[str, list[dict[str, float]]] = {}
        self.said: dict[str, list[dict[str, Any]]] = {}
        self.asked: dict[str, Asked] = {}
        self.stm_at: dict[tuple[str, int], list[list[str]]] = {}
        """session, position → its STM behind that event"""
        self.patterns = Patterns(keep=10_000)
        self._events: dict[str, int] = {}

    def apply(self, session: str, event: Mapping[str, Any]) -> None:
        stm = self.stm.setdefault(session, [])
        self.emotives.setdefault(session, [])
        self.said.setdefault(session, [])
        kind = event["event_type"]
        if kind == "predict":
            self.asked[event["event_id"]] = Asked(session, self._events.get(session, 0))
            return
        self._events[session] = self._events.get(session, 0) + 1
        self._take(session, event)
        self.stm_at[session, self._events[session]] = list(stm)

    def _take(self, session: str, event: Mapping[str, Any]) -> None:
        stm, felt, said = self.stm[session], self.emotives[session], self.said[session]
        kind = event["event_type"]
        if kind == "observation":
            seen = event["observation"]
            symbols = sorted(seen["strings"])
            if seen.get("vectors"):
                symbols = self._with_vectors(session, vector_symbol(reduce(added, seen["vectors"])), symbols)
            if symbols:
                stm.append(symbols)
            if seen.get("emotives"):
                felt.append(seen["emotives"])
            if seen.get("metadata"):
                said.append(seen["metadata"])
            return
        if kind == "learn" and not stm:
            return  # nothing to learn: a dead letter, and everything stays as it is
        if kind == "learn":
            self.patterns.learn(list(stm), list(felt), list(said), visible_at=0.0, stored=True)
            self.patterns.show(1.0)
        stm.clear()
        felt.clear()
        said.clear()

    def _with_vectors(self, session: str, own: str, strings: list[str]) -> list[str]:
        held = self.named[session, self._events[session]]
        vectors = [symbol for symbol in held if symbol.startswith("VCTR|")]
        assert sorted(symbol for symbol in held if symbol not in vectors) == strings, (held, strings)
        assert own in vectors, (held, own)
        assert len(set(vectors)) == len(vectors) <= NEAREST + 1, held
        return held


# ---------------------------------------------------------------------------------- the lane


@dataclass
class Lane:
    """One node's sessions, its store and its KATO; workers come and go."""

    client: redis.Redis
    kato: ModelKato
    store_faults: Mapping[int, str]
    node: str = "n"
    batch: ports.Batch = field(default_factory=lambda: ports.Batch(400, 1_000_000))
    run: Callable[[], str] = lambda: "run"
    pieces: int = 1_000
    processes: int = 2
    """that take turns, each with what it knows"""
    operations: int = 0
    ended: list[BaseException | None] = field(default_factory=list)
    stopped: list[tuple[ports.Program[DrainedLane], ports.Effect[Any]]] = field(default_factory=list)
    predicted: dict[str, list[list[str]] | None] = field(default_factory=dict)
    """predict → the STM for which KATO made its answer; None: it was answered without KATO"""
    named: Named = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = RedisStore(self.client)
        self.lane = lane_of(self.node)
        self.partition = partition_of(self.lane)
        self.prefix = prefix(self.partition)
        self.known_sessions = [KnownSessions() for _ in range(self.processes)]
        self._turn = 0

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        entries = [_entry(event) for event in events]
        self.store.execute([ports.Append(self.partition, [(self.lane, self.node, e, 0) for e in entries])])

    def drained(self, rounds: int = 3_000) -> None:
        """Workers, one after another, until nothing is pending; fails when that takes too many of them."""
        for _ in range(rounds):
            if self.client.zcard(f"{self.prefix}pend:{self.lane}") == 0:
                return
            self.one_worker()
        raise AssertionError(f"not drained; {self.state()}; {self.kato.log[-40:]}")

    def one_worker(self) -> None:
        """One worker takes the lane when it is due, and drains it until it ends, dies or is stopped."""
        token = f"{random.getrandbits(64):x}"
        (works,) = self.store.execute([ports.AcquireLanes(self.partition, token, LEASE_MS, 1, self.batch)])
        if not works:
            # Nothing is due yet: what waits inside KATO has had the time to land.
            self.kato.land(everything=True)
            time.sleep(0.001)
            return
        held = ports.Lease(self.lane, token, LEASE_MS, self.batch)
        step = drain(self._context(held), works[0])
        self._carry_on(step, None)

    def _context(self, held: ports.Lease) -> LaneContext:
        left = [self.pieces]
        self._turn += 1

        def over() -> bool:
            left[0] -= 1
            return left[0] <= 0

        return LaneContext(
            lease=held,
            options=KatoSessionOptions((URL,), settle_ms=1),
            retry=RetryPolicy(0.001, 0.003, max_retries=1_000),
            on_rejected="dead_letter",
            on_exhausted="park",
            on_unknown_learn="go_on",
            slice_over=over,
            store_run=self.run,
            known_sessions=self.known_sessions[self._turn % self.processes],
        )

    def _carry_on(
        self, step: ports.Program[DrainedLane], effect: ports.Effect[Any] | None, *, stale: bool = False
    ) -> None:
        """Step a worker's generator to its end. ``stale``: it was continued after its lease had run out."""
        answer: Any = None
        error: BaseException | None = None
        first = effect is not None
        self.kato.predicted = None
        while True:
            if effect is None:
                try:
                    effect = step.throw(error) if error is not None else step.send(answer)
                except StopIteration:
                    self.ended.append(None)
                    return
                except (LeaseLost, StoreUnavailable) as exc:
                    self.ended.append(exc)
                    return
            answer, error = None, None
            if stale and not first and isinstance(effect, ports.KatoRequest):
                # What the drain's guard does: it asks nothing of KATO when its lease can have run out.
                error, effect = LeaseLost("the lease ran out"), None
                continue
            first = False
            try:
                answer = self._carried_out(effect)
            except WorkerDied:
                step.close()
                self.known_sessions[self._turn % self.processes] = KnownSessions()
                self._lease_runs_out()
                return
            except WorkerStopped:
                self.stopped.append((step, effect))
                self._lease_runs_out()
                return
            except (KatoError, LeaseLost) as exc:
                error = exc
            effect = None

    def continue_stopped(self) -> int:
        """Every stopped worker is continued, late; returns how many."""
        stopped, self.stopped = self.stopped, []
        for step, effect in stopped:
            self._carry_on(step, effect, stale=True)
        return len(stopped)

    def _lease_runs_out(self) -> None:
        self.client.delete(f"{self.prefix}lease:{self.lane}")
        self.client.zadd(f"{self.prefix}ready", {self.lane: 0})

    def _carried_out(self, effect: ports.Effect[Any]) -> Any:
        if isinstance(effect, ports.KatoRequest):
            return self.kato.answer(effect)
        self.operations += 1
        fault = self.store_faults.get(self.operations, "")
        if fault:
            self.kato.log.append(f"[store {type(effect).__name__} {fault}]")
        if fault == "stopped":
            raise WorkerStopped
        if fault == "dies_before":
            raise WorkerDied
        operations = effect.operations if isinstance(effect, ports.Together) else (effect,)
        answers = self.store.execute(operations)
        for operation, answer in zip(operations, answers, strict=True):
            if isinstance(operation, ports.Commit | ports.Bind) and not isinstance(answer, Exception):
                names = {(operation.session, at): json.loads(text) for at, text in operation.symbols}
                self.named.update({at: symbols for at, symbols in names.items() if symbols is not None})
        if isinstance(effect, ports.Commit) and effect.predict_id and not isinstance(answers[0], Exception):
            self.predicted[effect.predict_id] = self.kato.predicted
        # An answer is committed at once; what else KATO is asked for predictions for (a learn that is settled) is none.
        self.kato.predicted = None
        if fault == "dies_after":
            raise WorkerDied
        if fault == "twice" and not isinstance(effect, ports.Count):
            answers = self.store.execute(operations)
        for one in answers:
            if isinstance(one, Exception):
                raise one
        return answers if isinstance(effect, ports.Together) else answers[0]

    # ---------------------------------------------------------------------------- what is there

    def state(self) -> dict[str, dict[str, str]]:
        keys = list(self.client.scan_iter(f"{self.prefix}s:*", count=1_000))
        rows = {str(key).removeprefix(f"{self.prefix}s:"): self.client.hgetall(key) for key in keys}
        return {session: {str(k): str(v) for k, v in row.items()} for session, row in rows.items()}

    def open_intents(self) -> dict[str, dict[str, str]]:
        """Sessions in which a call is still written down as about to be sent."""
        return {s: state for s, state in self.state().items() if text_in(state, INTENT_FIELDS) or "ic" in state}

    def open_asks(self) -> list[str]:
        return [str(key) for key in self.client.scan_iter(f"{self.prefix}asks:*", count=1_000)]

    def result(self, session: str, event_id: str) -> dict[str, Any] | None:
        """What the caller of an event is told."""
        text = self.client.get(f"{self.prefix}r:{event_id}\n{session}")
        return json.loads(str(text)) if text else None

    def bound(self, session: str) -> Session | None:
        binding = Binding.load(text_in(self.state().get(session, {}), BINDING_FIELDS))
        return self.kato.session(binding.kato_session) if binding else None

    def stats(self) -> dict[str, int]:
        return {str(k): int(v) for k, v in self.client.hgetall(f"{self.prefix}stats").items()}

    def frequencies(self) -> dict[str, int]:
        node = self.kato.kato.sessions.node(self.lane)
        return dict(node.patterns.counts) if node else {}

    def dump(self) -> dict[str, bytes]:
        """Every key of the store, byte for byte, but for what runs out by itself (`learned:`)."""
        with redis.Redis.from_url(self.url()) as raw:
            names = [key for key in raw.scan_iter(count=1_000) if b":learned:" not in key]
            return {key.decode(): raw.dump(key) or b"" for key in names}

    def restore(self, dumped: Mapping[str, bytes]) -> None:
        """The store goes back to this."""
        with redis.Redis.from_url(self.url()) as raw:
            raw.flushdb()
            for key, value in dumped.items():
                raw.restore(key, 0, value)

    def url(self) -> str:
        at = self.client.connection_pool.connection_kwargs
        return f"redis://{at['host']}:{at['port']}/{at.get('db', 0)}"
