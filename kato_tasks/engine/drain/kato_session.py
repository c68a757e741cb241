"""Create, rebuild and fence KATO sessions. A new one is always bound last, in one write under the fencing token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged, count_events
from kato_tasks.domain.stm import STM_CAP, Rebuild, Stm, Symbols, applied, expected_stm, matches, rebuild_of
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, send_together
from kato_tasks.engine.drain.reading import FIRST_PIECE, next_piece_size, size_of, split_into_batches
from kato_tasks.errors import GatewayAnswered, KatoError, KatoFailed, KatoUnavailable, OutcomeUnknown
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Bind, Count, ReadSymbols, Work, WriteIntent
from kato_tasks.ports.log import ReadLog
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

FARTHEST = 20 * STM_CAP
"""How many log entries a rebuild reads at most."""
WHOLE_BYTES = 64_000_000
"""How many bytes of the log a rebuild reads at most for older emotives and metadata, once the STM is filled."""
VECTORS_FAIL = 3
"""After so many failures in a row (``Work.rebuilds``) a rebuild sends the symbols of vectors instead of the vectors."""
UNREAD = 3
"""After so many waits in a row a KATO session that KATO cannot read is given up."""


class Mismatch(OutcomeUnknown):
    """KATO's session holds something else than the log says."""


class RebuildFailed(OutcomeUnknown):
    """A rebuild failed: KATO did not answer it in time, or with something else than the session's STM.

    ``mismatch`` says that KATO answered every call, and holds something that cannot come of what was sent.
    """

    def __init__(self, message: str, *, mismatch: bool = False) -> None:
        super().__init__(message)
        self.mismatch = mismatch


class NotLearned(OutcomeUnknown):
    """KATO answers everything else, and answered a second learn with something else than that it learned."""


def read_history(work: Work, *, whole: bool = False) -> Program[tuple[list[Logged], Symbols]]:
    """Return what the session's STM is made of, and what KATO made of the vectors among it.

    The entries are those since the last learn or clear up to the cursor, oldest first. They are read backwards until
    the STM's cap is filled. With ``whole`` they go back until the emotives and metadata are there, too, that KATO would
    still hold: at most ``FARTHEST`` entries, and no further than ``WHOLE_BYTES`` once the STM is filled.
    """
    if work.cursor <= work.stm_start:
        return [], {}
    chunks: list[list[Logged]] = []
    symbols: Symbols = {}
    last, events, held, count = work.cursor, 0, 0, FIRST_PIECE
    while (
        last > work.stm_start and (events < STM_CAP or (whole and held < WHOLE_BYTES)) and work.cursor - last < FARTHEST
    ):
        # No entry is asked for that an STM without old emotives does not need: the store may have trimmed it.
        most = count if whole else min(count, STM_CAP - events)
        first = max(work.stm_start + 1, last - most + 1)
        read = ReadLog(work.lane, work.session, first, last)
        if chunks:
            chunks.append((yield from perform(read)))
        else:
            entries, symbols = yield from send_together((read, ReadSymbols(work.lane, work.session)))
            chunks.append(entries)
        events += count_events(chunks[-1])
        held += sum(size_of(e.body) for e in chunks[-1])
        last, count = first - 1, next_piece_size(chunks[-1], count)
    return [entry for chunk in reversed(chunks) for entry in chunk], symbols


def create_kato_session(lane: LaneContext, work: Work, url: str) -> Program[str]:
    """Create a KATO session on the session's node, and return its id. Raises KatoError or ConfigurationError.

    Where the answer is lost, the KATO session stays there until its time to live ends, and is counted in ``leftovers``.
    Where KATO itself answers 500 there is none: writing the session down is the last thing that KATO does.
    """
    options = lane.options
    if work.create_lost:
        yield from perform(Count(work.lane, "leftovers"))
    try:
        config = {**options.session_config(), **work.config}
        return (yield from kato_api.create_session(url, work.kato_node, options.ttl_seconds, config))
    except KatoFailed:
        raise
    except OutcomeUnknown:
        yield from perform(Count(work.lane, "leftovers"))
        raise


def make_binding(
    lane: LaneContext, work: Work, url: str, kato_session: str, *, time: int = 0, stm_length: int = 0
) -> Binding:
    """Return the binding of a KATO session that was just created, with what it holds."""
    return Binding(
        url=url,
        kato_session=kato_session,
        node=work.kato_node,
        time=time,
        stm_length=stm_length,
        epoch=work.binding.epoch + 1 if work.binding else 1,
        expires_ms=lane.expires(work),
        run=lane.store_run(),
        shared=work.node_id != work.session,
        config=work.config_digest,
    )


