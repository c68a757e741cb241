"""Provide ``kato-tasks db``, which makes and changes the archive's tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kato_tasks.cli.lazy import BAD_INPUT, Group
from kato_tasks.cli.output import count, show_fields, show_json, talk

if TYPE_CHECKING:
    from kato_tasks.ports.archive_schema import ArchiveSchema, SchemaStatus


@click.group("db", cls=Group)
def db() -> None:
    """Make the tables of the archive, and bring them to this version.

    The archive is the database that KATO_TASKS_ARCHIVE_URL names. Workers may go on meanwhile: each version works with
    its own tables, with those of the version before and with those of the version after.
    """


@contextlib.contextmanager
def _tables() -> Iterator[ArchiveSchema]:
    from kato_tasks.bootstrap import archive_schema
    from kato_tasks.settings import settings

    with contextlib.closing(archive_schema(settings())) as tables:
        yield tables


@db.command("upgrade")
def upgrade() -> None:
    """Make the tables, or bring them to the newest revision that this version knows.

    The command can be interrupted and repeated, and of two that run at once the second waits for the first. At its
    end it notes the lanes of the store, so that events which were applied before there was an archive are moved to it.
    """
    with _tables() as tables:
        before = tables.status()
        _tell_change(before, tables.upgrade())
    _note_lanes()


def _note_lanes() -> None:
    from kato_tasks.api.archiving import note_all_lanes
    from kato_tasks.bootstrap import runtime
    from kato_tasks.errors import StoreUnavailable

    try:
        lanes = note_all_lanes(runtime())
    except StoreUnavailable as exc:
        talk(f"run this again once the store answers: what was applied before is archived only then ({exc})")
        return
    talk(f"noted {count(lanes, 'lane')} of the store, whose events the workers will archive")


@db.command("downgrade")
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Take the tables back to REVISION, before an earlier version of kato_tasks is installed again.

    No event is lost. The first revision is never undone.
    """
    with _tables() as tables:
        before = tables.status()
        _tell_change(before, tables.downgrade(revision))


@db.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def status(as_json: bool) -> None:
    """Show the revision of the archive's tables, about how many events they hold, and how long it keeps them.

    The exit code is 1 if this version cannot work with the tables.
    """
    from kato_tasks.settings import settings

    config = settings()
    with _tables() as tables:
        found = tables.status()
    events = None if found.problem is not None else _count(config.archive_url)
    if as_json:
        show_json(
            {
                "archive": found.address,
                "revision": found.revision,
                "newest_revision": found.newest,
                "usable": found.problem is None,
                "events": events,
                "keep_days": config.archive_keep_days,
                "keep_events": config.archive_keep_events,
            }
        )
    else:
        show_fields(
            [
                ("archive", found.address),
                ("revision", found.revision or "none"),
                ("newest revision", found.newest),
                ("events", "-" if events is None else f"about {events:,}"),
                ("kept", _kept(config.archive_keep_days, config.archive_keep_events)),
            ]
        )
    if found.problem is not None:
        talk(f"the database {found.problem}")
        raise click.exceptions.Exit(BAD_INPUT)
    if found.revision is not None and found.revision < found.newest:
        talk("this version works with these tables; `kato-tasks db upgrade` brings them to its own revision")


def _count(url: str) -> int:
    from kato_tasks.bootstrap.archive import LazyArchive

    opening = LazyArchive(url)
    with contextlib.closing(opening):
        archive = opening.archive()
        return archive.count() if archive is not None else 0


def _kept(days: float, events: int) -> str:
    parts = [f"for {days:g} days"] if days else []
    parts += [f"the newest {events:,} of each session"] if events else []
    return ", ".join(parts) or "forever"


def _tell_change(before: SchemaStatus, after: SchemaStatus) -> None:
    if before.revision == after.revision:
        talk(f"the archive {after.address} is of revision {after.revision} already")
    else:
        talk(f"the archive {after.address} went from revision {before.revision or 'none'} to {after.revision}")
