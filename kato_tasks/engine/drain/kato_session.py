"""Bindings: create, rebuild, fence. The new KATO session is always bound last, in one write under the token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.stm import STM_CAP, Rebuild, Stm, Symbols, applied, expected_stm, matches, rebuild_of
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, send_together
from kato_tasks.engine.drain.reading import FIRST_PIECE, batches, next_piece, size_of
from kato_tasks.errors import GatewayAnswered, KatoError, KatoFailed, KatoUnavailable, OutcomeUnknown
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Bind, Count, ReadSymbols, Work, WriteIntent
from kato_tasks.ports.log import ReadLog
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)

FARTHEST = 20 * STM_CAP
WHOLE_BYTES = 64_000_000
VECTORS_FAIL = 3
"""Once so much was in vain in a row (``Work.rebuilds``) vectors are not observed again: only their symbols are sent."""
UNREAD = 3
"""After so many tries in a row a KATO session that KATO cannot read is given up."""


class Mismatch(OutcomeUnknown):
    """KATO's session is not what the log says."""


class RebuildFailed(OutcomeUnknown):
    """KATO answered a rebuild with something else than the session's STM, or not in time.

    ``mismatch``: it answered all, and holds something that does not come of what was sent.
    """

    def __init__(self, message: str, *, mismatch: bool = False) -> None:
        super().__init__(message)
        self.mismatch = mismatch


class NotLearned(OutcomeUnknown):
    """KATO answers everything else, and a learn again with something else than that it learned."""


def history(work: Work, *, whole: bool = False) -> Step[tuple[list[Logged], Symbols]]:
    """What the session's STM is made of, oldest first: entries since the last learn or clear, up to the cursor.

    Read backwards until the STM's cap is filled; ``whole``: until the emotives and metadata that KATO would
    still hold are there too, at most ``FARTHEST`` entries back and no further than ``WHOLE_BYTES`` once it is filled.
    """
    if work.cursor <= work.mark:
        return [], {}
    chunks: list[list[Logged]] = []
    symbols: Symbols = {}
    last, events, held, count = work.cursor, 0, 0, FIRST_PIECE
    while last > work.mark and (events < STM_CAP or (whole and held < WHOLE_BYTES)) and work.cursor - last < FARTHEST:
        first = max(work.mark + 1, last - count + 1)
        read = ReadLog(work.lane, work.session, first, last)
        if chunks:
            chunks.append((yield from ask(read)))
        else:
            entries, symbols = yield from send_together((read, ReadSymbols(work.lane, work.session)))
            chunks.append(entries)
        events += sum(e.counts for e in chunks[-1])
        held += sum(size_of(e.body) for e in chunks[-1])
        last, count = first - 1, next_piece(chunks[-1], count)
    return [entry for chunk in reversed(chunks) for entry in chunk], symbols


def create(lane: LaneContext, work: Work, url: str) -> Step[str]:
    """A KATO session on the session's node. One whose answer is lost stays there until its TTL: it is counted.

    Where KATO itself answers 500 there is none: writing the session down is the last thing it does.
    """
    terms = lane.terms
    if work.create_lost:
        yield from ask(Count(work.lane, "leftovers"))
    try:
        return (yield from kato_api.create_session(url, work.node, terms.ttl_seconds, terms.session_config()))
    except KatoFailed:
        raise
    except OutcomeUnknown:
        yield from ask(Count(work.lane, "leftovers"))
        raise


