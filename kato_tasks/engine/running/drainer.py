"""What a wake-up does: take ready lanes of its partitions, drain them side by side for one slice, give them back.

A lane whose call to KATO takes longer is finished in the background (``background.py``), so that neither a slow node
nor an instance that hangs costs a worker slot.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.context import KatoTerms, LaneContext, Policy
from kato_tasks.engine.drain.drain import Drained, drain
from kato_tasks.engine.drain.familiar import Familiar
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.engine.running.background import Background
from kato_tasks.engine.running.driver import Driver, Finished
from kato_tasks.engine.running.lease_renewal import LeaseKeeper
from kato_tasks.engine.running.room import Room
from kato_tasks.engine.store_retry import patiently, raise_errors
from kato_tasks.errors import LeaseLost, StoreUnavailable
from kato_tasks.ports.effects import Step
from kato_tasks.ports.kato import KatoRequest, KatoTransport
from kato_tasks.ports.lanes import Batch, Commit, Held, Lease, Parked, Work
from kato_tasks.ports.store import Store
from kato_tasks.ports.waiting_tasks import Claim, Claimed, Delivered
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
Wanted = tuple[str, str, list[str]]
"""session, event_id, and where its result goes"""
QUIET_SECONDS = 0.03
"""A task whose calls to KATO brought nothing for so long leaves them to the background."""
ROOM_SECONDS = 0.25
"""A wake-up waits so long for KATO to have room for more lanes, and ends: its slot is for tasks, too."""
SOON_MS = 500
"""A lane that is due within so long is not left to the sweep, which looks once a second."""
BACKGROUND_LANES = 1_000
"""Lanes that the background of a process takes at most. They come to be so many only where the result backend cannot
keep up with what ends there; a task then waits for its own calls, which slows all of it down to the backend's pace."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How lanes are drained: sizes, times and policies."""

    kato: KatoTerms
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_rejected: Policy = "dead_letter"
    on_exhausted: Policy = "park"
    on_unknown_learn: Literal["go_on", "park"] = "go_on"
    lease_ms: int = 5_000
    batch: Batch = field(default_factory=lambda: Batch(400, 1_000_000))
    slice_seconds: float = 1.0
    lanes: int = 64


