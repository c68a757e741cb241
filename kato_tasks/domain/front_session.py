"""What the KATO-shaped routes answer about a session: its metadata, TTL and config, which KATO would know. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.domain.json_text import ascii_dumps, dumps
from kato_tasks.domain.session_config import breach
from kato_tasks.errors import UnreadableRow
from kato_tasks.kato_wire.config import at_creation

DEFAULT_TTL_SECONDS = 3600
"""KATO's own default. A session of ours does not expire; the TTL is only answered."""

MOST_TTL_SECONDS = 200_000_000_000
"""Up to here there are dates."""


@dataclass(frozen=True, slots=True)
class FrontSession:
    """A session as the client of KATO's own API made it.

    ``config`` has the keys that the client asked for and that KATO would keep. ``created_ms`` is ms since 1970.
    ``ended`` says that the client deleted it: it answers 404 from then on, and its history stays.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    ttl_seconds: int = DEFAULT_TTL_SECONDS
    created_ms: int = 0
    ended: bool = False

    def dump(self) -> str:
        """Return the session as it is stored."""
        return dumps(
            {
                "metadata": self.metadata,
                "config": self.config,
                "ttl": self.ttl_seconds,
                "created": self.created_ms,
                "ended": self.ended,
            }
        )

    @classmethod
    def load(cls, text: str) -> FrontSession:
        """Read what was stored. Raises UnreadableRow."""
        try:
            row = json.loads(text)
            return cls(row["metadata"], row["config"], int(row["ttl"]), int(row["created"]), bool(row["ended"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise UnreadableRow(f"what is kept of the session's creation cannot be read ({exc!r})") from None

    def kato_config(self) -> dict[str, Any]:
        """Return the part of the config that KATO is told for this session.

        Keys of the protocol, keys without any effect at KATO, and values with which KATO's predictions would fail are
        answered to the client, and not passed on. Nor is a value that KATO takes at a change alone: at a creation it
        would drop all of the config for it.
        """
        return {
            name: value
            for name, value in self.config.items()
            if not breach({name: value}, "pass") and at_creation({name: value})
        }


def config_text(config: Mapping[str, Any]) -> str:
    """Return a session's own config as the store keeps it with the session; '' for none."""
    return ascii_dumps(dict(sorted(config.items()))) if config else ""


def read_config(text: str) -> dict[str, Any]:
    """Read what ``config_text`` made. Raises UnreadableRow."""
    try:
        read = json.loads(text) if text else {}
    except ValueError as exc:
        raise UnreadableRow(f"the session's own config is no JSON ({exc})") from None
    if not isinstance(read, dict):
        raise UnreadableRow("the session's own config is no JSON object")
    return read
