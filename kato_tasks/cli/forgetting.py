"""Provide ``kato-tasks sessions forget``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kato_tasks.cli.lazy import BAD_INPUT, Failure
from kato_tasks.cli.output import count, put, show_fields, show_json, show_table, talk

if TYPE_CHECKING:
    from kato_tasks.domain.forgotten import Forgotten

SHOWN_PATTERNS = 20


@click.command("forget")
@click.argument("session_id")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option(
    "--patterns",
    is_flag=True,
    help="Also empty the session's node at KATO of all patterns. Nothing is emptied if other sessions use the node.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was erased and what KATO still holds as JSON.")
def forget(session_id: str, yes: bool, patterns: bool, as_json: bool) -> None:
    """Erase one session everywhere: at KATO, in the archive and in the store. This cannot be undone.

    The patterns that KATO learned from it stay; they are printed, with what to do about them. The command refuses a
    session if some of its events are not applied yet, if tasks wait for it, or if its node is being replayed. If the
    command is interrupted, repeat it. A later event of this id begins a new session.
    """
    from kato_tasks.api.forgetting import forget_session
    from kato_tasks.cli.sessions import as_meant
    from kato_tasks.errors import SessionBusy

    session = as_meant(session_id)
    if not yes:
        click.confirm(f"Erase session {session!r} for good?", abort=True, err=True)
    try:
        told = forget_session(session, patterns=patterns)
    except SessionBusy as exc:
        raise Failure(str(exc), BAD_INPUT) from None
    if not told.known:
        raise Failure(f"session {session!r} is not known, and nothing was left of it", BAD_INPUT)
    if as_json:
        show_json({**told.model_dump(mode="json"), "remedy": told.remedy})
    else:
        _show(told)


def _show(told: Forgotten) -> None:
    show_fields(
        [
            ("session", told.session_id),
            ("events erased", f"{told.events:,}"),
            ("archive rows erased", f"{told.archived:,}"),
            ("KATO session deleted", told.kato_session or "it had none"),
            ("dead letters erased", f"{told.dead_letters:,}"),
            ("scheduled events erased", f"{told.scheduled:,}"),
        ]
    )
    if told.patterns:
        put("")
        show_table(
            ("KATO still holds", "learned by it", "KATO counts", "taught by others"),
            [
                (
                    one.name,
                    f"{one.learns:,}",
                    "no answer" if one.frequency is None else f"{one.frequency:,}",
                    {True: "no", False: "yes", None: "not known"}[one.only_here],
                )
                for one in told.patterns[:SHOWN_PATTERNS]
            ],
            right=frozenset({1, 2}),
        )
    more = len(told.patterns) - SHOWN_PATTERNS + told.more_patterns
    if more > 0:
        talk(f"and {count(more, 'more pattern')}; --json prints up to 1,000 of them")
    if told.unnamed_patterns:
        talk(
            f"{count(told.unnamed_patterns, 'learn')} of events with vectors made patterns whose names only KATO knows"
        )
    if not told.history:
        talk("a part of its history was erased earlier, so it may have taught more patterns than these")
    if told.remedy:
        talk(told.remedy)


__all__ = ["forget"]
