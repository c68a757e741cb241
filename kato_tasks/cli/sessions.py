"""``kato-tasks sessions``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kato_tasks.cli.lazy import BAD_INPUT, Failure
from kato_tasks.cli.output import seconds, show_fields, show_json, show_table, talk

if TYPE_CHECKING:
    from kato_tasks.domain.results import SessionStatus


@click.group("sessions")
def sessions() -> None:
    """Look at sessions, park and resume them."""


@sessions.command("show")
@click.argument("session_id")
@click.option("--json", "as_json", is_flag=True)
def show(session_id: str, as_json: bool) -> None:
    """Print one session: its node, how far it is applied, what serves it at KATO."""
    status = known(session_id)
    if as_json:
        show_json(status.model_dump(mode="json"))
        return
    binding = status.binding
    fields: list[tuple[str, object]] = [
        ("session", status.session_id),
        ("node", status.node_id),
        ("lane", status.lane),
        ("state", status.state),
        ("applied", f"{status.cursor:,} of {status.head:,}"),
    ]
    if binding is None:
        fields.append(("KATO session", "none now"))
    else:
        fields += [
            ("KATO session", f"{binding.kato_session_id} at {binding.kato_url}"),
            ("KATO node", binding.node),
            ("time, STM, epoch", f"{binding.time}, {binding.stm_length}, {binding.epoch}"),
        ]
    if status.reordered_events:
        fields.append(("reordered", f"{status.reordered_events:,} event(s) with vectors hold their strings first"))
    if status.due_in_seconds is not None:
        fields.append(("tried again in", seconds(status.due_in_seconds)))
    if status.last_error:
        fields.append(("last error", f"{status.last_error} (attempts: {status.attempts})"))
    if status.parked is not None:
        fields += [(f"parked: {name}", value) for name, value in status.parked.items()]
    show_fields(fields)


@sessions.command("list")
@click.option("--state", type=click.Choice(["idle", "pending", "running", "waiting", "parked"]))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """Print sessions, all or those in one state."""
    from kato_tasks.bootstrap import runtime
    from kato_tasks.session_list import list_sessions

    found = list_sessions(runtime(), state, limit + 1)
    more, found = len(found) > limit, found[:limit]
    if as_json:
        show_json([status.model_dump(mode="json") for status in found])
    elif found:
        show_table(
            ("session", "node", "state", "applied", "head", "why"),
            [(s.session_id, s.node_id, s.state, s.cursor, s.head, _why(s)) for s in found],
            right=frozenset({3, 4}),
        )
    else:
        talk("no session" + (f" is {state}" if state else " is known"))
    if more:
        talk(f"there are more than {limit}; see them with --limit")


@sessions.command("park")
@click.argument("session_id")
@click.option("--reason", default="parked by hand", show_default=True)
def park(session_id: str, reason: str) -> None:
    """Stop applying a session; what is under way is finished. Its new events are kept."""
    from kato_tasks import dead_letters
    from kato_tasks.bootstrap import runtime

    known(session_id)
    if not dead_letters.park(runtime(), session_id, reason):
        raise Failure(f"session {session_id!r} is parked already", BAD_INPUT)
    talk(f"session {session_id!r} is parked; kato-tasks sessions resume lets it go on")


@sessions.command("resume")
@click.argument("session_id")
def resume(session_id: str) -> None:
    """Let a parked session go on at its head event, with new attempts."""
    from kato_tasks import dead_letters
    from kato_tasks.bootstrap import runtime

    known(session_id)
    if not dead_letters.resume(runtime(), session_id):
        raise Failure(f"session {session_id!r} is not parked, so there is nothing to resume", BAD_INPUT)
    talk(f"session {session_id!r} goes on")


def _why(status: SessionStatus) -> str:
    if status.parked is not None:
        return str(status.parked.get("reason", ""))
    return status.last_error or ""


def known(session_id: str) -> SessionStatus:
    """The session's status; a session that is not known ends the command."""
    from kato_tasks.api import session_status

    status = session_status(session_id)
    if status is None:
        raise Failure(f"session {session_id!r} is not known; kato-tasks sessions list shows those that are", BAD_INPUT)
    return status