@dataclass(frozen=True, slots=True)
class RebuiltSession:
    """A new KATO session that holds a session's STM, and is not bound yet.

    ``stm`` is what it holds. ``symbols`` are rows (position, JSON) to be written down with the binding, for events with
    vectors that it holds otherwise than the store says. ``reordered`` is how many events have their symbols in another
    order than the one in which KATO made them.
    """

    binding: Binding
    stm: Stm
    symbols: Sequence[tuple[int, str]] = ()
    reordered: int = 0


def rebuild(lane: LaneContext, work: Work) -> Program[RebuiltSession]:
    """Create a KATO session, observe the session's STM again there, and compare what it holds.

    Vectors are sent as they were observed. Where they bring other symbols by now, because vectors were learned since,
    the next try sends the symbols of these events as strings; and if that shows other symbols still, a third try sends
    those of every event. KATO sorts them like strings: where that is another order, it is the nearest that KATO can
    hold. A try that fails, or is not kept, deletes the KATO session that it made, or counts it in ``leftovers``.

    Raises RebuildFailed, and KatoUnavailable or GatewayAnswered where KATO was not reached.
    """
    entries, symbols = yield from read_history(work, whole=True)
    url = lane.url(work)
    vectors = [e.position for e in entries if e.has_vectors]
    # What fails when the vectors are sent may succeed with their symbols.
    as_symbols = vectors if work.rebuilds >= VECTORS_FAIL else []
    while True:
        plan = rebuild_of(entries, symbols, frozenset(as_symbols))
        kato_session = yield from create_kato_session(lane, work, url)
        work = replace(work, create_lost=False)
        try:
            stm = yield from _observe_again(lane, url, kato_session, plan)
            judged = plan.judged(stm)
            if judged is None:
                raise RebuildFailed("a rebuilt KATO session does not hold what was sent to it", mismatch=True)
        except KatoError as exc:
            yield from discard(work, url, kato_session)
            if isinstance(exc, KatoUnavailable | GatewayAnswered | RebuildFailed):
                raise  # of KATO itself it says nothing
            raise RebuildFailed(f"rebuild: {exc}") from exc
        if not judged.others:
            break
        yield from discard(work, url, kato_session)
        as_symbols = vectors if as_symbols else list(judged.others)
    yield from perform(Count(work.lane, "rebuilt"))
    if judged.reordered:
        yield from perform(Count(work.lane, "reordered"))
        log_event(
            log,
            logging.WARNING,
            "session.reordered",
            session=work.session,
            lane=work.lane,
            events=len(judged.reordered),
            first=judged.reordered[0],
            reason="KATO sorts symbols of vectors that were learned since like strings: same symbols, another order",
        )
    rows = [
        (event.position, dumps(held))
        for event, held in zip(plan.events, stm, strict=True)
        if event.form != "strings" and held != symbols.get(event.position)
    ]
    binding = make_binding(lane, work, url, kato_session, time=plan.time, stm_length=len(stm))
    return RebuiltSession(binding, stm, rows, len(judged.reordered))


def _observe_again(lane: LaneContext, url: str, kato_session: str, plan: Rebuild) -> Program[Stm]:
    """Send the observations of a rebuild in batches, and return the STM that KATO holds then."""
    for bodies in split_into_batches(plan.bodies, lane.lease.batch):
        yield from kato_api.observe_sequence(url, kato_session, bodies)
    if not plan.bodies:
        return []
    seen = yield from kato_api.read_back(url, kato_session)
    if seen.time != plan.time:
        raise RebuildFailed(f"a rebuilt KATO session was sent {plan.time} observations and counts {seen.time}")
    return seen.stm


def discard(work: Work, url: str, kato_session: str) -> Program[None]:
    """Delete a KATO session that is not going to be used. One that cannot be deleted is counted in ``leftovers``."""
    try:
        yield from kato_api.delete_session(url, kato_session)
    except KatoError:
        yield from perform(Count(work.lane, "leftovers"))


def delete_surely(lane: LaneContext, work: Work, old: Binding) -> Program[None]:
    """Delete a KATO session, and return only when it is gone for certain. Raises KatoError.

    KATO also answers 404 while its own Redis fails, and the session lives on. That another session can be created
    proves that its Redis does not fail now, so a second DELETE decides.
    """
    if (yield from kato_api.delete_session(old.url, old.kato_session)):
        return
    probe = yield from create_kato_session(lane, work, old.url)
    try:
        yield from kato_api.delete_session(old.url, old.kato_session)
    finally:
        yield from discard(work, old.url, probe)


