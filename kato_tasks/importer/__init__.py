"""Imports files of events (CSV, JSON lines) into the log; an import can be resumed and adds each row once.

A row is recognised by its own id, if its file has ids; otherwise by its source (the file's path or a given name), its
content and, among equal rows, its number (``identity.py``). The store keeps a record of each source (``record.py``).
Before anything is appended from a known source, all of it is compared with its record. If imported rows are gone or
differ, the import stops and says which option decides (``comparing.py``). Rejected rows go to a file that can be mended
and then imported itself (``mending.py``).
"""

from kato_tasks.importer.comparing import Changed
from kato_tasks.importer.errors import BadInput, Undecided
from kato_tasks.importer.importing import Importer, Progress
from kato_tasks.importer.intake import Summary
from kato_tasks.importer.mapping import Columns
from kato_tasks.importer.mending import MendedImporter
from kato_tasks.importer.rejects import Rejects, is_rejects
from kato_tasks.importer.source import Source, open_source

__all__ = [
    "BadInput",
    "Changed",
    "Columns",
    "Importer",
    "MendedImporter",
    "Progress",
    "Rejects",
    "Source",
    "Summary",
    "Undecided",
    "is_rejects",
    "open_source",
]
