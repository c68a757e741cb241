"""The intent table: what is done in each situation of each state. ``states`` says what the words mean.

The rule behind it: after a changing call there is a commit, or nothing more is sent for that session until it is known,
or made irrelevant, what became of the call. docs/reconcile.md gives the reasons for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from kato_tasks.domain.kato_session import Intent
from kato_tasks.engine.drain import learning, observing, predicting, recovery, settling
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.endings import fence_and_defer
from kato_tasks.engine.drain.states import Situation, State, situation_of, state_of, store_was_restored
from kato_tasks.errors import GatewayAnswered, KatoError
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Bind, NextWork, Work


@dataclass(frozen=True, slots=True)
class Case:
    """A session that is to be handled: as the store has it now, and what ended its piece of work.

    ``failure`` is a KatoSessionGone or an OutcomeUnknown; None: the piece of work only begins.
    """

    work: Work
    failure: KatoError | None = None

    @property
    def intent(self) -> Intent:
        """The open intent, in states that have one."""
        assert self.work.intent is not None
        return self.work.intent

    @property
    def error(self) -> str:
        """What its last try met, for a person."""
        return str(self.failure)


Handler = Callable[[LaneContext, Case], Program[NextWork]]


@dataclass(frozen=True, slots=True)
class Impossible:
    """A pair of state and situation that ``situation_of`` never names, and why not."""

    reason: str


def handle(lane: LaneContext, case: Case, *, was_open: bool = False) -> Program[NextWork]:
    """Do what the table says for this session. Raises KatoError where that fails, or where the intent stays open.

    ``was_open`` says whether an intent was open when the piece of work began.
    """
    work = case.work
    state = state_of(work.intent)
    situation = situation_of(work, lane.store_run(), case.failure, was_open=was_open)
    handler = HANDLERS[state][situation]
    if isinstance(handler, Impossible):
        raise AssertionError(f"{state}, {situation.value}: {handler.reason}")
    if situation in TRACK_LOST and state != "fence" and store_was_restored(work, lane.store_run()):
        yield from recovery.count_possible_repeats(lane, work)
    return (yield from handler(lane, case))


# --------------------------------------------------------------------------------------------- no intent is open


def begin(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Carry out what the log has next for the session."""
    work = case.work
    if work.predict_id:
        return (yield from predicting.predict(lane, work))
    if not work.entries:
        return (yield from observing.keep_alive(lane, work))
    kind = work.entries[0].kind
    if kind == "o":
        return (yield from observing.observe(lane, work))
    if kind == "l":
        return (yield from learning.learn(lane, work))
    return (yield from learning.clear(lane, work))


