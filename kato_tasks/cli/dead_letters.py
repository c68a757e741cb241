"""Provide ``kato-tasks dead-letters``, which shows, redrives and discards dead letters."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import click

from kato_tasks.cli.lazy import BAD_INPUT, Group
from kato_tasks.cli.output import count, put, short_id, show_json, show_table, talk
from kato_tasks.cli.own_functions import own_function

if TYPE_CHECKING:
    from kato_tasks.api.dead_letters import Redriven


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """Look at what is not going to be applied, and redrive or discard it. ID is a dead letter's id, or its event_id."""


@dead_letters.command("list")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Print at most N dead letters.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the dead letters as JSON.")
def list_(limit: int, as_json: bool) -> None:
    """Print dead letters, and why each of them is not going to be applied."""
    from kato_tasks.api import dead_letters as letters
    from kato_tasks.bootstrap import runtime

    found = list(islice(letters.dead_letters(runtime()), limit + 1))
    more, found = len(found) > limit, found[:limit]
    if as_json:
        show_json([letter.model_dump(mode="json") for letter in found])
    elif found:
        show_table(
            ("id", "session", "position", "event_id", "attempts", "last", "reason"),
            [
                (
                    one.id,
                    short_id(one.session_id),
                    one.position or "-",
                    short_id(one.event_id),
                    one.attempts,
                    one.last_at,
                    one.reason,
                )
                for one in found
            ],
            right=frozenset({2, 4}),
        )
    else:
        talk("there are no dead letters")
    if more:
        talk(f"there are more than {limit}; see them with --limit")


@dead_letters.command("show")
@click.argument("id_", metavar="ID")
def show(id_: str) -> None:
    """Print one dead letter as JSON: the event, the reason, and KATO's last answer."""
    from kato_tasks.api import dead_letters as letters
    from kato_tasks.bootstrap import runtime

    show_json(letters.find(runtime(), id_).model_dump(mode="json"))


@dead_letters.command("redrive")
@click.argument("id_", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Redrive every dead letter that there is now.")
@click.option(
    "--body",
    "mended",
    type=click.File("rb"),
    metavar="FILE",
    help="Read this body in place of that of a message that a listener refused; - is standard input.",
)
@click.option(
    "--decoder",
    metavar="MODULE:FUNCTION",
    help="Read a message that a listener refused with this function, not with its listener's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what became of each dead letter as JSON.")
def redrive(id_: str | None, everything: bool, mended: BinaryIO | None, decoder: str | None, as_json: bool) -> None:
    """Give a dead letter another chance.

    If its session is parked at this event, the session goes on with it, so the event keeps its own place. If the
    session has gone on without it, the event is appended again at the end, as <event_id>~redriven-<n>. A message that a
    listener refused is read again, and its events are appended at the end.
    """
    from kato_tasks.api import dead_letters as letters
    from kato_tasks.bootstrap import runtime

    if everything == (id_ is not None):
        raise click.UsageError("give one ID, or --all")
    if everything and mended is not None:
        raise click.UsageError("--body is the body of one message; give its ID instead of --all")
    if decoder:
        own_function(decoder)  # it is found by its name from now on, and named here if it is not there
    rt = runtime()
    done: list[Redriven] = []
    failed = 0
    if id_ is not None:
        body = mended.read() if mended is not None else None
        parked = letters.redrive_parked(rt, id_) if body is None and decoder is None else None
        done.append(parked or letters.redrive(rt, letters.find(rt, id_), body=body, decoder=decoder))
    else:
        for letter in list(letters.dead_letters(rt)):
            try:
                done.append(letters.redrive(rt, letter, decoder=decoder if letter.message is not None else None))
            except letters.UNREDRIVABLE as exc:
                failed += 1
                talk(f"{letter.id} stays a dead letter: {exc}")
    if as_json:
        show_json([one.model_dump(mode="json") for one in done])
    else:
        for one in done:
            put(_sentence(one))
    if everything:
        talk(f"{count(len(done), 'dead letter')} redriven" + (f", {failed} not" if failed else ""))
    if failed:
        raise click.exceptions.Exit(BAD_INPUT)


def _sentence(one: Redriven) -> str:
    if one.resumed:
        return f"session {one.session_id!r} goes on at {one.event_id!r}, position {one.position}"
    if one.events != 1:
        return f"{one.event_id!r} held {count(one.events, 'event')}, which were appended"
    return (
        f"session {one.session_id!r} has gone on, so the event was appended at the end: "
        f"{one.event_id!r}, position {one.position}"
    )


@dead_letters.command("discard")
@click.argument("id_", metavar="ID")
def discard(id_: str) -> None:
    """Forget a dead letter, and print it as JSON for the last time."""
    from kato_tasks.api import dead_letters as letters
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    letter = letters.find(rt, id_)
    letters.discard(rt, letter)
    show_json(letter.model_dump(mode="json"))
    talk(f"dead letter {letter.id} is discarded")
