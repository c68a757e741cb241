"""Files of events (CSV, JSONL) into the log: resumable, and adding nothing twice.

Every line extends a chain of hashes over all lines so far, which starts from the mapping options. A row's
``event_id`` is the chain at its last line: the same row at the same place of the same file has the same id
whenever, however often and by however many imports it is read, also when the file has grown meanwhile.
Blocks of lines that are in the store completely are written down (checkpoints), so that a later import
passes over them without sending anything.
"""

from kato_tasks.importer.errors import BadInput
from kato_tasks.importer.importing import Importer, Progress, Summary
from kato_tasks.importer.mapping import Columns
from kato_tasks.importer.rejects import Rejects
from kato_tasks.importer.source import Source, open_source
from kato_tasks.importer.store import ImportStore

__all__ = ["BadInput", "Columns", "ImportStore", "Importer", "Progress", "Rejects", "Source", "Summary", "open_source"]
