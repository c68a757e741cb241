"""What librdkafka's errors mean, in words that say what to do."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

_UNREACHABLE = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})
_LOGIN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
_NO_RIGHT = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_REASON = re.compile(r"failed: (.*?)(?: \(after \d+ms|$)")


class Troubles:
    """What librdkafka told of the way to the brokers since it was asked to connect. It tries again by itself."""

    def __init__(self) -> None:
        self._last = ""
        self._all_down = False
        self._login = ""

    def note(self, error: KafkaError) -> None:
        """Take an error that belongs to no single message (librdkafka's ``error_cb``)."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._all_down = True
        elif error.code() in _LOGIN:
            self._login = clause(error, "")
        elif error.code() in _UNREACHABLE:
            self._last = _reason(error)

    def clear(self) -> None:
        """Forget what was told."""
        self._last = self._login = ""
        self._all_down = False

    def look_anew(self) -> None:
        """Take no broker to be down any more until it is told again."""
        self._all_down = False
        self._login = ""

    def hopeless(self) -> str:
        """Return what is the matter where no broker can be reached at all; '' where one may still answer."""
        if self._login:
            return self._login
        return self._unreachable() if self._all_down else ""

    def told(self, seconds: float) -> str:
        """Return why nothing was confirmed for so many seconds."""
        if self._last:
            return self._unreachable()
        return f"confirmed nothing for {seconds:g} s: see whether enough of its replicas are in sync and it has room"

    def _unreachable(self) -> str:
        return f"does not answer ({self._last or 'no broker is up'}): start it, or correct its address"


def clause(error: KafkaError, topic: str) -> str:
    """Return what is the matter with Kafka, and what to do about it."""
    code = error.code()
    if code in _UNREACHABLE:
        return f"does not answer ({_reason(error)}): start it, or correct its address"
    if code in _LOGIN:
        return f"refuses the connection ({_reason(error)}): correct the user, the password or the certificates"
    if code in _NO_TOPIC:
        return f"has no topic {topic!r}: create it"
    if code in _NO_RIGHT:
        return f"does not let this user write to the topic {topic!r}: grant the user the right"
    return f"failed ({_reason(error)})"


def _reason(error: KafkaError) -> str:
    said = str(error.str())
    found = _REASON.search(said)
    return (found[1] if found else said).strip().rstrip(".")


__all__ = ["Troubles", "clause"]
