"""Errors, named after what the caller may do next.

    KatoTasksError
    ├── InvalidEvent          the input is wrong: correct the field that it names
    ├── NodeConflict          the session belongs to another node for life
    ├── EventConflict         this event_id already belongs to an event with another body
    ├── PositionConflict      the session has other events than the caller knows: read them and decide again
    ├── StoreUnavailable      nothing was accepted: try again later
    │   ├── StoreFull         the store has no room for more events until some are applied
    │   ├── StoreWentBack     the store was restarted or replaced since this was read
    │   └── LogArchived       this part of a session's log is in the archive only
    ├── StoreFailed           the store refuses this one operation, now and later: a person must look
    │   ├── UnreadableRow     a row that this version cannot read (broken, or written by a newer one)
    │   └── HistoryIncomplete positions that neither the store nor the archive holds
    ├── TooManyPredicts       too many predicts of this session wait: ask again when some are answered
    ├── ArchiveUnavailable    the archive's database does not answer: try again later
    ├── ReplayBusy            another replay has the lane: wait for it or cancel it
    ├── ReplayFailed          a replay ended without success; what served before goes on serving
    ├── UnknownReplay         there is no replay of this id
    ├── BrokerUnavailable     the broker does not answer: try again when it is back
    ├── SourceUnavailable     the broker of a listener, a publisher or a sink does not answer: try again
    ├── SessionBusy           the session cannot be forgotten now: do what the sentence says, and try again
    ├── ConfigurationError    a setting is wrong: correct it and start again
    ├── LeaseLost             another worker owns the lane now: stop at once
    ├── EventRefused          KATO definitely refused this event: it is a dead letter
    ├── NotAppliedYet         the event is in the log: ask for it later
    └── KatoError
        ├── KatoUnavailable   never applied: ask again later (KatoCircuitOpen: it was not even tried;
        │                     KatoMisdirected: it was refused on the way to KATO, so repair the deployment)
        ├── KatoRejected      definitely refused, nothing was changed
        ├── KatoSessionGone   404: it is gone if a new session can be created, else KATO is ill
        └── OutcomeUnknown    it may have been applied: reconcile before anything else is sent
                                   (GatewayAnswered: the answer was not KATO's, so it says nothing about the event)

Every error keeps plain strings in ``args``, so that Celery's JSON result
backends can carry it and rebuild it at the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class KatoTasksError(Exception):
    """Base class of every error that kato_tasks raises on purpose."""


class InvalidEvent(KatoTasksError, ValueError):
    """The event was refused before it was stored; ``args`` are the field and the reason."""

    def __init__(self, field: str, reason: str = "") -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.reason else self.field

    def under(self, where: str) -> InvalidEvent:
        """Return this error for an event that stands at ``where`` among others (``events[3]``)."""
        return InvalidEvent(where if self.field == "event" else f"{where}.{self.field}", self.reason)


class NodeConflict(InvalidEvent):
    """The session was first seen on another node, and belongs to it for life."""


class EventConflict(KatoTasksError):
    """The session already has an event with this event_id and another body."""


class PositionConflict(KatoTasksError):
    """The session does not stand at the position that the caller expected, so nothing was appended.

    ``args`` are the session, the ``expected`` position and the ``actual`` one.
    """

    def __init__(self, session_id: str, expected: int, actual: int) -> None:
        super().__init__(session_id, expected, actual)
        self.session_id = session_id
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"session {self.session_id!r} stands at position {self.actual}, not at the expected {self.expected}, so "
            "nothing was appended; read its history again, decide again, and append with the position of its last event"
        )


class StoreUnavailable(KatoTasksError):
    """Redis could not be reached, so nothing was accepted; the call may be repeated with the same event_id."""


class StoreFull(StoreUnavailable):
    """The store uses too much of its memory, so it accepted nothing; it accepts events again once some are applied."""


class StoreWentBack(StoreUnavailable):
    """The store was restarted or replaced, so what was read before must be read again. Nothing was written."""


class LogArchived(StoreUnavailable):
    """The store no longer holds the first positions of what was asked for: they are in the archive only.

    ``args`` are the session and the last of these positions. ``entries`` are those that the store holds, which follow.
    """

    def __init__(self, session: str, up_to: int, entries: Iterable[Any] = ()) -> None:
        super().__init__(session, up_to)
        self.session = session
        self.up_to = up_to
        self.entries: list[Any] = list(entries)

    def __str__(self) -> str:
        return (
            f"the events of session {self.session!r} up to position {self.up_to} are in the archive only; "
            "set ARCHIVE_URL to where they are archived"
        )


class StoreFailed(KatoTasksError):
    """Redis answers but refuses this operation (a broken row, a script's error); trying again does not help."""


class UnreadableRow(StoreFailed):
    """A stored row cannot be read: it is broken, or a newer version wrote it."""


class HistoryIncomplete(StoreFailed):
    """Some positions of a history are neither in the store nor in the archive; the message names them."""


class TooManyPredicts(KatoTasksError):
    """Too many predicts of the session are waiting, so this one was not accepted; ask again when some are answered."""


class ArchiveUnavailable(KatoTasksError):
    """The archive's database does not answer, or refuses: the same call may be repeated, whatever became of it."""


class ReplayBusy(KatoTasksError):
    """A replay has not ended, so that this cannot be done now: wait for it, or cancel it."""


class ReplayFailed(KatoTasksError):
    """A replay ended without having done what was asked; the message says why. What served before goes on serving."""


class SessionBusy(KatoTasksError):
    """A session cannot be forgotten now; the message says why, and what to do before it is tried again."""


class UnknownReplay(KatoTasksError):
    """There is no replay of this id."""


class BrokerUnavailable(KatoTasksError):
    """A task could not be sent, because the broker or the result backend does not answer."""


class SourceUnavailable(KatoTasksError):
    """The broker that a listener reads from, or that a publisher or a sink sends to, does not answer."""


class ConfigurationError(KatoTasksError):
    """A setting cannot work; the message names it and the remedy."""


class LeaseLost(KatoTasksError):
    """The lane's fencing token is no longer current: nothing more may be sent or written."""


class EventRefused(KatoTasksError):
    """KATO definitely refused the event; it was kept as a dead letter."""


class NotAppliedYet(KatoTasksError):
    """The caller stopped waiting before KATO applied the event; the event is in the log and is applied in its turn."""


class KatoError(KatoTasksError):
    """Base class of what can go wrong between us and KATO."""


class KatoUnavailable(KatoError):
    """The call was never applied (refused connection, 503 at the connection limit)."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnectionFree(KatoUnavailable):
    """Nothing was sent: every connection that this process may have to the KATO instance was busy for too long."""


class KatoCircuitOpen(KatoUnavailable):
    """Nothing was sent: the circuit breaker of this KATO instance is open."""


class ConfigNotTaken(KatoUnavailable):
    """Nothing was sent: KATO does not accept the session config; the message names the keys and the remedy."""


class KatoMisdirected(KatoUnavailable):
    """Something before KATO refused the call (401, 403, 405, a redirect, HTML …): it never reached KATO.

    This is about the deployment and not about an event, so no event becomes a dead letter and no attempt is counted.
    The message says what to correct: KATO_URLS, KATO_TOKEN or KATO_HEADERS, or the gateway before KATO. Then everything
    goes on by itself.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class KatoRejected(KatoError):
    """KATO definitely refused the call, in its own form (400, 413, 422), and changed nothing."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        return f"KATO answered {self.status}: {self.detail}"


class KatoSessionGone(KatoError):
    """KATO answered 404 for its session: it expired or was deleted, or KATO's own Redis is down."""


class OutcomeUnknown(KatoError):
    """The request was sent, and no trustworthy answer came back."""

    retry_after: float | None = None
    """How many seconds the answer asked to wait; None if it did not say."""


class KatoFailed(OutcomeUnknown):
    """KATO answered with its own 500: it received the call and failed in the middle of it."""


class GatewayAnswered(OutcomeUnknown):
    """Something before KATO answered a changing call (503, 429, a 200 that is not KATO's).

    The call may have been passed on to KATO first. The event is not the reason for this, so no attempt is counted.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
