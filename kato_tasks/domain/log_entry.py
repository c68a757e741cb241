"""How an event is written in a session's log.

An entry has four lines of UTF-8 (JSON escapes line breaks, and an event_id has none):

    o11764000000000s        kind (o observation, l learn, c clear_stm, p predict), whether a caller waits
                            (1) or not (0), in the log the ms of its append, and of an observation what is in it:
                            v a vector (KATO names it), s strings alone, e neither (it adds nothing to the STM)
    7f9c…                   event_id
    {"v":1,"ts":…,"meta":…} what KATO does not see: the schema version with which it was appended, timestamp, and
                            metadata and data if there are any
    {"strings":[…],…}       what KATO is sent, ready to be put into observe-sequence (observations only)

So a drain joins observations into a call without parsing them, and Lua tells kinds apart by the first byte. What is in
an observation is written when it is appended, and never guessed from its text. Entries of an early version lack that
letter, and are parsed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from kato_tasks.domain.events import Event, body_digest
from kato_tasks.domain.ids import check_event_id
from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.observations import DEFAULT_LIMITS, Limits, Observation, with_unique_id
from kato_tasks.domain.upcasters import upcast
from kato_tasks.errors import InvalidEvent, UnreadableRow

Kind = Literal["o", "l", "c", "p"]
Content = Literal["v", "s", "e", ""]
"""What is in an observation; '' for another kind of event, and for an entry of an early version."""
KINDS: dict[str, Kind] = {"observation": "o", "learn": "l", "clear_stm": "c", "predict": "p"}
TYPES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it is appended.

    ``wants_result`` says whether a caller waits for its result, ``digest`` tells bodies apart, and ``text`` is what the
    log holds. The caller knows the lane; the entry does not. ``also`` says what else is done when it is appended, see
    ``also_done``.
    """

    session_id: str
    node_id: str | None
    event_id: str
    kind: Kind
    wants_result: bool
    digest: str
    text: str
    also: str = ""


def also_done(*, own_id: bool = False, predict_every: int | None = None, learn_every: int = 0) -> str:
    """Return what else an append does with an event, as ``Entry.also`` says it.

    ``own_id``: its id is remembered although it comes from a source with a high-water mark, because another source may
    bring it as well. ``predict_every``: KATO is asked for predictions for a sink after each position that this number
    divides; 0: after the event, unless another one of the session follows before KATO is asked; None: not at all.
    ``learn_every``: after so many events of the session a learn follows (0: none).
    """
    said = ["id"] if own_id else []
    if predict_every is not None:
        said.append(f"p{predict_every}")
    if learn_every:
        said.append(f"l{learn_every}")
    return " ".join(said)


def entry_of(
    event: Event, *, event_id: str, wanted: bool = False, limits: Limits = DEFAULT_LIMITS, also: str = ""
) -> Entry:
    """Return the log entry of an event. Raises InvalidEvent where it takes more than ``limits.max_event_bytes``."""
    check_event_id(event_id)
    identity = event.observation.kato_json() if event.observation is not None else ""
    body = with_unique_id(identity, event_id) if identity else ""
    when = event.timestamp or datetime.now(UTC)
    head: dict[str, Any] = {"v": event.schema_version, "ts": when.isoformat().replace("+00:00", "Z")}
    if event.metadata:
        head["meta"] = event.metadata
    if event.data is not None:
        head["data"] = event.data
    kind = KINDS[event.event_type]
    text = "\n".join((f"{kind}{int(wanted)}{_content(event.observation)}", event_id, dumps(head), body))
    size = len(text.encode()) if not text.isascii() else len(text)
    if size > limits.max_event_bytes:
        raise InvalidEvent("event", f"takes {size} bytes, at most {limits.max_event_bytes} are allowed")
    digest = body_digest(event.event_type, identity)
    return Entry(event.session_id, event.node_id, event_id, kind, wanted, digest, text, also)


def _content(observation: Observation | None) -> Content:
    if observation is None:
        return ""
    if observation.vectors:
        return "v"
    return "s" if observation.strings else "e"


def predict_entry(session_id: str, event_id: str, until_ms: int = 0, read: str = "") -> Entry:
    """Return the entry of a predict, which takes a place in its session's order and gets no position of its own.

    After ``until_ms`` (ms by the store's clock; 0: never) its answer is not wanted any more, and KATO is not asked.
    ``read`` is what is read at KATO where that is something else than predictions.
    """
    what = f',"read":"{read}"' if read else ""
    head = f'{{"until":{until_ms}{what}}}' if until_ms or read else "{}"
    digest = f"p {read}" if read else "p"
    return Entry(session_id, None, check_event_id(event_id), "p", True, digest, f"p1\n{event_id}\n{head}\n")


