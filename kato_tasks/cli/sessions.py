"""Provide ``kato-tasks sessions``, which shows sessions, parks, resumes and forgets them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from kato_tasks.cli.forgetting import forget
from kato_tasks.cli.lazy import BAD_INPUT, Failure, Group
from kato_tasks.cli.output import ago, count, moment, short_id, show_fields, show_json, show_table, talk
from kato_tasks.cli.session_fields import fields_of, ms_of, why
from kato_tasks.domain.visible import shell_word, written_back

if TYPE_CHECKING:
    from kato_tasks.api.scheduled import Scheduled
    from kato_tasks.api.session_list import Page, Sort
    from kato_tasks.domain.results import SessionStatus

STATES = ("idle", "pending", "running", "waiting", "parked")
SORTS = ("id", "node", "backlog", "last")
SHOWN_SCHEDULED = 100
"""The number of a session's next scheduled events that ``show --json`` prints."""


@click.group("sessions", cls=Group)
def sessions() -> None:
    r"""Look at sessions, park them, resume them and forget them.

    SESSION_ID is the application's own id. An id that holds control characters can be typed as it is shown, with \n,
    \x1b and the like written out.
    """


@sessions.command("list")
@click.option("--state", type=click.Choice(STATES), help="Print only sessions in this state.")
@click.option("--node", metavar="NODE", help="Print only sessions of this node.")
@click.option("--prefix", metavar="TEXT", default="", help="Print only sessions whose id begins with TEXT.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="id",
    show_default=True,
    help="Sort by id; by node and id; by backlog, the largest first; or by the last event's time, the newest first.",
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="Print at most N sessions."
)
@click.option("--after", metavar="SESSION_ID", help="Go on after this session, the last one of the page before.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print all fields of each session as JSON, as `show --json` does."
)
def list_(
    state: str | None, node: str | None, prefix: str, sort: Sort, limit: int, after: str | None, as_json: bool
) -> None:
    """Print sessions in order, a page at a time.

    Every session is looked at, whatever the limit is, because the store keeps no order over all of them. For a million
    sessions this takes some seconds by id or node, and a minute or so by backlog or time. With --state pending,
    running, waiting or parked, the command looks only at sessions that have something to do. A page by backlog or time
    shows the state at the moment when it was read.
    """
    from kato_tasks.api.session_list import SessionFilter, list_sessions
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    behind = None if after is None else as_meant(after)
    page = list_sessions(rt, SessionFilter(state, node, prefix), sort=sort, after=behind, limit=limit)
    if as_json:
        show_json([status.model_dump(mode="json") for status in page.sessions])
    elif page.sessions:
        _show_page(page)
    else:
        talk(_none(state, node, prefix, after))
    if page.more:
        options = {"--state": state, "--node": node, "--prefix": prefix, "--sort": None if sort == "id" else sort}
        words = [f"{name} {shell_word(text)}" for name, text in options.items() if text]
        words += [f"--limit {limit}"] if limit != 100 else []
        last = shell_word(page.sessions[-1].session_id)
        talk(f"there are more than {limit}; go on with: kato-tasks sessions list {' '.join([*words, '--after', last])}")


def _show_page(page: Page) -> None:
    now_ms = time.time() * 1000
    show_table(
        ("session", "node", "state", "cursor", "head", "last event", "why"),
        [
            (
                short_id(s.session_id),
                short_id(s.node_id) if s.node_id != s.session_id else "its own",
                s.state,
                f"{s.cursor:,}",
                f"{s.head:,}",
                ago(ms_of(s.last_event_at), now_ms),
                why(s),
            )
            for s in page.sessions
        ],
        right=frozenset({3, 4}),
    )


def _none(state: str | None, node: str | None, prefix: str, after: str | None) -> str:
    parts = [f"is {state}"] if state else []
    parts += [f"belongs to node {node!r}"] if node else []
    parts += [f"has an id that begins with {prefix!r}"] if prefix else []
    parts += [f"follows {after!r}"] if after else []
    return f"no session {' and '.join(parts) or 'is known'}"


@sessions.command("show")
@click.argument("session_id")
@click.option("--json", "as_json", is_flag=True, help="Print the session as JSON, with its scheduled events.")
def show(session_id: str, as_json: bool) -> None:
    """Print one session: its node, how far it is applied, what serves it at KATO, and what is scheduled for it."""
    from kato_tasks.api.scheduled import scheduled_events
    from kato_tasks.bootstrap import runtime

    status = known(session_id)
    scheduled = list(islice(scheduled_events(runtime(), status.session_id), SHOWN_SCHEDULED + 1))
    if as_json:
        listed = [_as_json(one) for one in scheduled[:SHOWN_SCHEDULED]]
        show_json({**status.model_dump(mode="json"), "scheduled": listed})
        return
    fields = fields_of(status)
    if scheduled:
        many = count(min(len(scheduled), SHOWN_SCHEDULED), "event")
        many += " or more" if len(scheduled) > SHOWN_SCHEDULED else ""
        first = f"{scheduled[0].event_type} {moment(scheduled[0].due_ms, time.time() * 1000)}"
        fields.append(("scheduled", f"{many}, the next: {first}; kato-tasks sessions scheduled lists them"))
    show_fields(fields)