@dataclass(frozen=True, slots=True)
class Token:
    """A fencing token, and when (monotonic seconds) the call that took the lease with it began."""

    text: str
    since: float


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice did: parked tasks whose results are there, and which lanes are due again already, or soon.

    ``due_soon``: lane → ms by the store's clock, for a wait that is shorter than the sweep's rounds.
    """

    lanes: int
    completed: tuple[Parked, ...]
    lane_of: dict[str, str]
    due_lanes: frozenset[str]
    due_soon: dict[str, int] = field(default_factory=dict)
    over: bool = False
    """the slice ended before every partition was found empty: there may be more to do"""


Later = Callable[[Slice], None]
"""Told, in another thread, what became of the lanes that were left to the background."""


class Drainer:
    """Drains lanes for one process. Thread-safe: each call has a driver of its own."""

    def __init__(
        self,
        store: Store,
        kato: KatoTransport,
        keeper: LeaseKeeper,
        terms: Terms,
        check: ConfigCheck | None = None,
        room: Room | None = None,
    ) -> None:
        self._room = room or Room(terms.lanes, terms.lanes)
        self._store = store
        self._kato = kato
        self._keeper = keeper
        self._check = check
        self._background: Background[Drained] = Background(store, kato)
        self._familiar = Familiar()
        self._delivered: deque[Delivered] = deque(maxlen=10_000)
        self.terms = terms

    def delivered(self, lane: str, session: str, event_id: str) -> None:
        """A task was told this event's result: the store hears of it with the next claim, at no round trip of its own.

        Should there be none, the result expires.
        """
        self._delivered.append(Delivered(lane, session, event_id))

    def _heard(self) -> list[Delivered]:
        heard: list[Delivered] = []
        while self._delivered and len(heard) < 100:
            try:
                heard.append(self._delivered.popleft())
            except IndexError:  # another thread took it
                break
        return heard

    @property
    def in_background(self) -> int:
        """How many lanes are finished in the background now."""
        return len(self._background)

    @property
    def has_room(self) -> bool:
        """Whether KATO can be given another lane's call now; else the lane is better left to a wake-up's turn."""
        return self._room.left() > 0

    def close(self, seconds: float) -> int:
        """Let the background finish what is under way, at most so long; returns how many lanes it had to leave."""
        return self._background.close(seconds)

    def claim(
        self,
        *,
        lane: str,
        session: str,
        event_id: str,
        position: int,
        task_id: str,
        request: str,
        lease: bool,
        kind: str = "",
    ) -> tuple[Claimed, Token]:
        """Find a task's result, or take its lane, or park it (see ``ports.Claim``); with the token it may hold."""
        token = uuid.uuid4().hex if lease else ""
        since = time.monotonic()
        operation = Claim(
            lane, session, event_id, position, task_id, request, token, self.terms.lease_ms, self.terms.batch, kind
        )
        (claimed,) = raise_errors(patiently(self._store, [*self._heard(), operation])[-1:])
        return claimed, Token(token, since)

    def drain_claimed(
        self, work: Work, token: Token, session: str, event_id: str, later: Later | None = None
    ) -> tuple[Slice, str | None]:
        """Drain the lane that a claim took; also the result of the event that it was taken for, if it came up.

        With ``later`` a call to KATO that takes long is left to the background; without, it is waited for.
        """
        now = time.monotonic()
        found: list[str] = []
        stop = now + self.terms.slice_seconds
        step = self._step(work, token.text, stop, token.since, (session, event_id, found))
        done = _slice(self._driven([step], None, stop, later))
        return done, found[0] if found else None

    def drain_partitions(self, partitions: Sequence[int], later: Later | None = None) -> Slice:
        """Drain what is ready in these partitions for one slice. ``later``: see ``drain_claimed``.

        Lanes are leased only while KATO has room for their calls.
        """
        stop = time.monotonic() + self.terms.slice_seconds
        turns = _Turns(partitions)
        finished: list[Finished[Drained]] = []
        begun = exhausted = False

        def leased(lanes: int) -> Sequence[tuple[str, Step[Drained]]]:
            nonlocal begun, exhausted
            try:
                steps = self._lease(turns, stop, lanes)
            except StoreUnavailable as exc:
                if not begun:
                    raise
                # Those that are under way go on: each finds out for itself whether the store is back.
                say(log, logging.WARNING, "store.unavailable", error=exc)
                steps = []
            begun, exhausted = True, not steps
            return steps

        def more(in_flight: int) -> Sequence[tuple[str, Step[Drained]]]:
            if exhausted or in_flight > self.terms.lanes // 2 or time.monotonic() >= stop:
                return ()
            lanes = self._room.lanes(self.terms.lanes - in_flight)
            return leased(lanes) if lanes else ()

        while not exhausted and (now := time.monotonic()) < stop:
            lanes = self._room.wait(self.terms.lanes, min(stop, now + ROOM_SECONDS))
            if not lanes:
                break
            if steps := leased(lanes):
                finished += self._driven(steps, more, stop, later)
        return _slice(finished, over=not exhausted)

    def _lease(self, turns: _Turns, stop: float, lanes: int) -> list[tuple[str, Step[Drained]]]:
        """Lease up to so many lanes that are due; none only when no partition of the wake-up has any."""
        token = uuid.uuid4().hex
        for partitions, share in turns.round(lanes):
            since = time.monotonic()
            operations = [Lease(p, token, self.terms.lease_ms, share, self.terms.batch) for p in partitions]
            works = _leased(partitions, patiently(self._store, operations))
            if works:
                return [self._step(work, token, stop, since) for work in works]
        return []

    def _step(
        self, work: Work, token: str, stop: float, since: float, wanted: Wanted | None = None
    ) -> tuple[str, Step[Drained]]:
        terms = self.terms
        held = Held(work.lane, token, terms.lease_ms, terms.batch)
        lane = LaneContext(
            held=held,
            terms=terms.kato,
            retry=terms.retry,
            on_rejected=terms.on_rejected,
            on_exhausted=terms.on_exhausted,
            on_unknown_learn=terms.on_unknown_learn,
            slice_over=lambda: self._background.closing or time.monotonic() >= stop,
            store_run=self._store.run,
            check=self._check,
            familiar=self._familiar,
        )
        return work.lane, self._kept(lane, work, since, wanted)

    def _kept(self, lane: LaneContext, work: Work, leased_at: float, wanted: Wanted | None) -> Step[Drained]:
        """The lane's drain, with its lease watched: nothing is sent to KATO once the lease can have run out."""
        step, held, keeper = drain(lane, work), lane.held, self._keeper

        def still() -> bool:
            return keeper.sure(held)

        value: object = None
        error: BaseException | None = None
        # Only now: a drain that is never begun must not have its lease renewed.
        keeper.hold(held, leased_at)
        try:
            while True:
                try:
                    effect = step.throw(error) if error is not None else step.send(value)
                except StopIteration as stop:
                    return cast(Drained, stop.value)
                error = None
                if isinstance(effect, KatoRequest):
                    effect = effect.guarded(still)
                since = time.monotonic()
                try:
                    value = yield effect
                except Exception as exc:
                    error = exc
                    continue
                if getattr(effect, "held", None) is held:
                    keeper.confirm(held, since)
                    if wanted is not None and isinstance(effect, Commit) and effect.session == wanted[0]:
                        wanted[2].extend(result for name, result in effect.results if name == wanted[1])
        finally:
            keeper.let_go(held)

    def _driven(
        self,
        steps: Sequence[tuple[str, Step[Drained]]],
        more: Callable[[int], Sequence[tuple[str, Step[Drained]]]] | None,
        stop: float,
        later: Later | None,
    ) -> list[Finished[Drained]]:
        """Drive these and ``more``; returns those that ended. With ``later`` the background has the others then."""
        driver: Driver[Drained] = Driver(self._store, self._kato)
        if later is None or len(self._background) >= BACKGROUND_LANES:
            return driver.run(steps, more)
        finished = driver.run(steps, more, quiet_seconds=QUIET_SECONDS, until=stop)
        if not driver.idle:
            self._background.take(driver, lambda ended: later(_slice(ended)))
        return finished


