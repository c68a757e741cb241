"""``kato-tasks status`` and ``kato-tasks wait``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from kato_tasks.cli.lazy import BAD_INPUT, UNUSABLE, Failure, store_sentence
from kato_tasks.cli.output import count, seconds, show_fields, show_json, show_table, talk
from kato_tasks.errors import StoreUnavailable

if TYPE_CHECKING:
    from kato_tasks.status import Counts, Reached, Status

POLL_SECONDS = 0.2


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(as_json: bool) -> None:
    """Say how everything stands. Exit code 0: healthy, 1: degraded, 2: the store does not answer."""
    from kato_tasks.bootstrap import runtime
    from kato_tasks.status import read_status

    try:
        found = read_status(runtime())
    except StoreUnavailable as exc:
        if as_json:
            show_json({"health": "unreachable", "reasons": [str(exc)]})
        raise Failure(store_sentence(exc), UNUSABLE) from None
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        _show(found)
    if found.health != "healthy":
        raise click.exceptions.Exit(BAD_INPUT)


def _show(found: Status) -> None:
    show_fields(
        [
            ("health", found.health),
            ("backlog", count(found.backlog, "event")),
            ("oldest unapplied", seconds(found.oldest_unapplied_seconds)),
            ("applied", f"{found.applied:,} of {found.appended:,}"),
            ("dead letters", f"{found.dead_letters:,}"),
            ("parked", count(found.parked, "session")),
            ("scheduled", f"{found.scheduled:,}"),
            ("unpublished", f"{found.unpublished:,}"),
            ("fenced", f"{found.fenced:,}"),
            ("rebuilt", f"{found.rebuilt:,}"),
            ("reordered", f"{found.reordered:,}"),
            ("leftovers", f"{found.leftovers:,}"),
            ("learns unknown", f"{found.learns_unknown:,}"),
            *(("KATO", _reached(one)) for one in found.kato),
            ("broker", _reached(found.broker)),
        ]
    )
    busy = [shard for shard in found.shards if shard.backlog or shard.dead_letters or shard.parked]
    if busy:
        click.echo()
        show_table(
            ("shard", "backlog", "oldest", "applied", "dead letters", "parked"),
            [
                (s.shard, s.backlog, seconds(s.oldest_unapplied_seconds), s.applied, s.dead_letters, s.parked)
                for s in busy
            ],
            right=frozenset(range(6)),
        )
    for reason in found.reasons:
        talk(f"degraded: {reason}")


def _reached(one: Reached) -> str:
    if one.error is not None:
        return f"{one.url} does not answer"
    return f"{one.url} {'does not take the session config' if one.session_config else 'ok'}"


@click.command("wait")
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@click.option("--scheduled", is_flag=True, help="Wait for scheduled events (countdown, eta) too.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing while waiting.")
def wait(timeout: float, scheduled: bool, quiet: bool) -> None:
    """Return when nothing is pending; exit code 1 when something still is after the timeout.

    What waits for a person (parked sessions) cannot be waited for: then it ends at once, with 1. Events that are
    scheduled for later are not waited for, unless --scheduled is given; how many there are is said.
    """
    from kato_tasks.bootstrap import runtime
    from kato_tasks.status import read_counts

    rt = runtime()
    began = time.monotonic()
    counts = read_counts(rt)
    next_talk, stuck = began + 2.0, 0
    while not _nothing_pending(counts) or (scheduled and counts.scheduled):
        # Twice in a row: an append may come between two of the figures.
        idle = not counts.lanes_due and not counts.unpublished and not (scheduled and counts.scheduled)
        stuck = stuck + 1 if idle and counts.parked else 0
        if stuck == 2:
            raise Failure(
                f"{count(counts.backlog, 'event')} of {count(counts.parked, 'parked session')} wait for a person: "
                "see kato-tasks sessions list --state parked",
                BAD_INPUT,
            )
        now = time.monotonic()
        if now - began >= timeout:
            raise Failure(f"not done after {timeout:g} s: {_left(counts)}", BAD_INPUT)
        if now >= next_talk and not quiet:
            next_talk = now + 2.0
            talk(_left(counts))
        time.sleep(min(POLL_SECONDS, max(0.0, timeout - (now - began))))
        try:
            counts = read_counts(rt)
        except StoreUnavailable as exc:
            # It may be restarting; its answer, or the timeout, ends this.
            if time.monotonic() - began >= timeout:
                raise Failure(store_sentence(exc), UNUSABLE) from None
    if counts.scheduled and not quiet:
        due = f"{count(counts.scheduled, 'event')} {'is' if counts.scheduled == 1 else 'are'} scheduled for later"
        talk(f"nothing is pending; {due}: see kato-tasks sessions scheduled, or wait with --scheduled")


def _nothing_pending(counts: Counts) -> bool:
    return not counts.backlog and not counts.lanes_due and not counts.unpublished


def _left(counts: Counts) -> str:
    parts = [f"{count(counts.backlog, 'event')} of {count(counts.sessions_unapplied, 'session')} left"]
    if counts.scheduled and not counts.backlog:
        parts = []
    if counts.oldest_unapplied_seconds is not None:
        parts.append(f"the oldest waits for {seconds(counts.oldest_unapplied_seconds)}")
    if counts.unpublished:
        parts.append(f"{count(counts.unpublished, 'message')} kept until the broker answers")
    if counts.parked:
        parts.append(f"{count(counts.parked, 'session')} parked")
    if counts.scheduled:
        parts.append(f"{count(counts.scheduled, 'event')} scheduled for later")
    return ", ".join(parts)
