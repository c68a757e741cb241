"""Key names of the store. The hash tag ``{pNNN}`` keeps a partition in one Cluster slot."""

from __future__ import annotations

from collections.abc import Mapping

BINDING_FIELDS = ("b0", "b1", "b2", "b3")
INTENT_FIELDS = ("i0", "i1", "i2", "i3")
"""Fields of a session's hash that hold one text in pieces (``lua/_lib.lua``: put_text)."""

WORKER_SIGNS = "kt:{signs}:worker:"
BEAT_SIGNS = "kt:{signs}:beat:"
"""What the keys begin with in which workers and beats say that they live (``lua/sign.lua``)."""
ACKNOWLEDGED = "kt:{signs}:acknowledged"
"""What a person acknowledged of the whole."""


def text_in(state: Mapping[str, str], fields: tuple[str, ...]) -> str:
    """The text that lies in these fields of a session's hash; empty when there is none."""
    return "".join(state.get(field, "") for field in fields)


def prefix(partition: int) -> str:
    """What every key of a partition begins with; ``lua/_lib.lua`` says what follows."""
    return f"kt:{{p{partition:03d}}}:"


def wake_mark(shard: int) -> str:
    """Set while a wake-up of the shard is outstanding."""
    return f"kt:{{w{shard:03d}}}:wake"


def overdue_mark(shard: int) -> str:
    """Set while a wake-up that overtakes the shard's queue is outstanding."""
    return f"kt:{{w{shard:03d}}}:overdue"
