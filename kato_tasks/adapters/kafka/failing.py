"""Turn whatever librdkafka raises or reports into one sentence that says what to do, without secrets."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException

from kato_tasks.errors import ConfigurationError, SourceUnavailable

log = logging.getLogger("kato_tasks.adapters.kafka")

REFUSED_LOGIN = frozenset({
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
})  # fmt: skip
FORBIDDEN = frozenset({
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
})  # fmt: skip
SILENT = frozenset({
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
})  # fmt: skip
TELLING = REFUSED_LOGIN | {KafkaError._SSL, KafkaError._RESOLVE}
_TRIES = re.compile(r" \(after .*$", re.DOTALL)


def unavailable(where: str, error: KafkaError | None) -> SourceUnavailable:
    """Return the error for the Kafka ``where``: its address and, if there is one, what librdkafka said of it."""
    code = None if error is None else error.code()
    reason = "" if error is None else f" ({_reason(error)})"
    if code in REFUSED_LOGIN:
        clause = f"refuses the login{reason}: correct user, password and mechanism in the Kafka options"
    elif code == KafkaError._SSL or "SSL" in reason:
        clause = f"cannot be reached by TLS{reason}: correct the ssl options, or KAFKA_BOOTSTRAP"
    elif code == KafkaError._RESOLVE:
        clause = f"has a name that is not known here{reason}: correct KAFKA_BOOTSTRAP, or what its brokers advertise"
    elif code in FORBIDDEN:
        clause = f"does not allow this{reason}: grant its user the rights on the topic and on the group"
    elif "Static consumer fenced" in reason:  # it comes as a fatal error, of which the text alone says what it is
        clause = "has another reader with the same group instance: give each listener an instance of its own"
    elif code is None or code in SILENT:
        clause = f"does not answer{reason}: start it, or correct KAFKA_BOOTSTRAP"
    else:
        clause = f"answers with an error{reason}: its log may say more"
    return SourceUnavailable(f"Kafka at {where} {clause}")


def _reason(error: KafkaError) -> str:
    """What librdkafka says, without the name of its connection before it and the count of its tries behind it."""
    text = _TRIES.sub("", error.str())
    if error.code() in SILENT | TELLING:
        text = re.sub(r"^\S+: (?=\S)", "", text)
    return text[:200].strip()


def telling(known: KafkaError | None, new: KafkaError) -> KafkaError:
    """Return the one of two reports that says more: that nothing can be reached is reported after the reason."""
    if known is None or new.fatal() or new.code() in TELLING or known.code() == KafkaError._ALL_BROKERS_DOWN:
        return new
    return known if known.fatal() or known.code() in TELLING or new.code() == KafkaError._ALL_BROKERS_DOWN else new


def error_of(exc: KafkaException) -> KafkaError | None:
    """Return librdkafka's own error in an exception."""
    found = exc.args[0] if exc.args else None
    return found if isinstance(found, KafkaError) else None


@contextlib.contextmanager
def kafka_errors(where: str) -> Iterator[None]:
    """Raise SourceUnavailable, with a sentence that names ``where``, for every error of librdkafka."""
    try:
        yield
    except KafkaException as exc:
        raise unavailable(where, error_of(exc)) from exc


@contextlib.contextmanager
def option_errors() -> Iterator[None]:
    """Raise ConfigurationError for an option that librdkafka does not take. Its sentence names the option."""
    try:
        yield
    except (KafkaException, TypeError, ValueError) as exc:
        found = error_of(exc) if isinstance(exc, KafkaException) else None
        raise ConfigurationError(
            f"a Kafka option cannot be used: {found.str() if found else exc}; see librdkafka's CONFIGURATION.md"
        ) from None


class Talk:
    """Passes librdkafka's own log on to Python's.

    Lost connections are said again and again while a broker is away, and the caller is told of them by an error: they
    are for debugging only. So are properties that one kind of client takes and another does not.
    """

    QUIET = frozenset({"FAIL", "ERROR", "CONFWARN", "TERMINATE"})

    def log(self, level: int, text: str, *words: object) -> None:
        """Log one record; the first word is librdkafka's name for its kind."""
        log.log(logging.DEBUG if words and words[0] in self.QUIET else level, text, *words)


__all__ = ["Talk", "error_of", "kafka_errors", "option_errors", "telling", "unavailable"]