def compare_and_begin(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Find out from KATO how far the session is; go on where it is as the log says, else fence."""
    work = case.work
    assert work.binding is not None
    found = yield from recovery.compare_after_restore(lane, work, work.binding)
    if isinstance(found, NextWork):
        return found
    if found is None:
        waiting = yield from recovery.wait_for_late_learns(lane, work, work.binding)
        if waiting is not None:
            return waiting
        return (yield from fence_and_defer(lane, work, "KATO holds something else than the log says", blame=False))
    if found.shared:
        # The store may have forgotten that another session came to be served by it, and what that one sends yet.
        yield from recovery.count_possible_repeats(lane, work)
        why = "its KATO session may have come to serve another session before the store went back"
        return (yield from fence_and_defer(lane, work, why, blame=False))
    yield from perform(Bind(lane.lease, work.session, work.cursor, found))
    return (yield from begin(lane, Case(replace(work, binding=found))))


def unbind_and_begin(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Count the learns that may be repeated, and go on without a KATO session.

    What the session was bound to after it lent its KATO session may be forgotten, with all that was learned there.
    """
    work = case.work
    yield from recovery.count_possible_repeats(lane, work)
    yield from perform(Bind(lane.lease, work.session, work.cursor, None))
    return (yield from handle(lane, Case(replace(work, gave_up_in=""))))


def move_and_begin(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Go on, of which the first step that needs a KATO session builds one on the present node.

    What a store that went back forgot was done on the present node. Learns that may be repeated there are counted.
    """
    if store_was_restored(case.work, lane.store_run()):
        yield from recovery.count_possible_repeats(lane, case.work)
        why = "the store went back, and its KATO session is on the node of another generation"
        return (yield from fence_and_defer(lane, case.work, why, blame=False))
    return (yield from begin(lane, case))


def leave_other_generation(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Fence, and carry out the event on the present node, whatever became of its call on the node before.

    A switch is refused while a call is open, so only a store that lost rows comes here. Committing what the other node
    has would lose the event for the present one, which never got it.
    """
    if store_was_restored(case.work, lane.store_run()):
        yield from recovery.count_possible_repeats(lane, case.work)
    why = "the lane was switched to another generation of its node while a call was open"
    return (yield from fence_and_defer(lane, case.work, why, blame=False))


# ---------------------------------------------------------------------------------------------- an observe is open


def read_back_found(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Read KATO back: commit what was applied as intended; anything else is fenced."""
    done = yield from observing.reconcile_observe(lane, case.work, case.intent)
    if done is not None:
        return done
    why = "the call had not been applied when it was read back"
    return (yield from fence_and_defer(lane, case.work, why, blame=not case.intent.again))


def compare_and_read_back(lane: LaneContext, case: Case) -> Program[NextWork]:
    """The same after the store was restored: KATO may be farther than this intent, which the store remembers."""
    work = case.work
    assert work.binding is not None
    found = yield from recovery.compare_after_restore(lane, work, work.binding)
    if isinstance(found, NextWork):
        return found
    if found is None:
        waiting = yield from recovery.wait_for_late_learns(lane, work, work.binding)
        if waiting is not None:
            return waiting
    return (yield from read_back_found(lane, case))


def read_back_or_fence(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Read KATO back after this very call failed: commit what was applied as intended; anything else is fenced."""
    done = yield from observing.reconcile_observe(lane, case.work, case.intent)
    return done if done is not None else (yield from fence_failed(lane, case))


def read_back_or_excuse(lane: LaneContext, case: Case) -> Program[NextWork]:
    """The same where a gateway answered: no event is to blame, which the intent notes if KATO cannot be read either."""
    try:
        done = yield from observing.reconcile_observe(lane, case.work, case.intent)
    except KatoError:
        yield from observing.excuse(lane, case.work, case.intent)
        raise
    return done if done is not None else (yield from fence_answered_by_gateway(lane, case))


# ------------------------------------------------------------------------------------------------- fence, and wait


def fence_failed(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Fence. The failure speaks of the call's own events: one of them alone has used up an attempt."""
    return (yield from fence_and_defer(lane, case.work, case.error))


def fence_answered_by_gateway(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Fence, and wait as the gateway asked. The answer says nothing of the events."""
    assert isinstance(case.failure, GatewayAnswered)
    return (yield from fence_and_defer(lane, case.work, case.error, blame=False, gateway=case.failure))


def fence_mismatch(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Fence a KATO session that holds something else than the log says."""
    return (yield from fence_and_defer(lane, case.work, case.error, blame=False, wrong=True))


def read_back_or_fence_mismatch(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Read KATO back: commit what was applied as intended after all; anything else is fenced."""
    done = yield from observing.reconcile_observe(lane, case.work, case.intent)
    return done if done is not None else (yield from fence_mismatch(lane, case))


def fence_gone(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Fence a KATO session for which KATO answered 404. Nothing of the open call was applied."""
    return (yield from fence_and_defer(lane, case.work, case.error, gone=True))


def finish_fence(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Carry out a fence that its holder did not finish."""
    if store_was_restored(case.work, lane.store_run()):
        yield from recovery.count_possible_repeats(lane, case.work)
    return (yield from fence_and_defer(lane, case.work, "a fence was not finished"))


# ------------------------------------------------------------------------------------------------- learn and clear


def delete_and_settle(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Delete the KATO session of a learn, and wait until nothing can land any more.

    Where the store was restored, learns that may be repeated are counted at the next step (``settle``).
    """
    return (yield from settling.settle(lane, case.work, case.intent))


def settle(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Take the learn at the head one step further: rebuild and read, learn again, or verify."""
    work, intent = yield from _note_what_was_forgotten(lane, case)
    return (yield from settling.settle(lane, work, intent))


def finish_clear(lane: LaneContext, case: Case) -> Program[NextWork]:
    """Delete the KATO session, without which the STM is empty, and commit."""
    work, intent = yield from _note_what_was_forgotten(lane, case)
    return (yield from learning.reconcile_clear(lane, work, intent))


def _note_what_was_forgotten(lane: LaneContext, case: Case) -> Program[tuple[Work, Intent]]:
    """Count the learns that may be repeated where the store was restored: it may have forgotten this intent's end."""
    work, intent = case.work, case.intent
    if store_was_restored(work, lane.store_run()):
        work = yield from recovery.note_forgotten_learns(lane, work, intent)
        assert work.intent is not None
        intent = work.intent
    return work, intent


# ------------------------------------------------------------------------------------------------------- the table


def leave_open(_lane: LaneContext, case: Case) -> Program[NextWork]:
    """Raise the failure: the state stays, and the session is taken up again after a wait (``endings.back_off``)."""
    yield from ()
    assert case.failure is not None
    raise case.failure


CALL = (
    Situation.CALL_UNKNOWN,
    Situation.CALL_ANSWERED_BY_GATEWAY,
    Situation.CALL_MISMATCH,
    Situation.CALL_GONE,
)
RECONCILE = (
    Situation.RECONCILE_UNKNOWN,
    Situation.RECONCILE_ANSWERED_BY_GATEWAY,
    Situation.RECONCILE_MISMATCH,
    Situation.RECONCILE_GONE,
)
TRACK_LOST = frozenset(
    {Situation.CALL_MISMATCH, Situation.CALL_GONE, Situation.RECONCILE_MISMATCH, Situation.RECONCILE_GONE}
)
"""KATO does not say how far the session is. Where the store was restored, too, learns that follow may be repeated, and
``handle`` counts them first (a fence has counted them already)."""
NO_INTENT_TO_RECONCILE = Impossible("to reconcile takes an open intent, and the write that closes it is the last step")
LENT_WITH_AN_INTENT = Impossible("only an idle session lends its KATO session; its next intent binds another one")


def _all(situations: Iterable[Situation], handler: Handler | Impossible) -> dict[Situation, Handler | Impossible]:
    return dict.fromkeys(situations, handler)


_TAKEN_UP: dict[State, Handler] = {
    "learn_again": delete_and_settle,
    "settle": settle,
    "verify": settle,
    "clear_after_learn": finish_clear,
    "clear": finish_clear,
}
"""States that are left in one way only, whatever happened: the work is taken up again."""
HANDLERS: dict[State, dict[Situation, Handler | Impossible]] = {
    "none": {
        Situation.FOUND: begin,
        Situation.FOUND_AFTER_RESTORE: compare_and_begin,
        Situation.FOUND_WITHOUT_LENT_SESSION: unbind_and_begin,
        Situation.FOUND_ON_ANOTHER_NODE: move_and_begin,
        Situation.CALL_UNKNOWN: leave_open,
        Situation.CALL_ANSWERED_BY_GATEWAY: leave_open,
        Situation.CALL_MISMATCH: fence_mismatch,
        Situation.CALL_GONE: fence_gone,
        **_all(RECONCILE, NO_INTENT_TO_RECONCILE),
    },
    "observe": {
        Situation.FOUND: read_back_found,
        Situation.FOUND_AFTER_RESTORE: compare_and_read_back,
        Situation.FOUND_WITHOUT_LENT_SESSION: LENT_WITH_AN_INTENT,
        Situation.FOUND_ON_ANOTHER_NODE: leave_other_generation,
        Situation.CALL_UNKNOWN: read_back_or_fence,
        Situation.CALL_ANSWERED_BY_GATEWAY: read_back_or_excuse,
        Situation.CALL_MISMATCH: read_back_or_fence_mismatch,
        Situation.CALL_GONE: fence_gone,
        Situation.RECONCILE_UNKNOWN: fence_failed,
        Situation.RECONCILE_ANSWERED_BY_GATEWAY: fence_answered_by_gateway,
        Situation.RECONCILE_MISMATCH: fence_mismatch,
        Situation.RECONCILE_GONE: fence_gone,
    },
    "learn": {
        Situation.FOUND: delete_and_settle,
        Situation.FOUND_AFTER_RESTORE: delete_and_settle,
        Situation.FOUND_WITHOUT_LENT_SESSION: LENT_WITH_AN_INTENT,
        Situation.FOUND_ON_ANOTHER_NODE: leave_other_generation,
        **_all(CALL, delete_and_settle),
        **_all(RECONCILE, leave_open),
        # KATO reads the session before it learns, so a 404 says that nothing was learned.
        Situation.CALL_GONE: fence_gone,
        Situation.RECONCILE_GONE: fence_gone,
    },
    **{
        state: {
            Situation.FOUND: handler,
            Situation.FOUND_AFTER_RESTORE: handler,
            Situation.FOUND_WITHOUT_LENT_SESSION: LENT_WITH_AN_INTENT,
            Situation.FOUND_ON_ANOTHER_NODE: leave_other_generation,
            **_all(CALL, handler),
            **_all(RECONCILE, leave_open),
        }
        for state, handler in _TAKEN_UP.items()
    },
    "fence": {
        Situation.FOUND: finish_fence,
        Situation.FOUND_AFTER_RESTORE: finish_fence,
        Situation.FOUND_WITHOUT_LENT_SESSION: LENT_WITH_AN_INTENT,
        Situation.FOUND_ON_ANOTHER_NODE: finish_fence,
        **_all(CALL, leave_open),
        **_all(RECONCILE, leave_open),
    },
}
"""State → situation → what is done. A handler commits, defers or parks, or raises the KatoError that stopped it."""
