"""What is sent to Redis for a store operation: the call of a script, or a plain command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Arg = str | int
Decode = Callable[[Any, Any], Any]
"""A function that makes an operation's answer from the operation and the raw answer of Redis."""


@dataclass(slots=True)
class ScriptCall:
    """The call of a script: its name, its one key, and its arguments in the order of its calling card.

    Nothing changes it. It is not frozen, because one is made for each operation and that would take twice as long.
    """

    script: str
    key: str
    args: list[Arg]
    operation: Any
    decode: Decode

    @property
    def name(self) -> str:
        """Return how an error names the call."""
        return self.script


@dataclass(slots=True)
class Command:
    """A plain command of Redis, as it is sent."""

    words: Sequence[Arg]
    operation: Any
    decode: Decode

    @property
    def name(self) -> str:
        """Return how an error names the call."""
        return str(self.words[0])


Call = ScriptCall | Command
