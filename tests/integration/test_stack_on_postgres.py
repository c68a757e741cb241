"""The embedded stack with a PostgreSQL of the user's own: its tables are theirs to make."""

from __future__ import annotations

import contextlib

import pytest

from kato_tasks.bootstrap import archive_schema
from kato_tasks.embedded.stack.archive import ArchiveUnusable, prepare
from kato_tasks.settings import Settings


def test_a_server_without_tables_is_left_alone_and_the_command_is_named(postgres_url: str) -> None:
    with pytest.raises(ArchiveUnusable, match=r"has no tables of the archive yet: .*kato-tasks db upgrade"):
        prepare(postgres_url, {})
    with contextlib.closing(archive_schema(Settings(archive_url=postgres_url))) as tables:
        assert tables.status().revision is None
        tables.upgrade()
    assert prepare(postgres_url, {}).startswith("postgresql://")
