"""Errors of a file, or of one row in it."""

from __future__ import annotations

from kato_tasks.errors import KatoTasksError


class BadInput(KatoTasksError):
    """The file or the mapping cannot be imported as it is; the message is one sentence for a person."""


class Undecided(BadInput):
    """The file can be understood in two ways; nothing was appended, and the message names the option that decides."""


class RowRejected(KatoTasksError):
    """One row is not a valid event; it goes to the rejects file, and the import goes on."""
