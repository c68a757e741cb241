"""The states of an intent, the situations in which a session is found, and the ways between the states. Pure.

A session is in exactly one state: no intent is open, or one of some kind is. Two things happen to a session in a state:

- a lease hands it out, and the drain takes it up;
- a call to KATO fails while the drain works on it.

``situation_of`` names which of these it is. ``intent_table`` holds what is done in each situation of each state.
``TRANSITIONS`` lists every way from one state to the next; the drawing in docs/architecture.md is made from it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple, get_args

from kato_tasks.domain.kato_session import Intent
from kato_tasks.engine.drain.kato_session import Mismatch
from kato_tasks.errors import GatewayAnswered, KatoError, KatoSessionGone
from kato_tasks.ports.lanes import Work

State = Literal["none", "observe", "learn", "learn_again", "settle", "verify", "clear_after_learn", "clear", "fence"]
"""The kind of the open intent; ``none`` without one. ``learn_again`` is a ``learn`` that is sent a second time."""
STATES: tuple[State, ...] = get_args(State)
MEANING: dict[State, str] = {
    "none": "Nothing is under way at KATO.",
    "observe": "An observe-sequence is about to be sent, or its outcome is unknown.",
    "learn": "A learn is about to be sent, or its outcome is unknown.",
    "learn_again": "A learn that left no trace is about to be sent again, or its outcome is unknown.",
    "settle": "The KATO session of a learn was deleted; its pattern's frequency is read when no call can land.",
    "verify": "A second learn was answered. Its pattern's frequency is read when KATO shows it for certain.",
    "clear_after_learn": "The learn is done, and the clear-stm that follows it is about to be sent.",
    "clear": "A clear-stm that the log asks for is about to be sent, or its outcome is unknown.",
    "fence": "The bound KATO session is being deleted, so it must not be used any more; another is built in its place.",
}


def state_of(intent: Intent | None) -> State:
    """Return the state of a session whose open intent is ``intent``, or None."""
    if intent is None:
        return "none"
    return "learn_again" if intent.kind == "learn" and intent.again else intent.kind


class Situation(Enum):
    """What a drain faces. The name of each member's value is what a person reads in a drawing or a test.

    The first four are how a session is found at the beginning of a piece of work. The others are how a piece of work
    failed: in a ``CALL_…`` situation the state was entered by this piece of work, so the call that failed is the one
    that the open intent announces, or a read before it. In a ``RECONCILE_…`` situation the intent was open when the
    piece began, so it is the reconciling that failed.
    """

    FOUND = "found"
    """The session is handed out, and the store has not been restored since its binding was last confirmed."""
    FOUND_AFTER_RESTORE = "found after the store was restored"
    """The session is handed out. The store may have forgotten what was done since the binding was last confirmed."""
    FOUND_WITHOUT_LENT_SESSION = "found after the store was restored, its KATO session lent away before"
    """The session has no KATO session to compare: another session took it over, in an earlier run of the store."""
    FOUND_ON_ANOTHER_NODE = "found bound to another generation"
    """The lane was switched to another generation of its node since the session's KATO session was made. Whatever was
    sent there says nothing of the present node."""
    CALL_UNKNOWN = "call: outcome unknown"
    """A time-out, a lost connection or a 5xx: KATO may apply the call, now or later."""
    CALL_ANSWERED_BY_GATEWAY = "call: answered by a gateway"
    """The same, and the answer came from something before KATO, so it says nothing of the event."""
    CALL_MISMATCH = "call: KATO holds something else"
    """KATO's answer, or its time and STM when they are read, are not what the log says; or it refuses a learn."""
    CALL_GONE = "call: KATO session gone"
    """KATO answered 404 for the bound KATO session."""
    RECONCILE_UNKNOWN = "reconciling: outcome unknown"
    """As ``CALL_UNKNOWN``, of a call that was sent in order to reconcile."""
    RECONCILE_ANSWERED_BY_GATEWAY = "reconciling: answered by a gateway"
    """As ``CALL_ANSWERED_BY_GATEWAY``, of a call that was sent in order to reconcile."""
    RECONCILE_MISMATCH = "reconciling: KATO holds something else"
    """As ``CALL_MISMATCH``, of a call that was sent in order to reconcile."""
    RECONCILE_GONE = "reconciling: KATO session gone"
    """As ``CALL_GONE``, of a call that was sent in order to reconcile."""