class _Turns:
    """The partitions of a wake-up in the order in which they are asked for lanes."""

    def __init__(self, partitions: Sequence[int]) -> None:
        self._partitions = deque(partitions)

    def round(self, lanes: int) -> Iterator[tuple[Sequence[int], int]]:
        """Groups of partitions that make one lease of so many lanes at most, each with how many a partition may give.

        All partitions once.
        """
        left = len(self._partitions)
        while left > 0:
            group = [self._partitions[i] for i in range(min(lanes, left))]
            self._partitions.rotate(-len(group))
            left -= len(group)
            yield group, max(1, lanes // len(group))


def _leased(partitions: Sequence[int], answers: Sequence[Any]) -> list[Work]:
    """What these partitions gave; one that the store refuses does not stop the others."""
    works: list[Work] = []
    for partition, answer in zip(partitions, answers, strict=True):
        if isinstance(answer, Exception):
            say(log, logging.WARNING, "partition.unleased", partition=partition, error=answer)
        else:
            works += answer
    if not works:  # else these are drained first
        raise_errors([answer for answer in answers if isinstance(answer, StoreUnavailable)])
    return works


def _slice(finished: Sequence[Finished[Drained]], *, over: bool = False) -> Slice:
    """What became of these lanes, and a line in the log for each that ended otherwise than it should."""
    completed: list[Parked] = []
    lanes: dict[str, str] = {}
    due: set[str] = set()
    soon: dict[str, int] = {}
    now = time.time() * 1000 + 100  # the store's clock may be a little ahead
    for end in finished:
        if end.value is not None:
            completed += end.value.completed
            lanes.update((parked.session, end.value.lane) for parked in end.value.completed)
            if 0 <= end.value.due_ms <= now:
                due.add(end.value.lane)
            elif now < end.value.due_ms <= now + SOON_MS:
                soon[end.value.lane] = end.value.due_ms
        elif isinstance(end.error, LeaseLost):
            say(log, logging.WARNING, "lane.lost", lane=end.key, reason=end.error)
        elif isinstance(end.error, StoreUnavailable):
            # Nothing more can be written: the lease runs out and the next holder reconciles.
            say(log, logging.WARNING, "store.unavailable", lane=end.key, error=end.error)
        elif end.error is not None:
            say(log, logging.ERROR, "lane.failed", lane=end.key, error=end.error, exc_info=end.error)
    return Slice(len(finished), tuple(completed), lanes, frozenset(due), soon, over)
