"""A scripted world for one lane's generators: KATO answers what the test wrote down, the store keeps one session.

The store's side does what its Lua scripts promise (the contract suite proves that they do): an intent is refused
while another is open, a bind closes the intent that it settles. `trace` is what was done, in its order, in words.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from kato_tasks import ports
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Entry, Logged, entry_of
from kato_tasks.engine.drain.context import KatoSessionOptions, LaneContext, Policy
from kato_tasks.engine.drain.drain import process_piece
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.engine.drain.states import TRANSITIONS, State, state_of
from kato_tasks.errors import KatoUnavailable, LeaseLost, OutcomeUnknown

T = TypeVar("T")
URL = "http://kato"
NOW_MS = 1_800_000_000_000
RUN = "run-1"
Stm = list[list[str]]
WAYS = {(way.state, way.next_state) for way in TRANSITIONS}


def observed(event_id: str, *strings: str, wanted: bool = False, **more: Any) -> Entry:
    seen = {"strings": list(strings), **more}
    event = {"session_id": "s", "event_id": event_id, "observation": seen}
    return entry_of(parse_event(event), event_id=event_id, wanted=wanted)


def plain(kind: str, event_id: str, *, wanted: bool = True) -> Entry:
    return entry_of(parse_event({"session_id": "s", "event_type": kind}), event_id=event_id, wanted=wanted)


def letters(text: str, *, wanted: bool = False) -> list[Entry]:
    """One observation of one string for each letter."""
    return [observed(f"e{i}", letter, wanted=wanted) for i, letter in enumerate(text, 1)]


def stm_of(text: str) -> Stm:
    return [[letter] for letter in text]


def logged(entries: Sequence[Entry]) -> list[Logged]:
    return [Logged.parse(i, entry.text) for i, entry in enumerate(entries, 1)]


# ------------------------------------------------------------------ what KATO may answer


def reply(body: Any, status: int = 200, retry_after: float | None = None) -> ports.KatoReply:
    return ports.KatoReply(status, json.dumps(body).encode(), retry_after)


def created(name: str = "new", **config: Any) -> ports.KatoReply:
    asked = {"process_predictions": False, "max_pattern_length": 0, **config}
    return reply({"session_id": name, "session_config": asked})


def sequence(count: int, *, time: int, stm_length: int) -> ports.KatoReply:
    return reply({"observations_processed": count, "results": [{"time": time}], "final_stm_length": stm_length})


def holds(stm: Stm, *, time: int | None = None) -> ports.KatoReply:
    now = len(stm) if time is None else time
    return reply({"cognition_data": {"time": now, "short_term_memory": stm}})


def frequency(count: int) -> ports.KatoReply:
    return reply({"pattern": {"status": "okay", "pattern": {"frequency": count}}})


OK = reply({"status": "okay"})
"""KATO's plain "done", in the words of the call that it answers."""
DONE = {
    "delete": {"status": "deleted"},
    "clear-stm": {"status": "cleared"},
    "extend": {"status": "extended"},
    "predictions": {"predictions": [], "future_potentials": []},
}
ERROR = ports.KatoReply(500, b"Internal Server Error")
GONE = reply({"error": {"code": "SESSION_NOT_FOUND"}}, 404)
BAD = reply({"detail": "no"}, 400)
BUSY = ports.KatoReply(
    503, b"Service Unavailable", content_type="text/plain; charset=utf-8", server="uvicorn", connection="close"
)
LOST = OutcomeUnknown("the connection was lost")
REFUSED = KatoUnavailable("connection refused")
Answer = ports.KatoReply | Exception


def forgotten() -> ports.KatoReply:
    """A pattern that KATO does not know, which is also how a failing ClickHouse looks."""
    return reply({"pattern": {"status": "error"}})


def learned(name: str) -> ports.KatoReply:
    return reply({"status": "learned", "pattern_name": name})


# ------------------------------------------------------------------------------- the world


