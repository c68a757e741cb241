"""Turn whatever a database or its driver raises into one sentence that says what to do, without secrets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from kato_tasks.errors import ArchiveUnavailable

UPGRADE = "run `kato-tasks db upgrade`"
_STATES = {
    "25006": "is read-only: name the primary, which takes writes",
    "28": "refuses the user: correct the name and password in KATO_TASKS_ARCHIVE_URL",
    "3D000": "does not exist: create the database, then " + UPGRADE,
    "42501": "refuses this to the user: grant the user the rights on its tables",
    "42P01": "has no tables: " + UPGRADE,
    "42703": "has other columns than this version needs: " + UPGRADE,
    "42P07": "has a table of that name which `kato-tasks db upgrade` did not make",
    "53100": "is full: make room on its disk",
    "53300": "has no connection left: raise its max_connections, or use fewer processes",
    "53": "is short of memory or disk",
    "57014": "took too long for a statement, and stopped it",
    "55P03": "has been locked by something else for too long",
    "40": "let another writer go first: the same call can be repeated",
}
"""What an SQLSTATE, or its first two signs, says of PostgreSQL."""
_TEXTS = {
    "database or disk is full": _STATES["53100"],
    "readonly database": "is read-only: let this process's user write the file and its directory",
    "unable to open database file": "cannot be opened: its directory must exist, and be writable for this user",
    "no such table": _STATES["42P01"],
    "already exists": _STATES["42P07"],
    "no such column": _STATES["42703"],
    "has no column named": _STATES["42703"],
    "database is locked": "has been locked by another writer for too long",
    "file is not a database": "is no SQLite database: name another file in KATO_TASKS_ARCHIVE_URL",
    "malformed": "is broken: restore the file from a backup",
}
"""The same of SQLite, which has no codes that reach here."""


@contextlib.contextmanager
def archive_errors(where: str, driver: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise ArchiveUnavailable for every error of SQLAlchemy, and of the driver's own classes.

    ``where`` names the database without a password.
    """
    kinds: tuple[type[Exception], ...] = (SQLAlchemyError, *driver)
    try:
        yield
    except NoConnectionFree:
        raise ArchiveUnavailable(f"the archive {where} has no free connection in this process") from None
    except kinds as exc:
        cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
        raise ArchiveUnavailable(f"the archive {where} {_clause(cause)}") from exc


def _clause(cause: BaseException) -> str:
    state = getattr(cause, "sqlstate", None) or ""
    text = " ".join(str(cause).split())
    said = _STATES.get(state) or _STATES.get(state[:2])
    said = said or next((clause for part, clause in _TEXTS.items() if part in text), None)
    if said is None:
        # A refused login has no code: libpq tells it while connecting.
        said = _STATES["28"] if "authentication failed" in text else _told(text, state)
    return said


def _told(text: str, state: str) -> str:
    if "does not exist" in text and "database" in text:
        return _STATES["3D000"]
    text = re.sub(r"^connection failed: ", "", text)
    return f"{'refuses' if state and state[:2] not in ('08', '57') else 'does not answer'} ({text[:300]})"


__all__ = ["UPGRADE", "archive_errors"]
