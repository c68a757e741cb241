"""What is wrong with a file, or with one row of it."""

from __future__ import annotations

from kato_tasks.errors import KatoTasksError


class BadInput(KatoTasksError):
    """The file or the mapping cannot be imported as it is; the message is one sentence for a person."""


class Undecided(BadInput):
    """What is in the file can be read in two ways; nothing was appended, and the message names the deciding option."""


class RowRejected(KatoTasksError):
    """One row is no event; it goes to the rejects and the rest goes on."""
