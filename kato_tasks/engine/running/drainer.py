"""What a wake-up does: lease ready lanes of its partitions, drain them side by side for one slice, give them back.

A lane whose call to KATO takes longer is finished in the background (``background.py``), so that neither a slow node
nor an instance that hangs costs a worker slot.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.drain import DrainedLane, drain
from kato_tasks.engine.drain.known_sessions import KnownSessions
from kato_tasks.engine.running.background import Background
from kato_tasks.engine.running.call_figures import CallFigures
from kato_tasks.engine.running.driver import Driver, Finished
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.engine.running.partition_turns import PartitionTurns
from kato_tasks.engine.running.room import Room
from kato_tasks.engine.running.slices import DrainOptions, Later, SliceResult, summarise
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Program
from kato_tasks.ports.kato import KatoRequest, KatoTransport
from kato_tasks.ports.lanes import AcquireLanes, Commit, Lease, Work
from kato_tasks.ports.operating import AddCallCounts
from kato_tasks.ports.store import Store
from kato_tasks.ports.waiting_tasks import Found, NoteDelivery, TakeOrWait
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
QUIET_SECONDS = 0.03
"""A task whose calls to KATO brought nothing for this long leaves them to the background."""
ROOM_SECONDS = 0.25
"""A wake-up waits this long for KATO to have room for more lanes, and ends then: its slot is for tasks, too."""
BACKGROUND_LANES = 1_000
"""How many lanes the background of a process takes. They become so many only where the result backend cannot keep up
with what ends there. A task then waits for its own calls, which slows all of it down to the backend's pace."""
DELIVERED_AT_ONCE = 100
"""How many results that were delivered are told to the store with one claim."""


@dataclass(frozen=True, slots=True)
class Token:
    """A fencing token, and when the call that took the lease with it began (monotonic seconds)."""

    text: str
    since: float


@dataclass(frozen=True, slots=True)
class AwaitedResult:
    """An event whose result is looked for while its lane is drained; ``found`` gets it when it comes up."""

    session: str
    event_id: str
    found: list[str] = field(default_factory=list)


