"""What a real KATO was sent and what it really answered, as the embedded one keeps it of itself.

Fed by `tests.chaos.recorder`, call by call. What became of a call whose answer KATO never gave (it was killed) shows
in the `time` of its session's next answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from kato_tasks.embedded.kato.sessions import Sessions
from kato_tasks.embedded.kato.traffic import Traffic
from kato_tasks.kato_wire.names import sanitised

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    key: str


@dataclass(slots=True)
class Known:
    """A KATO session as its answers show it."""

    id: str
    node: Node
    alive: bool = True
    time: int = 0
    applied: list[str] = field(default_factory=list)
    """unique ids of its observations in the order of KATO's answers"""
    unanswered: list[list[str]] = field(default_factory=list)
    stm: list[list[str]] = field(default_factory=list)
    """as KATO last answered it"""

    def seen_at(self, counted: int) -> None:
        """KATO says how many observes it has counted: the calls that it never answered were applied, or were not."""
        for ids in self.unanswered:
            if self.time + len(ids) <= counted:
                self.applied += ids
                self.time += len(ids)
        self.unanswered.clear()
        self.time = counted


@dataclass(frozen=True, slots=True)
class Request:
    """A call as far as the books go."""

    method: str
    path: str
    body: bytes

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    @property
    def session(self) -> str:
        parts = self.parts
        return parts[1] if parts[0] == "sessions" and len(parts) > 1 else ""

    @property
    def action(self) -> str:
        """As the routes of the embedded KATO are called."""
        parts = self.parts
        if parts[0] != "sessions":
            return parts[0]
        if len(parts) == 1:
            return "create"
        return parts[2] if len(parts) > 2 else "delete" if self.method == "DELETE" else "get"

    @property
    def json(self) -> Json:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def node(self) -> str:
        """The node that a call without a session names."""
        if self.action == "create":
            return str(self.json.get("node_id", ""))
        return parse_qs(urlsplit(self.path).query).get("node_id", [""])[0]

    @property
    def observations(self) -> list[Json]:
        if self.action == "observe-sequence":
            return list(self.json.get("observations", ()))
        return [self.json] if self.action == "observe" else []

    @property
    def ids(self) -> list[str]:
        return [str(one.get("unique_id", "")) for one in self.observations]


class Journal:
    """Not thread-safe: one call at a time, under the recorder's lock."""

    def __init__(self) -> None:
        self.sessions: dict[str, Known] = {}
        self.names: dict[str, set[str]] = {}
        """sanitised node → names of the patterns that were, or may have been, learned there"""
        self.traffic = Traffic(lambda: cast(Sessions, self))
        self.requests: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.unanswered: list[str] = []

    def peek_live(self, session_id: str) -> Known | None:
        """For the count of overlaps."""
        known = self.sessions.get(unquote(session_id))
        return known if known is not None and known.alive else None

    def node_of(self, call: Request) -> str:
        known = self.sessions.get(call.session)
        return known.node.key if known is not None else sanitised(call.node)

    def sent(self, call: Request) -> None:
        """It goes to KATO now."""
        self.requests[call.action] += 1
        known = self.sessions.get(call.session)
        if known is not None and call.action == "learn" and known.stm:
            name = hashlib.sha1(str(known.stm).encode(), usedforsecurity=False).hexdigest()
            self.names.setdefault(known.node.key, set()).add(f"PTRN|{name}")
        if call.action == "pattern" and len(call.parts) > 1:
            self.names.setdefault(sanitised(call.node), set()).add(call.parts[1])

    def lost(self, call: Request) -> None:
        """KATO ended before it answered."""
        self.unanswered.append(f"{time.time():.3f} {call.method} {call.path}")
        known = self.sessions.get(call.session)
        if known is not None and call.observations:
            known.unanswered.append(call.ids)

    def answered(self, call: Request, status: int, body: bytes) -> bool:
        """KATO answered; whether that changed anything there."""
        if status != 200:
            return False
        answer = _loads(body)
        if call.action == "create":
            made = str(answer.get("session_id"))
            self.sessions[made] = Known(made, Node(sanitised(call.node)))
            return True
        known = self.sessions.get(call.session)
        if known is None:
            return False
        match call.action:
            case "observe" | "observe-sequence":
                self._observed(known, call, answer)
            case "learn":
                known.stm = []
                self.done["learns"] += 1
                if answer.get("pattern_name"):
                    self.names.setdefault(known.node.key, set()).add(str(answer["pattern_name"]))
            case "clear-stm":
                known.seen_at(0)
            case "delete":
                known.alive = False
            case "cognition-data":
                seen = answer["cognition_data"]
                known.seen_at(int(seen["time"]))
                known.stm = seen["short_term_memory"]
                return False
            case "stm":
                known.stm = answer["stm"]
                return False
            case "predictions":
                self.done["predictions"] += 1
                return False
            case _:
                return False
        return True

    def _observed(self, known: Known, call: Request, answer: Json) -> None:
        ids = call.ids
        if not ids:
            return
        results = answer.get("results") or [answer]
        after = int(results[-1]["time"])
        known.seen_at(after - len(ids))
        known.applied += ids
        known.time = after
        self.done["observes"] += len(ids)


def _loads(body: bytes) -> Json:
    found = json.loads(body)
    return found if isinstance(found, dict) else {}
