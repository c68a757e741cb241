"""The archive's table, as the code of this version sees it. The migrations make it, and never read this module."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, PrimaryKeyConstraint, Table, Text

REVISION = "0002"
"""The newest migration of this version. It works with the one before and the one after, too."""
VERSION_TABLE = "kato_events_version"
COLUMNS = (
    "session_id",
    "position",
    "node",
    "lane",
    "lane_order",
    "applied_ms",
    "appended_ms",
    "event_id",
    "type",
    "time_ms",
    "dead",
    "schema_version",
    "entry",
)
"""The columns, in the order in which ``rows.row_of`` fills them."""


def _columns() -> list[Column[Any]]:
    numbers = {"position", "lane_order", "applied_ms", "appended_ms", "time_ms"}
    types: dict[str, Any] = {"dead": Boolean(), "schema_version": Integer(), **dict.fromkeys(numbers, BigInteger())}
    return [Column(name, types.get(name, Text()), nullable=name == "appended_ms") for name in COLUMNS]


events = Table("kato_events", MetaData(), *_columns(), PrimaryKeyConstraint("session_id", "position"))
"""A name of its own, because the database may be one that an application has already."""

incoming = Table(
    "kato_events_incoming",
    MetaData(),
    *_columns(),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
"""What a write on PostgreSQL compares with what is kept, if some of it is kept already."""

__all__ = ["COLUMNS", "REVISION", "VERSION_TABLE", "events", "incoming"]