@dataclass(slots=True)
class Logged:
    """An entry as it is read from the log at its position.

    It is never changed. It is not frozen only because a drain makes one for each event, and that would take twice as
    long.
    """

    position: int
    kind: Kind
    wanted: bool
    event_id: str
    head: str
    body: str
    content: Content = ""

    @classmethod
    def parse(cls, position: int, text: str) -> Logged:
        """Read an entry's text. Raises UnreadableRow.

        A small letter among the flags that this version does not know is a later version's, and may be ignored. A
        capital letter says that the entry must not be read without knowing it.
        """
        try:
            flags, event_id, head, body = text.split("\n", 3)
        except ValueError:
            raise UnreadableRow(f"the entry at position {position} is broken") from None
        read = _read_flags(flags[:2] + flags[2:].lstrip("0123456789"))
        if read is None:
            raise UnreadableRow(f"the entry at position {position} is of another version or broken: {flags[:40]!r}")
        kind, wanted, content = read
        if kind == "o" and not content:
            content = _parsed_content(position, body)
        return cls(position, kind, wanted, event_id, head, body, content)

    @property
    def has_vectors(self) -> bool:
        """Whether KATO itself names something in this observation, so that the name must be read back."""
        return self.content == "v"

    @property
    def counts(self) -> bool:
        """Whether this observation adds an event to the STM (a string or a vector), not to ``time`` alone."""
        return self.content in ("v", "s")

    def event(self, session_id: str, node_id: str | None = None) -> dict[str, Any]:
        """Return the entry as a standard KATO event (plain JSON) of the current schema version.

        History, sinks and exports all show entries by this. Raises UnreadableRow for a version that a later kato_tasks
        wrote.
        """
        try:
            return upcast(self.as_appended(session_id, node_id))
        except InvalidEvent as exc:
            where = f"the entry at position {self.position} of session {session_id!r}"
            raise UnreadableRow(f"{where} cannot be shown: its {exc.field} {exc.reason}") from None

    def as_appended(self, session_id: str, node_id: str | None = None) -> dict[str, Any]:
        """Return the entry as a standard KATO event (plain JSON) of the schema version with which it was appended.

        ``data`` is there if the event was given any. This never fails for a version. What KATO sees is the same in
        all versions.
        """
        head = json.loads(self.head)
        event: dict[str, Any] = {
            "event_type": TYPES[self.kind],
            "event_id": self.event_id,
            "schema_version": head.get("v", 1),
            "session_id": session_id,
            "node_id": node_id,
            "timestamp": head.get("ts"),
            "position": self.position,
            "metadata": head.get("meta", {}),
        }
        if self.kind == "o":
            event["observation"] = {k: v for k, v in json.loads(self.body).items() if k != "unique_id"}
        if "data" in head:
            event["data"] = head["data"]
        return event


def have_vectors(entries: Sequence[Logged]) -> bool:
    """Return whether KATO itself names something in any of these observations."""
    return "v" in [e.content for e in entries]


def count_events(entries: Sequence[Logged]) -> int:
    """Return how many events these observations add to the STM."""
    contents = [e.content for e in entries]
    return contents.count("s") + contents.count("v")


@lru_cache(maxsize=256)
def _read_flags(flags: str) -> tuple[Kind, bool, Content] | None:
    """Read kind, whether a caller waits, and content from an entry's flags; None where they are another version's."""
    kind, wanted, letters = flags[:1], flags[1:2], flags[2:]
    if kind not in TYPES or wanted not in ("0", "1") or letters.lower() != letters:
        return None
    content = next((letter for letter in letters if letter in "vse"), "")
    return kind, wanted == "1", content  # type: ignore[return-value]


def _parsed_content(position: int, body: str) -> Content:
    """Return what is in an observation whose entry does not say so."""
    try:
        seen = json.loads(body)
        vectors, strings = seen["vectors"], seen["strings"]
    except (ValueError, KeyError, TypeError):
        raise UnreadableRow(f"the observation at position {position} is broken") from None
    if vectors:
        return "v"
    return "s" if strings else "e"
