"""Key names of the store. The hash tag ``{pNNN}`` keeps a partition in one Cluster slot."""

from __future__ import annotations

from collections.abc import Mapping

from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.ports.operating import SignOf
from kato_tasks.ports.waiting_tasks import MarkOf

BINDING_FIELDS = ("b0", "b1", "b2", "b3")
INTENT_FIELDS = ("i0", "i1", "i2", "i3")
"""Fields of a session's hash that hold one text in pieces (``lua/_lib.lua``: put_text)."""

SIGNS: dict[SignOf, str] = {
    "worker": "kt:{signs}:worker:",
    "beat": "kt:{signs}:beat:",
    "listener": "kt:{signs}:listener:",
}
"""What the keys begin with in which workers, beats and listeners say that they live (``lua/give_sign.lua``)."""
ACKNOWLEDGED = "kt:{signs}:acknowledged"
"""What a person acknowledged of the whole."""
CALL_COUNTS = "kt:{signs}:calls"
"""How calls to KATO ended and how long they took, counted by name (``lua/add_counts.lua``)."""
OPEN_CIRCUIT = "kt:{breaker}:open:"
"""What the keys begin with that say that a KATO instance's circuit is open, and why (``breaker.py``)."""
READERS = "kt:{listening}:reader:"
"""What the keys begin with that hold the token of a source's one reader; they expire (``lua/hold_reader.lua``)."""
BODIES = "kt:{listening}:bodies:"
"""What the keys begin with, hash: event id -> digest of the body of a message that may come again (``KeepBodies``)."""
IMPORTS = "kt:{import}:"
"""What the keys begin with in which imports are remembered (``import_checkpoints.py``)."""


_MARKS: dict[MarkOf, str] = {"wake-up": "wake", "overtaking": "overdue", "archiving": "archiving"}


def text_in(state: Mapping[str, str], fields: tuple[str, ...]) -> str:
    """Return the text that lies in these fields of a session's hash; it is empty when they are missing."""
    return "".join(state.get(field, "") for field in fields)


def prefix(partition: int) -> str:
    """Return what every key of a partition begins with; ``lua/_lib.lua`` says what follows."""
    return f"kt:{{p{partition:03d}}}:"


def prefix_of_node(node: str) -> str:
    """Return what every key of a node's lane begins with."""
    return prefix(partition_of(lane_of(node)))


def mark(of: MarkOf, shard: int) -> str:
    """Return the key of a mark; see ``MarkOf``."""
    if of == "sweep":
        return "kt:{sweep}:turn"
    return f"kt:{{w{shard:03d}}}:{_MARKS[of]}"


def literal(text: str) -> str:
    """Return a text for MATCH in which all characters stand for themselves."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