def fresh(lane: LaneContext, work: Work, url: str, kato_session: str, *, time: int = 0, stm_length: int = 0) -> Binding:
    """The binding of a KATO session that was just created."""
    return Binding(
        url=url,
        kato_session=kato_session,
        node=work.node,
        time=time,
        stm_length=stm_length,
        epoch=work.binding.epoch + 1 if work.binding else 1,
        expires_ms=work.now_ms + lane.terms.ttl_seconds * 1000,
        run=lane.store_run(),
        shared=work.node_id != work.session,
    )


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A fresh KATO session that holds a session's STM, and is not bound yet.

    ``stm``: what it holds. ``symbols``: rows to be written down with the binding, for events with vectors that it holds
    otherwise than the store says. ``reordered``: how many events have their symbols in another order than KATO made
    them in.
    """

    binding: Binding
    stm: Stm
    symbols: Sequence[tuple[int, str]] = ()
    reordered: int = 0


def rebuilt(lane: LaneContext, work: Work) -> Step[Rebuilt]:
    """A fresh KATO session with the session's STM observed again and compared.

    Vectors go as they were observed. Where they bring other symbols by now (vectors that were learned since) the next
    try sends these events' symbols as strings, and if another try shows others still, those of every event. Which KATO
    sorts like strings: where that is another order, it is the nearest that KATO can hold. A try that is not kept, or
    fails, deletes what it made where it can; what it cannot is counted.
    """
    entries, symbols = yield from history(work, whole=True)
    url = lane.url(work)
    vectors = [e.position for e in entries if e.has_vectors]
    # Whatever goes wrong when they are sent as vectors may go well with their symbols.
    as_symbols = vectors if work.rebuilds >= VECTORS_FAIL else []
    while True:
        plan = rebuild_of(entries, symbols, frozenset(as_symbols))
        kato_session = yield from create(lane, work, url)
        work = replace(work, create_lost=False)
        try:
            stm = yield from _observed_again(lane, url, kato_session, plan)
            judged = plan.judged(stm)
            if judged is None:
                raise RebuildFailed("a rebuilt KATO session does not hold what was sent to it", mismatch=True)
        except KatoError as exc:
            yield from discarded(work, url, kato_session)
            if isinstance(exc, KatoUnavailable | GatewayAnswered | RebuildFailed):
                raise  # of KATO itself it says nothing
            raise RebuildFailed(f"rebuild: {exc}") from exc
        if not judged.others:
            break
        yield from discarded(work, url, kato_session)
        as_symbols = vectors if as_symbols else list(judged.others)
    yield from ask(Count(work.lane, "rebuilt"))
    if judged.reordered:
        yield from ask(Count(work.lane, "reordered"))
        say(
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
    binding = fresh(lane, work, url, kato_session, time=plan.time, stm_length=len(stm))
    return Rebuilt(binding, stm, rows, len(judged.reordered))


def _observed_again(lane: LaneContext, url: str, kato_session: str, plan: Rebuild) -> Step[Stm]:
    """Send it all; what KATO holds then."""
    for bodies in batches(plan.bodies, lane.held.batch):
        yield from kato_api.observe_sequence(url, kato_session, bodies)
    if not plan.bodies:
        return []
    seen = yield from kato_api.read_back(url, kato_session)
    if seen.time != plan.time:
        raise RebuildFailed(f"a rebuilt KATO session was sent {plan.time} observations and counts {seen.time}")
    return seen.stm


def discarded(work: Work, url: str, kato_session: str) -> Step[None]:
    """Delete a KATO session that nobody is going to use; one that cannot be deleted now is counted as left over."""
    try:
        yield from kato_api.delete_session(url, kato_session)
    except KatoError:
        yield from ask(Count(work.lane, "leftovers"))


def deleted(lane: LaneContext, work: Work, old: Binding) -> Step[None]:
    """The KATO session is gone when this returns.

    KATO also answers 404 while its own Redis fails, and the session lives on. That another session can be created
    proves that it does not fail now, so a second DELETE settles it.
    """
    if (yield from kato_api.delete_session(old.url, old.kato_session)):
        return
    probe = yield from create(lane, work, old.url)
    try:
        yield from kato_api.delete_session(old.url, old.kato_session)
    finally:
        yield from discarded(work, old.url, probe)


def fence(lane: LaneContext, work: Work, *, halve: int = 0, gone: bool = False) -> Step[Binding | None]:
    """Make sure that nothing sent so far counts, then bind a KATO session that holds the log up to the cursor.

    DELETE the old session, rebuild a new one, bind it last; the intent stays open until then. Returns None
    when there is nothing to rebuild: the next call creates a session. ``gone``: KATO answered 404 for it.
    """
    old, ltm_lost, answered_404 = work.binding, False, False
    settles = work.intent.call if work.intent else ""
    if old is not None:
        if work.intent is None or work.intent.kind != "fence":
            # Written first: a DELETE that was sent may land at any time, so whoever comes after a holder that
            # died, or was stopped, here must not keep this KATO session.
            marker = Intent(call=new_call_id(), kind="fence", first=work.cursor + 1, last=work.cursor)
            yield from ask(WriteIntent(lane.held, work.session, work.cursor, marker, follows=settles))
            settles = marker.call
        answered_404 = not (yield from kato_api.delete_session(old.url, old.kato_session))
        # Gone well before its time: KATO lost its store, patterns and all.
        ltm_lost = gone and answered_404 and work.now_ms < old.expires_ms - 60_000
    new: Rebuilt | None = None
    if work.cursor > work.mark or answered_404:
        # That a session can be created also proves that a 404 meant "gone" and not "my Redis is down".
        new = yield from rebuilt(lane, work)
        if old is not None and answered_404:
            try:
                yield from kato_api.delete_session(old.url, old.kato_session)
            except KatoError:
                yield from discarded(work, new.binding.url, new.binding.kato_session)
                raise
    yield from bind(lane, work, new, settles, halve=halve, ltm_lost=ltm_lost)
    yield from ask(Count(work.lane, "fenced"))
    return new.binding if new is not None else None


def bind(
    lane: LaneContext, work: Work, new: Rebuilt | None, settles: str, *, halve: int = 0, ltm_lost: bool = False
) -> Step[None]:
    """Bind a rebuilt KATO session with what it holds, in one write; None: the session has none from now on."""
    yield from ask(
        Bind(
            lane.held,
            work.session,
            work.cursor,
            new.binding if new is not None else None,
            settles=settles,
            halve=halve,
            ltm_lost=ltm_lost,
            symbols=new.symbols if new is not None else (),
            reordered=new.reordered if new is not None else 0,
        )
    )


def bound(lane: LaneContext, work: Work) -> Step[tuple[Binding, bool]]:
    """The session's binding and whether it is new (not written yet: the intent carries it).

    A session that has an STM and no live KATO session is rebuilt, and bound at once.
    """
    binding = work.binding
    if binding is not None and work.now_ms < binding.expires_ms:
        return binding, False
    if binding is not None or (yield from has_stm(work)):
        rebound = yield from fence(lane, work)
        if rebound is not None:
            return rebound, False
    url = lane.url(work)
    return fresh(lane, work, url, (yield from create(lane, work, url))), True


def has_stm(work: Work) -> Step[bool]:
    """Whether the log says that KATO holds anything for the session: refused events behind the cursor are nothing."""
    return bool(applied(*(yield from history(work))))


def verified(work: Work, binding: Binding) -> Step[list[list[str]]]:
    """KATO's STM, read and compared with the log; raises Mismatch (fence) when it is something else.

    Wanted before each learn and predict, because KATO can answer 200 without having saved.
    """
    entries, symbols = yield from history(work)
    try:
        seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    except KatoFailed as exc:
        if work.unsent < UNREAD:
            raise
        # A KATO whose Redis is away answers 404 here: it is this session that it cannot read.
        raise Mismatch(str(exc)) from exc
    if seen.time != binding.time or not matches(seen.stm, expected_stm(entries, symbols)):
        raise Mismatch(f"KATO's time is {seen.time} and its STM {len(seen.stm)} events; the log says otherwise")
    return seen.stm
