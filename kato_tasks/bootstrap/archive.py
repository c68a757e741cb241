"""Open the archive that the settings name, once something asks for it, and the tables it stands on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings, extras

if TYPE_CHECKING:
    from kato_tasks.ports.archive import Archive
    from kato_tasks.ports.archive_schema import ArchiveSchema


class LazyArchive:
    """The archive of one process, which is opened on first use. Threads may ask at the same time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: Archive | None = None

    def archive(self) -> Archive | None:
        """Return the archive, or None if there is none.

        Raises ConfigurationError if its packages are missing or its tables do not fit, and ArchiveUnavailable.
        """
        if not self._url or self._opened is not None:
            return self._opened
        with self._lock:
            if self._opened is None:
                extras.require("KATO_TASKS_ARCHIVE_URL", "archive")
                from kato_tasks.adapters.sql.archive import open_archive

                archive = open_archive(self._url)
                try:
                    archive.check()
                except BaseException:
                    archive.close()
                    raise
                self._opened = archive
            return self._opened

    def close(self) -> None:
        """Close it if it was opened. The next use opens it again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


def archive_schema(config: Settings) -> ArchiveSchema:
    """Return the tables of the archive that the settings name.

    Raises ConfigurationError if they name none, or if the packages that it needs are missing.
    """
    if not config.archive_url:
        raise ConfigurationError(
            "KATO_TASKS_ARCHIVE_URL is empty, so there is no archive; set it to "
            "postgresql://user:password@host/database or sqlite:////absolute/path"
        )
    extras.require("kato-tasks db", "archive")
    from kato_tasks.adapters.sql.schema import open_schema

    return open_schema(config.archive_url)


__all__ = ["LazyArchive", "archive_schema"]