@dataclass
class World:
    """One session `s` of lane `n`, its log, and a KATO that answers the script."""

    log: list[Logged]
    binding: Binding | None = None
    intent: Intent | None = None
    cursor: int = 0
    mark: int = 0
    attempts: int = 0
    unsent: int = 0
    asked: str = ""
    create_lost: bool = False
    now_ms: int = NOW_MS
    learned_ms: int = 0
    first_failed_ms: int = 0
    rebuilds: int = 0
    asked_until_ms: int = 0
    asked_before: int = 0
    marked: int = 0
    symbols: dict[int, list[str] | None] = field(default_factory=dict)
    lately: tuple[int, int] | None = None
    certain: tuple[int, int, str] | None = None
    unsettled: str | None = None
    others_open: bool = True
    """whether that session's learn really is open"""
    others: Intent | None = None
    parked: bool = False
    """whether the session whose learn is unsettled waits for a person"""
    known: str | None = None
    generation: str = ""
    """the node that KATO is told for the lane by now"""
    lends: bool = True
    """whether the store lets another session give up its KATO session"""
    trace: list[str] = field(default_factory=list)
    done: list[ports.Effect[Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    script: list[tuple[str, Answer]] = field(default_factory=list)
    ways: list[tuple[State, State]] = field(default_factory=list)
    """from which state of an intent to which each write led"""
    lost_lease: bool = False
    otherwise: dict[str, Answer] = field(default_factory=dict)
    """What KATO answers to calls that the script does not say."""

    def kato(self, route: str, answer: Answer) -> World:
        """The next call to KATO is this one, and gets this answer."""
        self.script.append((route, answer))
        return self

    def work(self, last: int | None = None) -> ports.Work:
        """The piece of work that a lease hands out: the run after the cursor, up to ``last``."""
        run: list[Logged] = []
        for entry in [] if self.asked else self.log[self.cursor : last]:
            if run and entry.kind != "o":
                break
            run.append(entry)
            if entry.kind != "o":
                break
        return ports.Work(
            lane="n",
            session="s",
            node="n",
            head=len(self.log),
            cursor=self.cursor,
            stm_start=self.mark,
            binding=self.binding,
            intent=self.intent,
            attempts=self.attempts,
            unsent_in_a_row=self.unsent,
            create_lost=self.create_lost,
            predict_id=self.asked,
            now_ms=self.now_ms,
            entries=tuple(run),
            learned_ms=self.learned_ms,
            first_failed_ms=self.first_failed_ms,
            rebuilds=self.rebuilds,
            predict_until_ms=self.asked_until_ms,
            predict_tries=self.asked_before,
            generation=self.generation,
        )

    def run(self, step: ports.Program[T]) -> T:
        """Drive a generator to its end; the script must be used up."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = step.throw(error) if error is not None else step.send(answer)
            except StopIteration as stop:
                assert not self.script, f"KATO was not asked {self.script}; {self.trace}"
                result: T = stop.value
                return result
            answer, error = None, None
            try:
                answer = self._answer(effect)
            except (LeaseLost, OutcomeUnknown, KatoUnavailable) as exc:
                error = exc

    def turn(self, lane: LaneContext | None = None, last: int | None = None) -> ports.NextWork:
        """One piece of work of the session, as the store has it now."""
        return self.run(process_piece(lane or context(), self.work(last)))

    def _answer(self, effect: ports.Effect[Any]) -> Any:
        self.done.append(effect)
        match effect:
            case ports.KatoRequest():
                return self._kato(effect)
            case ports.Together():
                return [self._answer(part) for part in effect.operations]
            case ports.ReadLog():
                return self.log[effect.first - 1 : effect.last]
            case ports.ReadSymbols():
                return dict(self.symbols)
            case ports.ReadSession(session=other) if other != "s":
                return None, self.others
            case ports.ReadSession():
                return self.binding, self.intent
            case ports.FlagNodeForRebuild():
                self.marked += 1
                return None
            case ports.Renew():
                return not self.lost_lease
            case ports.LearnedLately() | ports.CertainFrequency():
                return self.lately if isinstance(effect, ports.LearnedLately) else self.certain
            case ports.UnsettledLearn(pattern=pattern):
                self.others = Intent("theirs", "settle", 1, 1, pattern=pattern) if self.others_open else None
                return self.unsettled
            case ports.IsParked():
                return self.parked
            case ports.KnownPattern():
                return self.known
            case ports.Count():
                self.counts[effect.name] = self.counts.get(effect.name, 0) + effect.by
                return None
        if self.lost_lease:
            raise LeaseLost("the lane's lease passed to another worker")
        return self._written(effect)

    def _kato(self, request: ports.KatoRequest) -> ports.KatoReply:
        session = request.path.split("/")[2] if request.path.startswith("/sessions/") else ""
        self.trace.append(f"{request.route} {session}".rstrip())
        if request.route in self.otherwise and (not self.script or self.script[0][0] != request.route):
            answer = self.otherwise[request.route]
        else:
            assert self.script, f"KATO was asked {request.route} and nothing was expected; {self.trace}"
            route, answer = self.script.pop(0)
            assert request.route == route, f"KATO was asked {request.route}, not {route}; {self.trace}"
        if isinstance(answer, Exception):
            raise answer
        return reply(DONE.get(request.route, {"status": "okay"})) if answer is OK else answer

    def _written(self, effect: ports.Effect[Any]) -> Any:
        before = state_of(self.intent)
        answer = self._write(effect)
        after = state_of(self.intent)
        if isinstance(effect, ports.WriteIntent) or after != before:
            assert after == before or (before, after) in WAYS, f"states.TRANSITIONS has no way {before} → {after}"
            self.ways.append((before, after))
        return answer

    def _write(self, effect: ports.Effect[Any]) -> Any:
        match effect:
            case ports.WriteIntent(intent=intent):
                assert effect.cursor == self.cursor
                open_call = self.intent.call if self.intent else None
                if open_call not in (None, intent.call, effect.replaces_call):
                    raise LeaseLost("another intent is open")
                if effect.lender and not self.lends:
                    return False
                self.intent = intent
                self.binding = effect.binding or self.binding
                self.trace.append(f"intent {intent.kind}")
                return True
            case ports.Bind():
                assert effect.cursor == self.cursor
                if self.intent is not None and self.intent.call != effect.closes_call:
                    raise LeaseLost("another intent is open")
                self.binding, self.intent, self.rebuilds = effect.binding, None, 0
                self.trace.append(f"bind {effect.binding.kato_session if effect.binding else 'none'}")
                return None
            case ports.Commit():
                if self.intent is not None and self.intent.call != effect.call_id:
                    raise LeaseLost("another intent is open")
                assert effect.cursor == self.cursor
                self.cursor, self.intent, self.attempts, self.unsent = effect.cursor_to, None, 0, 0
                if not effect.keep_binding:
                    self.binding = effect.binding
                if effect.stm_start is not None:
                    self.mark = effect.stm_start
                self.symbols |= {position: json.loads(text) for position, text in effect.symbols}
                if effect.predict_id:
                    self.asked = ""
                self.trace.append(f"commit {effect.cursor_to}" + (" and park" if effect.park_reason else ""))
            case ports.Defer():
                self.attempts, self.unsent = effect.attempts, effect.unsent_in_a_row
                self.rebuilds = effect.rebuilds or self.rebuilds
                if effect.withdraw and self.intent is not None and self.intent.call == effect.withdraw:
                    self.intent = None
                self.trace.append("defer")
            case ports.Park():
                self.trace.append("park")
            case _:
                raise AssertionError(f"not expected: {effect}")
        return ports.NextWork(-1, None)

    # ---------------------------------------------------------------- what was done

    def of(self, kind: type[T]) -> list[T]:
        return [effect for effect in self.done if isinstance(effect, kind)]

    def the(self, kind: type[T]) -> T:
        (only,) = self.of(kind)
        return only

    def sent(self, route: str) -> list[str]:
        """The bodies of the calls of one route."""
        return [(r.body or b"").decode() for r in self.of(ports.KatoRequest) if r.route == route]


def bound_at(stm_length: int, *, time: int | None = None, name: str = "old", **more: Any) -> Binding:
    now = stm_length if time is None else time
    live = Binding(URL, name, "n", now, stm_length, 1, NOW_MS + 3_600_000, run=RUN)
    return replace(live, **more)


def context(
    *,
    on_rejected: Policy = "dead_letter",
    on_exhausted: Policy = "park",
    on_unknown_learn: Literal["go_on", "park"] = "go_on",
    retry: RetryPolicy | None = None,
    verify_last: bool = False,
    settle_ms: int = 1_000,
    run: str = RUN,
    over: bool = False,
    urls: tuple[str, ...] = (URL,),
) -> LaneContext:
    return LaneContext(
        lease=ports.Lease("n", "token", 5_000, ports.Batch(400, 1_000_000)),
        options=KatoSessionOptions(urls, settle_ms=settle_ms, verify_last=verify_last),
        retry=retry or RetryPolicy(rng=random.Random(1)),
        on_rejected=on_rejected,
        on_exhausted=on_exhausted,
        on_unknown_learn=on_unknown_learn,
        slice_over=lambda: over,
        store_run=lambda: run,
    )
