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
JOURNEYS = (("open", "read", "reply"), ("open", "close"), ("open", "read", "archive", "größe"), ("open", "scan"))
SEEN = {"scan": [[0.25, 1.5, -2.0]], "archive": [[1.0, 0.0, 0.5], [0.125, 3.0, 0.5]]}
"""Steps of a journey at which the application sends vectors too."""
ODD_METADATA: tuple[dict[str, Any], ...] = (
    {"vectors": []},
    {"deep": {"vectors": [], "strings": ["x"]}, "strings": [], "unique_id": "another"},
    {'"vectors":[]': 1, "it's": None, "größe\n買い手": [1, 2.5, True], "$set": {"a.b": {}}},
    {"": "no name", "vectors": [[0.5, 0.5]], "observations": [{"strings": ["y"]}]},
)
SLOW_NODES = 4


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    node_id: str | None
    journeys: bool
    """observes the same few words again and again, so that patterns repeat"""
    weight: float


def sessions_of(seed: int, count: int, nodes: int = 0, tag: str = "") -> list[Session]:
    """Ids with spaces, slashes, line breaks and beyond ASCII; some nodes of their own, some shared by many.

    A few nodes are slow ones (`slow_nodes`): one of them is shared. ``nodes``: so many for all of them. ``tag``: a part
    of every name, for a KATO that has met the same names before.
    """
    forms = ("user {}", "käufer/{}", "s-{}", "買い手 {} ☂", "line\nbreak {}", "it's {}", "Case  {}", "{}")
    out = []
    for number in range(count):
        shared = number % 10 < 4
        node = f"shop {number % 5}-{seed % 7}{tag}" if shared else None
        if number % 25 == 9 and number < 25 * (SLOW_NODES - 1):
            node = f"slow_{number}{tag}"
        elif nodes and not shared:
            node = f"Node {number % (nodes - 5 - (SLOW_NODES - 1))}{tag}"
        weight = 12.0 if number % 100 == 57 else 1.0
        out.append(Session(forms[number % len(forms)].format(f"{seed}{tag}.{number}"), node, number % 3 == 0, weight))
    return out


def slow_nodes(sessions: list[Session]) -> list[str]:
    """Nodes whose every call takes long: of single sessions, and the one of the last shop."""
    single = [session.node_id for session in sessions if (session.node_id or "").startswith("slow_")]
    shop = next(session.node_id for session in sessions if (session.node_id or "").startswith("shop 3"))
    return [node for node in (*single, shop) if node is not None]


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

    def written(self, session: Session) -> int:
        """How many events the session has."""
        return self._written.get(session.id, 0)

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
            step = journey[number % 8 % len(journey)]
            return {"strings": [step], "vectors": SEEN.get(step, [])}
        seen: dict[str, Any] = {"strings": [f"e{number:06d}", rng.choice(WORDS)]}
        if rng.random() < 0.3:
            seen["emotives"] = {"sentiment": round(rng.uniform(-1, 1), 3), "größe": 2.5}
        if rng.random() < 0.1:
            seen["metadata"] = {"source": "chaos", "n": number}
        if rng.random() < 0.1:
            seen["metadata"] = rng.choice(ODD_METADATA)
        if rng.random() < 0.1:
            # KATO puts vectors before strings, and sorts strings: "7" and "Room" before a vector's symbol.
            if rng.random() < 0.4:
                seen["strings"] += ["Room", "7"]
            seen["vectors"] = [[round(rng.uniform(-1, 1), 6) for _ in range(4)] for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.3:
                seen["strings"] = []
        if rng.random() < 0.04:
            return {"strings": [], "emotives": {"sentiment": 0.25}}
        return seen
