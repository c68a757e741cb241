"""Errors, named after what the caller may do next.

    KatoTasksError
    ├── InvalidEvent          the input is wrong: mend the named field
    ├── NodeConflict          the session belongs to another node for life
    ├── EventConflict         this event_id is taken by an event with another body
    ├── StoreUnavailable      nothing was accepted: try again later
    │   ├── StoreFull         the store has no room for more events until some are applied
    │   └── StoreWentBack     another run of the store answers than the one that this was read from
    ├── StoreFailed           the store refuses this one operation, now and later: a person must look
    │   └── UnreadableRow     a row that this version cannot read (broken, or written by a newer one)
    ├── TooManyPredicts       so many predicts of this session wait: ask again when some are answered
    ├── ConfigurationError    a setting is wrong: mend it and start again
    ├── LeaseLost             another worker owns the lane now: stop at once
    ├── EventRefused          KATO definitely refused this event: it is a dead letter
    ├── NotAppliedYet         the event is in the log: ask for it later
    └── KatoError
        ├── KatoUnavailable   never applied: ask again later (KatoCircuitOpen: not even tried;
        │                     KatoMisdirected: refused on the way to KATO, so mend the deployment)
        ├── KatoRejected      definitely refused, nothing was changed
        ├── KatoSessionGone   404: gone if a new session can be created, else KATO is ill
        └── OutcomeUnknown    may have been applied: reconcile before anything else is sent
                              (GatewayAnswered: no answer of KATO's, so it says nothing of the event)

Every error keeps plain strings in ``args``, so that Celery's JSON result
backends can carry it and rebuild it at the caller.
"""

from __future__ import annotations


class KatoTasksError(Exception):
    """Base class of every error that kato_tasks raises on purpose."""


class InvalidEvent(KatoTasksError, ValueError):
    """An event that is refused at the door; ``args`` are the field and the reason."""

    def __init__(self, field: str, reason: str = "") -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.reason else self.field

    def under(self, where: str) -> InvalidEvent:
        """The same, of an event that stands at ``where`` among others (``events[3]``)."""
        return InvalidEvent(where if self.field == "event" else f"{where}.{self.field}", self.reason)


class NodeConflict(InvalidEvent):
    """The session was first seen on another node, and belongs to it for life."""


class EventConflict(KatoTasksError):
    """The event_id is known in this session with another body."""


class StoreUnavailable(KatoTasksError):
    """Redis could not be asked, so nothing was accepted; the call may be repeated with its event_id."""


class StoreFull(StoreUnavailable):
    """The store uses too much of its memory to accept more; nothing was accepted, and what it has is being applied."""


class StoreWentBack(StoreUnavailable):
    """Another run of the store answers: what was read from the one before is to be read again. Nothing was written."""


class StoreFailed(KatoTasksError):
    """Redis answers, and refuses this operation (a broken row, a script's error): trying again does not help."""


class UnreadableRow(StoreFailed):
    """A stored row cannot be read: it is broken, or a newer version wrote it."""


class TooManyPredicts(KatoTasksError):
    """So many predicts of the session wait already that this one was not accepted; ask again when some are answered."""


class ConfigurationError(KatoTasksError):
    """A setting cannot work; the message names it and the remedy."""


class LeaseLost(KatoTasksError):
    """The lane's fencing token is no longer current: nothing more may be sent or written."""


class EventRefused(KatoTasksError):
    """KATO definitely refused the event; it was kept as a dead letter."""


class NotAppliedYet(KatoTasksError):
    """A call that waits in its own process gave up waiting; its event is in the log and is applied in its turn."""


class KatoError(KatoTasksError):
    """Something between us and KATO."""


class KatoUnavailable(KatoError):
    """The call was never applied (refused connection, 503 at the connection limit)."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnectionFree(KatoUnavailable):
    """Not sent: every connection that this process may have to the KATO instance was busy for too long."""


class KatoCircuitOpen(KatoUnavailable):
    """Not sent: the circuit breaker of this KATO instance is open."""


class ConfigNotTaken(KatoUnavailable):
    """Not sent: KATO does not take the session config; the message names the keys and the remedy."""


class KatoMisdirected(KatoUnavailable):
    """Refused by something that is not KATO (401, 403, 405, a redirect, HTML …): the call never reached it.

    It speaks of the deployment and of no event, so nothing is buried and no attempt is counted. The message says what
    to mend: KATO_URLS, KATO_TOKEN or KATO_HEADERS, or the gateway before KATO. Everything goes on by itself then.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class KatoRejected(KatoError):
    """A definite no in KATO's own form (400, 413, 422): the call changed nothing there."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        return f"KATO answered {self.status}: {self.detail}"


class KatoSessionGone(KatoError):
    """404 for a KATO session: expired, deleted, or KATO's own Redis is down."""


class OutcomeUnknown(KatoError):
    """The request left us and no trustworthy answer came back."""

    retry_after: float | None = None
    """seconds that the answer asked to wait, if it did"""


class KatoFailed(OutcomeUnknown):
    """KATO's own 500: it had the call, and failed in the middle of it."""


class GatewayAnswered(OutcomeUnknown):
    """A changing call was answered by something before KATO (503, 429, a 200 that is not KATO's).

    It may have been passed on first. Which event it was about is not the reason, so it is nobody's failed attempt.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
