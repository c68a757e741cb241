"""Keep messages of brokers that are no valid events as dead letters, and read them again once they can be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kato_tasks.api.append import finish_append
from kato_tasks.api.decoding import Decoder, decode, load_function
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.refusals import BuriedEvent, Refusal
from kato_tasks.domain.refused_message import RefusedMessage
from kato_tasks.domain.results import Appended
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.listening import KeepRefusedMessage
from kato_tasks.ports.sources import Message

KEPT_BYTES = 1_048_576
"""How much of a message's body a dead letter keeps."""


def letter_of(message: Message, source: str, event_id: str, reason: str, decoder: str) -> KeepRefusedMessage:
    """Return the operation that keeps a message as a dead letter, once for each ``event_id``."""
    now_ms = int(time.time() * 1000)
    kept = RefusedMessage(
        source=source,
        place=message.place,
        value=message.value[:KEPT_BYTES],
        size=message.size,
        key=message.key,
        headers=message.headers,
        fields=message.fields,
        decoder=decoder,
    )
    refusal = Refusal(reason, None, attempts=0, first_ms=now_ms, last_ms=now_ms, event_id=event_id)
    letter = BuriedEvent(_session_in(message), "", source, refusal, message=kept.as_json())
    return KeepRefusedMessage(source, f"message {event_id}", letter.dump())


def _session_in(message: Message) -> str:
    """Return the session that a message names, so that it is shown, and found when the session is forgotten."""
    try:
        given: Any = message.json()
    except InvalidEvent:
        return ""
    session = given.get("session_id") if isinstance(given, dict) else None
    return session if isinstance(session, str) else ""


def entries_of(
    message: Message, event_id: str, limits: Limits, decoder: Decoder | None, name: str = "", also: str = ""
) -> list[Entry]:
    """Return the log entries of a message's events.

    ``event_id`` is the id of an event that has none of its own; the second one of a message gets it with ``/1`` behind
    it. ``also``: see ``Entry.also``. Raises InvalidEvent.
    """
    entries = []
    for index, raw in enumerate(decode(message, decoder, name)):
        event = parse_event(raw, limits)
        its_id = event.event_id or (f"{event_id}/{index}" if index else event_id)
        entries.append(entry_of(event, event_id=its_id, limits=limits, also=also))
    return entries


def append_again(
    rt: Runtime, kept: RefusedMessage, event_id: str, body: bytes | None, decoder: str | None
) -> Sequence[Appended]:
    """Read a refused message again, and append its events at the end of their sessions' logs.

    ``body`` is read in place of the message's own, and ``decoder`` (``module:function``) reads it in place of the one
    of its listener. Raises InvalidEvent where it still is no valid event, NodeConflict where it names another node than
    its session's, ConfigurationError where the decoder cannot be loaded, and StoreUnavailable.
    """
    named = kept.decoder if decoder is None else decoder
    if body is None and not kept.is_whole:
        raise InvalidEvent(
            "message", f"had {kept.size} bytes, of which only {len(kept.value)} were kept; give the whole body"
        )
    message = Message(value=kept.value, place=kept.place, key=kept.key, headers=kept.headers, fields=kept.fields)
    if body is not None:
        message = replace(message, value=body, fields=None)
    limits = replace(rt.settings.limits, unknown_keys="pass")
    entries = entries_of(message, event_id, limits, load_function(named) if named else None, named)
    if not entries:
        return ()
    posted = rt.mailbox.append_each(entries)
    finish_append(rt, posted)
    for placed in posted.placed:
        if placed.other_node is not None:
            raise placed.other_node
        if placed.appended.error is not None:
            raise InvalidEvent("event_id", placed.appended.error)
    return [placed.appended for placed in posted.placed]


__all__ = ["append_again", "entries_of", "letter_of"]
