"""Describe how an operator brings the archive's tables to the version of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The revision of a database's tables (None: it has none), and the newest one that this version knows.

    ``address`` has no password. ``problem`` is a clause that says why this version cannot work with the tables, and
    what to do about it; None if it can.
    """

    address: str
    revision: str | None
    newest: str
    problem: str | None


class ArchiveSchema(Protocol):
    """Migrates the archive's database, under a running system. Every method raises ArchiveUnavailable.

    Two that migrate at once wait for each other.
    """

    def status(self) -> SchemaStatus:
        """Return how the database stands."""

    def upgrade(self) -> SchemaStatus:
        """Bring the tables to the newest revision that this version knows. Later revisions stay as they are.

        Raises ConfigurationError for a database that cannot hold every text.
        """

    def downgrade(self, revision: str) -> SchemaStatus:
        """Take the tables back to a revision. Raises ConfigurationError if there is none of that name."""

    def close(self) -> None:
        """Give every connection back."""