class Drainer:
    """Drains lanes for one process. Thread-safe: each call has a driver of its own.

    ``check`` knows whether KATO takes the session config (None: it need not be asked). ``room`` is how many calls KATO
    can be given; without it, as many as ``options.lanes``. ``figures`` counts the calls, and is told to the store.
    """

    def __init__(
        self,
        store: Store,
        kato: KatoTransport,
        renewer: LeaseRenewer,
        options: DrainOptions,
        check: ConfigCheck | None = None,
        room: Room | None = None,
        figures: CallFigures | None = None,
    ) -> None:
        self._figures = figures or CallFigures()
        self._room = room or Room(options.lanes, options.lanes)
        self._store = store
        self._kato = kato
        self._renewer = renewer
        self._check = check
        self._background: Background[DrainedLane] = Background(store, kato)
        self._known_sessions = KnownSessions()
        self._delivered: deque[NoteDelivery] = deque(maxlen=10_000)
        self.options = options

    def note_delivered(self, lane: str, session: str, event_id: str) -> None:
        """Note that a task was told this event's result, which the store may then drop.

        The store hears of it with the next claim, which saves a round trip. Without another claim, the result expires.
        """
        self._delivered.append(NoteDelivery(lane, session, event_id))

    def _take_delivered(self) -> list[NoteDelivery]:
        taken: list[NoteDelivery] = []
        while self._delivered and len(taken) < DELIVERED_AT_ONCE:
            try:
                taken.append(self._delivered.popleft())
            except IndexError:  # another thread took it
                break
        return taken

    @property
    def in_background(self) -> int:
        """How many lanes are finished in the background now."""
        return len(self._background)

    @property
    def has_room(self) -> bool:
        """Whether KATO can be given another lane's call now. Without room a lane is better left to a wake-up's turn."""
        return self._room.calls_left() > 0

    def close(self, seconds: float) -> int:
        """Let the background finish what is under way, for at most ``seconds``. Returns how many lanes it left."""
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
    ) -> tuple[Found, Token]:
        """Find a task's result; where it is not there take its lane, or let the task wait (see ``ports.TakeOrWait``).

        Returns what was found, and the token of the lease that it may hold. Without ``lease`` the lane is not taken.
        Raises StoreUnavailable and StoreFailed.
        """
        token = uuid.uuid4().hex if lease else ""
        since = time.monotonic()
        operation = TakeOrWait(
            lane, session, event_id, position, task_id, request, token, self.options.lease_ms, self.options.batch, kind
        )
        (claimed,) = raise_errors(execute_with_retry(self._store, [*self._take_delivered(), operation])[-1:])
        return claimed, Token(token, since)

    def drain_claimed(
        self, work: Work, token: Token, session: str, event_id: str, later: Later | None = None
    ) -> tuple[SliceResult, str | None]:
        """Drain the lane that a claim took, for one slice.

        Returns what the slice did, and the result (JSON) of the event for which the lane was taken, if it came up. With
        ``later`` a call to KATO that takes long is left to the background; without it, it is waited for.
        """
        awaited = AwaitedResult(session, event_id)
        stop = time.monotonic() + self.options.slice_seconds
        step = self._begin_drain(work, token.text, stop, token.since, awaited)
        done = summarise(self._drive([step], None, stop, later))
        self._tell_figures()
        return done, awaited.found[0] if awaited.found else None

    def drain_partitions(self, partitions: Sequence[int], later: Later | None = None) -> SliceResult:
        """Drain what is ready in these partitions, for one slice. ``later``: see ``drain_claimed``.

        Lanes are leased only while KATO has room for their calls. Raises StoreUnavailable where the store is away
        before any lane is under way.
        """
        stop = time.monotonic() + self.options.slice_seconds
        turns = PartitionTurns(partitions)
        finished: list[Finished[DrainedLane]] = []
        begun = exhausted = False

        def leased(lanes: int) -> Sequence[tuple[str, Program[DrainedLane]]]:
            nonlocal begun, exhausted
            try:
                steps = self._lease(turns, stop, lanes)
            except StoreUnavailable as exc:
                if not begun:
                    raise
                # Those that are under way go on: each finds out for itself whether the store is back.
                log_event(log, logging.WARNING, "store.unavailable", error=exc)
                steps = []
            begun, exhausted = True, not steps
            return steps

        def more(in_flight: int) -> Sequence[tuple[str, Program[DrainedLane]]]:
            if exhausted or in_flight > self.options.lanes // 2 or time.monotonic() >= stop:
                return ()
            lanes = self._room.lanes_to_lease(self.options.lanes - in_flight)
            return leased(lanes) if lanes else ()

        while not exhausted and (now := time.monotonic()) < stop:
            lanes = self._room.wait_for_lanes(self.options.lanes, min(stop, now + ROOM_SECONDS))
            if not lanes:
                break
            if steps := leased(lanes):
                finished += self._drive(steps, more, stop, later)
        self._tell_figures()
        return summarise(finished, over=not exhausted)

    def _tell_figures(self) -> None:
        """Add this process's calls to KATO to the counts of all. A store that is away loses these counts."""
        if rows := self._figures.take_due():
            with contextlib.suppress(StoreUnavailable):
                self._store.execute([AddCallCounts(rows)])

    def _lease(self, turns: PartitionTurns, stop: float, lanes: int) -> list[tuple[str, Program[DrainedLane]]]:
        """Lease at most ``lanes`` lanes that are due: at least one, unless no partition of the wake-up has any."""
        token = uuid.uuid4().hex
        for shares in turns.take_round(lanes):
            since = time.monotonic()
            operations = [
                AcquireLanes(p, token, self.options.lease_ms, share, self.options.batch) for p, share in shares.items()
            ]
            answers = execute_with_retry(self._store, operations)
            turns.note(shares, answers)
            works = _collect_work(list(shares), answers)
            if works:
                return [self._begin_drain(work, token, stop, since) for work in works]
        return []

    def _begin_drain(
        self, work: Work, token: str, stop: float, since: float, awaited: AwaitedResult | None = None
    ) -> tuple[str, Program[DrainedLane]]:
        """Return a lane's name and its drain, which begins no piece of work after ``stop`` (monotonic seconds)."""
        options = self.options
        held = Lease(work.lane, token, options.lease_ms, options.batch)
        lane = LaneContext(
            lease=held,
            options=options.kato,
            retry=options.retry,
            on_rejected=options.on_rejected,
            on_exhausted=options.on_exhausted,
            on_unknown_learn=options.on_unknown_learn,
            slice_over=lambda: self._background.closing or time.monotonic() >= stop,
            store_run=self._store.run,
            check=self._check,
            known_sessions=self._known_sessions,
        )
        return work.lane, self._watch_lease(lane, work, since, awaited)

    def _watch_lease(
        self, lane: LaneContext, work: Work, leased_at: float, awaited: AwaitedResult | None
    ) -> Program[DrainedLane]:
        """Drain the lane, and send nothing to KATO once its lease can have run out."""
        step, held, renewer = drain(lane, work), lane.lease, self._renewer

        def may_send() -> bool:
            return renewer.is_live(held)

        value: object = None
        error: BaseException | None = None
        # Only now: a drain that is never begun must not have its lease renewed.
        renewer.track(held, leased_at)
        try:
            while True:
                try:
                    effect = step.throw(error) if error is not None else step.send(value)
                except StopIteration as stop:
                    return cast(DrainedLane, stop.value)
                error = None
                if isinstance(effect, KatoRequest):
                    effect = effect.sent_only_if(may_send)
                since = time.monotonic()
                try:
                    value = yield effect
                except Exception as exc:
                    error = exc
                    continue
                if getattr(effect, "held", None) is held:
                    renewer.renewed_at(held, since)
                    if awaited is not None and isinstance(effect, Commit) and effect.session == awaited.session:
                        awaited.found.extend(result for name, result in effect.results if name == awaited.event_id)
        finally:
            renewer.untrack(held)

    def _drive(
        self,
        steps: Sequence[tuple[str, Program[DrainedLane]]],
        more: Callable[[int], Sequence[tuple[str, Program[DrainedLane]]]] | None,
        stop: float,
        later: Later | None,
    ) -> list[Finished[DrainedLane]]:
        """Drive these drains and ``more``, and return those that ended. With ``later`` the background gets the rest."""
        driver: Driver[DrainedLane] = Driver(self._store, self._kato)
        if later is None or len(self._background) >= BACKGROUND_LANES:
            return driver.run(steps, more)
        finished = driver.run(steps, more, quiet_seconds=QUIET_SECONDS, until=stop)
        if not driver.idle:
            self._background.take(driver, lambda ended: later(summarise(ended)))
        return finished


def _collect_work(partitions: Sequence[int], answers: Sequence[Any]) -> list[Work]:
    """Return what these partitions gave. One that the store refuses does not stop the others.

    Raises StoreUnavailable where no partition gave anything, and one was not answered.
    """
    works: list[Work] = []
    for partition, answer in zip(partitions, answers, strict=True):
        if isinstance(answer, Exception):
            log_event(log, logging.WARNING, "partition.unleased", partition=partition, error=answer)
        else:
            works += answer
    if not works:  # else these are drained first
        raise_errors([answer for answer in answers if isinstance(answer, StoreUnavailable)])
    return works