@sessions.command("scheduled")
@click.argument("session_id", required=False)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="Print at most N events."
)
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON, with ids and times in full.")
def scheduled(session_id: str | None, limit: int, as_json: bool) -> None:
    """Print events that wait for their time (countdown, eta), the next one first.

    They have no position yet, because each is appended when it is due. A scheduled event cannot be taken back, not even
    by revoking its task.
    """
    from kato_tasks.api.scheduled import scheduled_events
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    session = None if session_id is None else as_meant(session_id)
    found = list(islice(scheduled_events(rt, session), limit + 1))
    more, found = len(found) > limit, found[:limit]
    if as_json:
        show_json([_as_json(one) for one in found])
    elif found:
        _show_scheduled(found)
    else:
        talk("nothing is scheduled" + ("" if session is None else f" for session {session!r}"))
    if more:
        talk(f"there are more than {limit}; see them with --limit")


def _show_scheduled(found: Sequence[Scheduled]) -> None:
    now_ms = time.time() * 1000
    show_table(
        ("session", "event", "due", "task id", "event_id"),
        [
            (
                short_id(one.session_id),
                one.event_type,
                moment(one.due_ms, now_ms),
                short_id(one.task_id or "-"),
                "the task's" if one.event_id == one.task_id else short_id(one.event_id),
            )
            for one in found
        ],
    )


def _as_json(one: Scheduled) -> dict[str, str | None]:
    from kato_tasks.api.sessions import iso_time

    return {
        "session_id": one.session_id,
        "event_type": one.event_type,
        "event_id": one.event_id,
        "task_id": one.task_id,
        "due_at": iso_time(one.due_ms),
    }


@sessions.command("events")
@click.argument("session_id")
@click.option(
    "--after",
    metavar="POSITION",
    type=click.IntRange(min=0),
    default=0,
    help="Begin at the position after this one.",
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="Print at most N events."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print each event as one line of JSON, which `import` reads again."
)
def events(session_id: str, after: int, limit: int, as_json: bool) -> None:
    """Print a session's events in their order, from the store and from the archive."""
    from kato_tasks.api.history import history
    from kato_tasks.cli.session_events import show_events

    session = as_meant(session_id)
    found = history(session, after, limit + 1)
    last = show_events(islice(found, limit), as_json)
    if last is None:
        talk(f"session {session!r} has no events" + (f" after position {after}" if after else ""))
    elif next(found, None) is not None:
        more = f"--limit {limit} --after {last}"
        talk(f"there are more; go on with: kato-tasks sessions events {shell_word(session)} {more}")


@sessions.command("park")
@click.argument("session_id")
@click.option(
    "--reason",
    default="parked by hand",
    show_default=True,
    help="Say why. The person who finds the session parked reads this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the session's new state, as `show --json` does.")
def park(session_id: str, reason: str, as_json: bool) -> None:
    """Stop applying a session's events. A call that is under way is finished, and new events are kept."""
    from kato_tasks.api import parking
    from kato_tasks.bootstrap import runtime

    session = known(session_id).session_id
    if not parking.park(runtime(), session, reason):
        raise Failure(f"session {session!r} is parked already", BAD_INPUT)
    if as_json:
        show_json(known(session).model_dump(mode="json"))
    talk(f"session {session!r} is parked; kato-tasks sessions resume {shell_word(session)} lets it go on")


@sessions.command("resume")
@click.argument("session_id")
@click.option("--json", "as_json", is_flag=True, help="Print the session's new state, as `show --json` does.")
def resume(session_id: str, as_json: bool) -> None:
    """Let a parked session go on at its head event, with new attempts."""
    from kato_tasks.api import parking
    from kato_tasks.bootstrap import runtime

    session = known(session_id).session_id
    if not parking.resume(runtime(), session):
        raise Failure(f"session {session!r} is not parked, so there is nothing to resume", BAD_INPUT)
    if as_json:
        show_json(known(session).model_dump(mode="json"))
    talk(f"session {session!r} goes on")


def as_meant(session_id: str) -> str:
    r"""Return the session that an argument names: itself, or written out as the tables do (``a\nb``)."""
    from kato_tasks.bootstrap import runtime

    written = written_back(session_id)
    if written is None or runtime().sessions.node_of(session_id) is not None:
        return session_id
    return written


def known(session_id: str) -> SessionStatus:
    """Return the status of the session that an argument names. An unknown session ends the command."""
    from kato_tasks.api.sessions import session_status

    status = session_status(as_meant(session_id))
    if status is None:
        raise Failure(f"session {session_id!r} is not known; kato-tasks sessions list shows those that are", BAD_INPUT)
    return status


sessions.add_command(forget)
