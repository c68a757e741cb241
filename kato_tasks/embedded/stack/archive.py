"""Choose the archive of the embedded stack, and bring its tables to this version before anything uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from kato_tasks.errors import ArchiveUnavailable, ConfigurationError

FILE = "archive.sqlite3"
VARIABLE = "KATO_TASKS_ARCHIVE_URL"
_PREFIX = "KATO_TASKS_"
_SIGNS = {"%": "%25", "?": "%3F", "#": "%23"}
"""The signs of a path that have a meaning of their own in the address of a database."""


class ArchiveUnusable(RuntimeError):
    """Raised when the stack cannot work with its archive. The message says why and what to do."""


def address_in(data: Path) -> str:
    """Return the address of the archive that a stack has in its own directory."""
    path = "".join(_SIGNS.get(sign, sign) for sign in str(data / FILE))
    return f"sqlite:///{path}"


def prepare(url: str, settings: Mapping[str, str]) -> str:
    """Make the archive's tables, or bring them to this version, and return its address without a password.

    Only SQLite's tables are changed: those of a server may be others' too. ``settings`` are the stack's, as environment
    variables. Raises ArchiveUnusable.
    """
    # Imported late: the packages of the extra `archive` take their time, and a stack may have no archive.
    from kato_tasks.bootstrap import archive_schema
    from kato_tasks.settings import Settings

    given = {name.removeprefix(_PREFIX).lower(): text for name, text in settings.items() if name.startswith(_PREFIX)}
    try:
        with contextlib.closing(archive_schema(Settings(**given | {"archive_url": url}))) as tables:
            found = tables.upgrade() if url.startswith("sqlite") else tables.status()
    except (ArchiveUnavailable, ConfigurationError) as exc:
        raise ArchiveUnusable(str(exc)) from None
    if found.problem is not None:
        raise ArchiveUnusable(f"the archive {found.address} {found.problem}")
    return found.address


__all__ = ["FILE", "VARIABLE", "ArchiveUnusable", "address_in", "prepare"]