def store_was_restored(work: Work, run: str) -> bool:
    """Return whether the session's binding was last confirmed under another run of the store than ``run``."""
    return work.binding is not None and work.binding.run != run


def situation_of(work: Work, run: str, failure: KatoError | None = None, *, was_open: bool = False) -> Situation:
    """Name the situation of a session.

    ``work`` is the session as the store has it now, ``run`` the run of the store that answers now. ``failure`` is what
    ended the piece of work: a KatoSessionGone or an OutcomeUnknown, or None when the piece begins. ``was_open`` says
    whether an intent was open already when the piece began.
    """
    if failure is None:
        if work.intent is None and work.gave_up_in not in ("", run):
            return Situation.FOUND_WITHOUT_LENT_SESSION
        if work.bound_elsewhere:
            return Situation.FOUND_ON_ANOTHER_NODE
        return Situation.FOUND_AFTER_RESTORE if store_was_restored(work, run) else Situation.FOUND
    reconciling = was_open and work.intent is not None
    if isinstance(failure, KatoSessionGone):
        return Situation.RECONCILE_GONE if reconciling else Situation.CALL_GONE
    if isinstance(failure, Mismatch):
        return Situation.RECONCILE_MISMATCH if reconciling else Situation.CALL_MISMATCH
    if isinstance(failure, GatewayAnswered):
        return Situation.RECONCILE_ANSWERED_BY_GATEWAY if reconciling else Situation.CALL_ANSWERED_BY_GATEWAY
    return Situation.RECONCILE_UNKNOWN if reconciling else Situation.CALL_UNKNOWN


class Transition(NamedTuple):
    """One way from a state to the next: ``event`` is what happens, in words for a drawing."""

    state: State
    event: str
    next_state: State


TRANSITIONS: tuple[Transition, ...] = tuple(
    Transition(*row)
    for row in (
        ("none", "observations are next", "observe"),
        ("none", "a learn is next", "learn"),
        ("none", "a clear is next", "clear"),
        ("none", "KATO session expired, gone, of another generation, or not what the log says", "fence"),
        ("observe", "applied, refused, or never sent", "none"),
        ("observe", "a gateway answered, and KATO cannot be read", "observe"),
        ("observe", "not known to be applied, or of another generation", "fence"),
        ("learn", "learned and nothing to clear, or never sent", "none"),
        ("learn", "learned", "clear_after_learn"),
        ("learn", "outcome unknown: KATO session deleted", "settle"),
        ("learn", "KATO session gone: nothing was learned; or of another generation", "fence"),
        ("settle", "frequency one higher, or not to be known: taken as learned", "none"),
        ("settle", "frequency unchanged, and the rebuilt STM has another name", "none"),
        ("settle", "frequency unchanged", "learn_again"),
        ("settle", "of another generation", "fence"),
        ("learn_again", "answered", "verify"),
        ("learn_again", "outcome unknown: KATO session deleted", "settle"),
        ("learn_again", "of another generation", "fence"),
        ("verify", "frequency read", "clear_after_learn"),
        ("verify", "of another generation", "fence"),
        ("clear_after_learn", "cleared, or KATO session deleted", "none"),
        ("clear_after_learn", "of another generation", "fence"),
        ("clear", "cleared, or KATO session deleted", "none"),
        ("clear", "of another generation", "fence"),
        ("fence", "another KATO session is bound, or none", "none"),
    )
)
"""Every way between two different states, and the one from a state to itself that changes what the state means."""