def fence(lane: LaneContext, work: Work, *, halve: int = 0, gone: bool = False) -> Program[Binding | None]:
    """Make sure that nothing sent so far counts, then bind a KATO session that holds the log up to the cursor.

    The old KATO session is deleted, a new one is rebuilt and bound last; the intent ``fence`` stays open until then.
    Returns the new binding, or None where there is nothing to rebuild: the next call creates a KATO session then.
    ``gone`` says that KATO answered 404 for the old one, and ``halve`` how many events the next call holds at most.

    Raises KatoError where KATO fails; the fence is finished later.
    """
    old, ltm_lost, answered_404 = work.binding, False, False
    settles = work.intent.call if work.intent else ""
    if old is not None:
        if work.intent is None or work.intent.kind != "fence":
            # Written first: a DELETE that was sent may land at any time, so the holder that comes after one that
            # died, or was stopped, here must not keep this KATO session.
            marker = Intent(call=new_call_id(), kind="fence", first=work.cursor + 1, last=work.cursor)
            yield from perform(WriteIntent(lane.lease, work.session, work.cursor, marker, replaces_call=settles))
            settles = marker.call
        answered_404 = not (yield from kato_api.delete_session(old.url, old.kato_session))
        # Gone well before its time: KATO lost its store, patterns and all.
        ltm_lost = gone and answered_404 and work.now_ms < old.expires_ms - 60_000
    new: RebuiltSession | None = None
    if work.cursor > work.stm_start or answered_404:
        # That a session can be created also proves that a 404 meant "gone" and not "my Redis is down".
        new = yield from rebuild(lane, work)
        if old is not None and answered_404:
            try:
                yield from kato_api.delete_session(old.url, old.kato_session)
            except KatoError:
                yield from discard(work, new.binding.url, new.binding.kato_session)
                raise
    yield from bind(lane, work, new, settles, halve=halve, ltm_lost=ltm_lost)
    yield from perform(Count(work.lane, "fenced"))
    return new.binding if new is not None else None


def bind(
    lane: LaneContext, work: Work, new: RebuiltSession | None, settles: str, *, halve: int = 0, ltm_lost: bool = False
) -> Program[None]:
    """Bind a rebuilt KATO session with what it holds (None: bind none), and close the call ``settles``, in one go."""
    yield from perform(
        Bind(
            lane.lease,
            work.session,
            work.cursor,
            new.binding if new is not None else None,
            closes_call=settles,
            events_at_most=halve,
            ltm_lost=ltm_lost,
            symbols=new.symbols if new is not None else (),
            reordered=new.reordered if new is not None else 0,
        )
    )


def ensure_bound(lane: LaneContext, work: Work) -> Program[tuple[Binding, bool]]:
    """Return the session's binding, and whether it is new: then it is not written yet, and the intent carries it.

    A session that has an STM and no live KATO session on its present node is rebuilt and bound here. Raises what
    ``fence`` raises.
    """
    binding = work.binding
    if binding is not None and work.now_ms < binding.expires_ms and not work.bound_elsewhere:
        return binding, False
    if binding is not None or (yield from has_stm(work)):
        rebound = yield from fence(lane, work)
        if rebound is not None:
            return rebound, False
    url = lane.url(work)
    return make_binding(lane, work, url, (yield from create_kato_session(lane, work, url))), True


def has_stm(work: Work) -> Program[bool]:
    """Return whether the log says that KATO holds an STM for the session. Events that were refused do not count."""
    return bool(applied(*(yield from read_history(work))))


def read_verified_stm(work: Work, binding: Binding) -> Program[list[list[str]]]:
    """Read KATO's STM, compare it with the log, and return it. Raises Mismatch where it is something else.

    This comes before each learn and predict, because KATO can answer 200 to an observe without having saved it.
    """
    entries, symbols = yield from read_history(work)
    try:
        seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    except KatoFailed as exc:
        if work.unsent_in_a_row < UNREAD:
            raise
        # A KATO whose Redis is away answers 404 here: it is this session that it cannot read.
        raise Mismatch(str(exc)) from exc
    if seen.time != binding.time or not matches(seen.stm, expected_stm(entries, symbols)):
        raise Mismatch(f"KATO's time is {seen.time} and its STM {len(seen.stm)} events; the log says otherwise")
    return seen.stm
