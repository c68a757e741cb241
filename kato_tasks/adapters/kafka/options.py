"""The properties of librdkafka with which a listener reads: ours, those that may be given, and which may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kato_tasks.errors import ConfigurationError

DEFAULTS: Mapping[str, Any] = {
    "client.id": "kato-tasks",
    "auto.commit.interval.ms": 1_000,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "heartbeat.interval.ms": 2_000,
    "session.timeout.ms": 10_000,
    "max.poll.interval.ms": 60_000,
    "queued.max.messages.kbytes": 16_384,
    "topic.metadata.refresh.interval.ms": 10_000,
}
"""What is so unless it is given otherwise.

A reader that is killed is missed after 10 s, and one that hangs, in a decoder say, after 60 s. (librdkafka's own
defaults are 45 s and 5 min.)
"""
FIXED: Mapping[str, Any] = {
    "enable.auto.commit": True,
    "enable.auto.offset.store": False,
    "partition.assignment.strategy": "cooperative-sticky",
}
"""What makes the promises of the source true, so nobody may set it otherwise."""
NAMED = ("bootstrap.servers", "group.id", "group.instance.id")
"""What is given by an option of its own."""


def connection_options(bootstrap: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a client that only asks. Raises ConfigurationError for one that may not be given."""
    for name in (*NAMED, *FIXED):
        if name in given:
            raise ConfigurationError(f"the Kafka option {name} cannot be given: the listener sets it by itself")
    return {"client.id": DEFAULTS["client.id"], **given, "bootstrap.servers": bootstrap}


def reader_options(bootstrap: str, group: str, instance: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a group's member. Raises ConfigurationError for one that may not be given."""
    options = {**DEFAULTS, **connection_options(bootstrap, given), **FIXED, "group.id": group}
    if instance:
        options["group.instance.id"] = instance
    if given.get("group.protocol") == "consumer":
        # The broker decides these, and librdkafka takes none of them.
        for name in ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"):
            if name not in given:
                options.pop(name, None)
    return options


__all__ = ["connection_options", "reader_options"]
