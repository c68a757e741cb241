"""Keep a KATO's state in a directory: in a SQLite file, and in a journal of what is not in that file yet.

A call adds one record to the journal, which costs it a few microseconds. From time to time the records go into the
tables, all in one transaction. Each change says what a row is from now on, so carrying it out again changes nothing. If
a process is killed in between, the next one therefore carries out the whole journal once more.

Only one process at a time uses a directory, and files that another program made are never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from kato_tasks.embedded.kato.kept_journal import Damaged, Journal

NAME = "kato.sqlite3"
APPLICATION = 0x4B41544F  # "KATO", in the header of each of our files
VERSION = 1
_MAGIC = b"SQLite format 3\0"

_TABLES = """
CREATE TABLE sessions (number INTEGER PRIMARY KEY, made TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE observed (session INTEGER, piece INTEGER, body TEXT NOT NULL, PRIMARY KEY (session, piece)) WITHOUT ROWID;
CREATE TABLE nodes (node TEXT PRIMARY KEY, patterns INTEGER NOT NULL DEFAULT 0, vector_size INTEGER);
CREATE TABLE patterns (number INTEGER PRIMARY KEY, node TEXT NOT NULL, name TEXT NOT NULL, count INTEGER, events TEXT,
  emotives TEXT, metadata TEXT, fixed TEXT, UNIQUE (node, name));
CREATE TABLE symbols (node TEXT, symbol TEXT, members INTEGER, occurrences INTEGER, affinities TEXT,
  PRIMARY KEY (node, symbol)) WITHOUT ROWID;
CREATE TABLE vectors (number INTEGER PRIMARY KEY, node TEXT NOT NULL, learned INTEGER NOT NULL, name TEXT NOT NULL,
  body TEXT NOT NULL, UNIQUE (node, learned, name));
"""

Change = tuple[Any, ...]
"""What the change does (a key of ``_STATEMENTS``), then its values: whole numbers, None, and what the tables hold as
JSON."""

_PATTERN = """
INSERT INTO patterns (node, name, count, events, emotives, metadata, fixed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
  ON CONFLICT DO UPDATE SET count=?3, events=?4, emotives=?5, metadata=?6, fixed=?7
"""
_STATEMENTS: dict[str, tuple[str, ...]] = {
    "forget all": tuple(
        f"DELETE FROM {table}"  # noqa: S608  names of our own
        for table in ("sessions", "observed", "nodes", "patterns", "symbols", "vectors")
    ),
    "make session": ("INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3)",),
    "session": ("UPDATE sessions SET state=?2 WHERE number=?1",),
    "drop session": ("DELETE FROM sessions WHERE number=?1", "DELETE FROM observed WHERE session=?1"),
    "forget observed": ("DELETE FROM observed WHERE session=?1",),
    "observed": ("INSERT OR REPLACE INTO observed VALUES (?1, ?2, ?3)",),
    "forget patterns": ("DELETE FROM patterns WHERE node=?1", "DELETE FROM symbols WHERE node=?1"),
    "pattern": (_PATTERN,),
    "symbol": ("INSERT OR REPLACE INTO symbols VALUES (?1, ?2, ?3, ?4, ?5)",),
    "patterns": ("INSERT INTO nodes (node, patterns) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET patterns=?2",),
    "vector size": ("INSERT INTO nodes (node, vector_size) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET vector_size=?2",),
    "vector": (
        "INSERT INTO vectors (node, learned, name, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET body=?4",
    ),
    "forget vector": ("DELETE FROM vectors WHERE node=?1 AND learned=?2 AND name=?3",),
}

_KEYS = {"session": 2, "pattern": 3, "symbol": 3, "patterns": 2}
"""The kinds of change of which only the newest one of a row counts, and how many items of a change name its row."""

SYNCHRONOUS = "NORMAL"
"""With this, only SQLite's checkpoints wait for the disk. A killed process loses nothing. A power cut loses what was
written last, but does not damage the file."""
CHANGES = 3_000
"""The number of waiting changes in the journal at which they go into the tables."""
JOURNAL_BYTES = 4_000_000
"""The size of the journal in bytes at which its changes go into the tables."""

dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Returns ASCII, so that half of a surrogate pair is kept too."""


class Unusable(Exception):
    """Raised when a directory cannot be used. The argument is one sentence. The directory was left as it is."""


class KeptFile:
    """Holds the open and locked files of a directory. ``connection`` reads the tables, brought up to date.

    After reading, ``accept`` must be called before anything is written. Raises Unusable.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._lock = _locked(directory)
        self._waiting: list[Change | None] = []
        self._places: dict[Change, int] = {}
        self._observed: dict[int, list[int]] = {}
        self._accepted = False
        try:
            self._journal = self._opened_journal(directory / "kato.journal")
            try:
                self.connection = self._opened()
                try:
                    self._catch_up()
                except BaseException:
                    self.connection.close()
                    raise
            except BaseException:
                self._journal.close()
                raise
        except BaseException:
            self._lock.close()
            raise

    # -------------------------------------------------------------------- open

    def _opened_journal(self, path: Path) -> Journal:
        try:
            if self._is_there():
                self._look_at_its_head()
            return Journal(path)
        except Damaged as exc:
            raise self.damaged(exc, path) from None
        except OSError as exc:
            raise Unusable(f"{path} cannot be opened: {exc.strerror}; give another directory") from None

    def _is_there(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def _look_at_its_head(self) -> None:
        with self.path.open("rb") as file:
            head = file.read(100)
        if not head.startswith(_MAGIC) or int.from_bytes(head[68:72], "big") != APPLICATION:
            raise Unusable(
                f"{self.path} is not a file of the embedded KATO and was left as it is; give another directory"
            )
        version = int.from_bytes(head[60:64], "big")
        if version != VERSION:
            raise Unusable(
                f"{self.path} is of another version ({version}, this one writes {VERSION}) and was left as it is; "
                "use the kato_tasks that wrote it, or give another directory"
            )

    def _opened(self) -> sqlite3.Connection:
        new = not self._is_there()
        connection = None
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            if new:
                connection.executescript(
                    f"BEGIN; PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; {_TABLES} COMMIT;"
                )
            elif (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        except sqlite3.Error as exc:
            if connection is not None:
                connection.close()
            if isinstance(exc, sqlite3.OperationalError):
                raise Unusable(f"{self.path} cannot be used: {exc}; give another directory") from None
            raise self.damaged(exc) from None
        return connection

    def _catch_up(self) -> None:
        try:
            for changes in self._journal.found:
                self._wait(changes)
            self._journal.found = []
            self.connection.execute("BEGIN")
            self._carry_out()
        except sqlite3.OperationalError as exc:
            raise Unusable(f"{self.path} cannot be used: {exc}; give another directory") from None
        except (sqlite3.Error, OSError) as exc:
            raise self.damaged(exc) from None

    def damaged(self, what: object, path: Path | None = None) -> Unusable:
        """Return the error to raise when this program cannot have written the content."""
        return Unusable(
            f"{path or self.path} is damaged ({what}) and was left as it is; put a copy of the directory in its place, "
            "or move it away to start without sessions and patterns"
        )

    # ------------------------------------------------------------------- write

    def write(self, changes: list[Change]) -> None:
        """Write down these changes as one, so that a crash keeps all or none. If it raises OSError, none is kept."""
        self._journal.add(changes)
        self._wait(changes)
        if len(self._waiting) >= CHANGES or self._journal.size >= JOURNAL_BYTES:
            # The journal has them already. If the disk is full now, they only stay in the journal for longer.
            with contextlib.suppress(sqlite3.Error, OSError):
                self.settle()

    def _wait(self, changes: Iterable[Change]) -> None:
        """Keep the changes for the tables, except those that later ones make needless."""
        waiting, places = self._waiting, self._places
        for change in changes:
            what = change[0]
            if key_of := _KEYS.get(what):
                key = change[:key_of]
                if (place := places.get(key)) is not None:
                    waiting[place] = change
                    continue
                places[key] = len(waiting)
            elif what == "observed":
                self._observed.setdefault(change[1], []).append(len(waiting))
            elif what == "forget observed":
                for place in self._observed.pop(change[1], ()):
                    waiting[place] = None
            elif what in {"forget patterns", "forget all"}:
                places.clear()
            waiting.append(change)

    def settle(self) -> None:
        """Put the journal's waiting changes into the tables. Raises sqlite3.Error and OSError; they then wait on."""
        if not self._waiting:
            return
        db = self.connection
        db.execute("BEGIN")
        try:
            self._carry_out()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._forget_waiting()

    def accept(self) -> None:
        """Accept what was read as sound: from now on the files are written. Raises sqlite3.Error and OSError."""
        self.connection.execute("COMMIT")
        self._accepted = True
        self._forget_waiting()

    def _carry_out(self) -> None:
        for change in filter(None, self._waiting):
            values = [each if each is None or type(each) is int else dump(each) for each in change[1:]]
            for statement in _STATEMENTS[change[0]]:
                self.connection.execute(statement, values)

    def _forget_waiting(self) -> None:
        self._journal.empty()
        self._waiting.clear()
        self._places.clear()
        self._observed.clear()

    def close(self) -> None:
        """Close the files and free the directory for another process.

        Changes that wait go into the tables if possible; otherwise they stay in the journal for the next start.
        """
        if self._accepted:
            with contextlib.suppress(sqlite3.Error, OSError):
                self.settle()
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        self._journal.close()
        self._lock.close()


def _locked(directory: Path) -> IO[str]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a")
    except OSError as exc:
        raise Unusable(f"{directory} cannot be used: {exc.strerror}; give another directory") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Unusable(f"{directory} is in use by another KATO; stop that one, or give another directory") from None
    return lock
