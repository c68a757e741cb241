"""A broker's message that is no valid event, as its dead letter keeps it: every byte of it, and where it came from."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kato_tasks.errors import UnreadableRow

Part = str | dict[str, str]
"""Bytes in JSON: their text where they are UTF-8, else ``{"base64": …}``."""


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """What a dead letter keeps of a message.

    ``place`` says where it stood in its source. ``decoder`` names the function that was to read it, '' for the standard
    form. ``size`` is how many bytes its body had; a body that is longer than ``value`` was cut, and cannot be redriven.
    """

    source: str
    place: str
    value: bytes
    size: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    decoder: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all of its body is here."""
        return self.fields is not None or len(self.value) == self.size

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        row: dict[str, Any] = {"source": self.source, "place": self.place, "bytes": self.size}
        if self.decoder:
            row["decoder"] = self.decoder
        if self.key is not None:
            row["key"] = _part(self.key)
        if self.headers:
            row["headers"] = [[name, _part(value)] for name, value in self.headers]
        if self.fields is not None:
            row["fields"] = [[_part(name), _part(value)] for name, value in self.fields]
        else:
            row["body"] = _part(self.value)
        return row

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> RefusedMessage:
        """Read what ``as_json`` returned. Raises UnreadableRow for anything else."""
        try:
            return cls(
                source=row["source"],
                place=row["place"],
                size=int(row["bytes"]),
                value=_bytes(row.get("body", "")),
                key=_bytes(row["key"]) if "key" in row else None,
                headers=tuple((str(name), _bytes(value)) for name, value in row.get("headers", ())),
                fields=(
                    tuple((_bytes(name), _bytes(value)) for name, value in row["fields"]) if "fields" in row else None
                ),
                decoder=row.get("decoder", ""),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise UnreadableRow(f"the message in a dead letter is broken ({exc!r})") from None


def _part(value: bytes) -> Part:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _bytes(part: Part) -> bytes:
    return part.encode() if isinstance(part, str) else b64decode(part["base64"])
