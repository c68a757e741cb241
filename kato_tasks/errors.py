"""Errors, named after what the caller may do next.

    KatoTasksError
    ├── InvalidEvent          the input is wrong: mend the named field
    ├── NodeConflict          the session belongs to another node for life
    ├── EventConflict         this event_id is taken by an event with another body
    ├── StoreUnavailable      nothing was accepted: try again later
    ├── ConfigurationError    a setting is wrong: mend it and start again
    ├── LeaseLost             another worker owns the lane now: stop at once
    ├── EventRefused          KATO definitely refused this event: it is a dead letter
    ├── NotAppliedYet         the event is in the log: ask for it later
    └── KatoError
        ├── KatoUnavailable   never sent: ask again later (KatoCircuitOpen: not even tried)
        ├── KatoRejected      definitely refused, nothing was changed
        ├── KatoSessionGone   404: gone if a new session can be created, else KATO is ill
        └── OutcomeUnknown    may have been applied: reconcile before anything else is sent

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


class NodeConflict(InvalidEvent):
    """The session was first seen on another node, and belongs to it for life."""


class EventConflict(KatoTasksError):
    """The event_id is known in this session with another body."""


class StoreUnavailable(KatoTasksError):
    """Redis could not be asked, so nothing was accepted; the call may be repeated with its event_id."""


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


class KatoCircuitOpen(KatoUnavailable):
    """Not sent: the circuit breaker of this KATO instance is open."""


class KatoRejected(KatoError):
    """A definite no (400, 413, 422 …): the call changed nothing at KATO."""

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
