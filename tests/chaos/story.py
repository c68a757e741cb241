"""What the application wants: sessions and their events, the same for the same seed."""

import random
from dataclasses import dataclass
from typing import Any

WORDS = (
    "login",
    "search",
    "page:dashboard",
    "add to cart",
    "ship it",
    "größe",
    "買い物",
    "☂ rain",
    "it's",
    "back\\slash",
)
JOURNEYS = (("open", "read", "reply"), ("open", "close"), ("open", "read", "archive", "größe"))


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    node_id: str | None
    journeys: bool
    """observes the same few words again and again, so that patterns repeat"""
    weight: float


def sessions_of(seed: int, count: int) -> list[Session]:
    """Ids with spaces, slashes, line breaks and beyond ASCII; some nodes of their own, some shared by many."""
    forms = ("user {}", "käufer/{}", "s-{}", "買い手 {} ☂", "line\nbreak {}", "it's {}", "Case  {}", "{}")
    out = []
    for number in range(count):
        shared = number % 10 < 4
        node = f"shop {number % 5}-{seed % 7}" if shared else None
        weight = 12.0 if number % 100 == 57 else 1.0
        out.append(Session(forms[number % len(forms)].format(f"{seed}.{number}"), node, number % 3 == 0, weight))
    return out


class Author:
    """Writes one caller's events: for its own sessions, one after another."""

    def __init__(self, seed: int, caller: int, sessions: list[Session]) -> None:
        self._rng = random.Random(f"{seed}|{caller}")
        self._sessions = sessions
        self._weights = [session.weight for session in sessions]
        self._caller = caller
        self._written: dict[str, int] = {}

    def pick(self, count: int) -> list[Session]:
        return self._rng.choices(self._sessions, self._weights, k=count)

    def chance(self, share: float) -> bool:
        return self._rng.random() < share

    def batch(self, most: int) -> int:
        return self._rng.randint(2, most)

    def next_event(self, session: Session) -> dict[str, Any]:
        """The session's next standard event. Its first is an observation, which names the node."""
        number = self._written.get(session.id, 0)
        self._written[session.id] = number + 1
        event: dict[str, Any] = {
            "event_type": "observation",
            "session_id": session.id,
            "event_id": f"{session.id!r}-{number}",
            "timestamp": "2025-11-13T10:30:00Z",
        }
        if session.node_id is not None:
            event["node_id"] = session.node_id
        kind = self._kind(session, number)
        if kind != "observation":
            return event | {"event_type": kind}
        return event | {"observation": self._observation(session, number)}

    def closing_event(self, session: Session) -> dict[str, Any]:
        """One more observation, when the faults are over: it makes any wrong state of KATO's show."""
        number = self._written.get(session.id, 0)
        self._written[session.id] = number + 1
        return {
            "session_id": session.id,
            "node_id": session.node_id,
            "event_id": f"{session.id!r}-{number}",
            "observation": {"strings": [f"end {number}"]},
        }

    def _kind(self, session: Session, number: int) -> str:
        if number == 0:
            return "observation"
        if session.journeys:
            # A journey and its learn: the same patterns again and again on shared nodes.
            journey = JOURNEYS[(number // 8) % len(JOURNEYS)]
            return "learn" if number % 8 == len(journey) else "observation"
        if session.weight > 1:
            return "observation"
        chance = self._rng.random()
        return "learn" if chance < 0.04 else "clear_stm" if chance < 0.05 else "observation"

    def _observation(self, session: Session, number: int) -> dict[str, Any]:
        rng = self._rng
        if session.journeys:
            journey = JOURNEYS[(number // 8) % len(JOURNEYS)]
            return {"strings": [journey[number % 8 % len(journey)]]}
        seen: dict[str, Any] = {"strings": [f"e{number:06d}", rng.choice(WORDS)]}
        if rng.random() < 0.3:
            seen["emotives"] = {"sentiment": round(rng.uniform(-1, 1), 3), "größe": 2.5}
        if rng.random() < 0.1:
            seen["metadata"] = {"source": "chaos", "n": number}
        if rng.random() < 0.04:
            return {"strings": [], "emotives": {"sentiment": 0.25}}
        return seen
