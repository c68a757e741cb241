"""Provide ``kato-tasks status`` and ``kato-tasks wait``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from kato_tasks.cli.lazy import BAD_INPUT, UNUSABLE, Failure, store_sentence
from kato_tasks.cli.output import count, seconds, show_fields, show_json, show_table, talk
from kato_tasks.errors import StoreUnavailable

if TYPE_CHECKING:
    from kato_tasks.api.status import Counts, ServiceCheck, Status
    from kato_tasks.api.status.presence import BeatStatus, ListenerStatus, WorkerStatus

POLL_SECONDS = 0.2
SHOWN = 5
HELP = """Show the state of the whole system, and say what to do about what is wrong.

The exit code is 0 if all is healthy, 1 if something is degraded, and 2 if the store does not answer.

\b
backlog         events that are accepted and not applied yet
dead letters    events that are not going to be applied
parked          sessions that wait for a person
failing         sessions whose calls fail; they go on by themselves
scheduled       events with a countdown or eta that is not over
unpublished     task messages kept until the broker takes them
fenced          KATO sessions given up after an unknown outcome
rebuilt         short-term memories sent again to a new KATO session
reordered       rebuilt memories in which an event's symbols changed places
leftovers       KATO sessions that are not in use and will expire
learns unknown  learns whose outcome could not be found out
to be rebuilt   nodes whose patterns KATO lost, or that are in doubt
worker, beat    what is running, and how old its last sign is
listener        what reads a broker: messages read, how many per second, how many wait there
acknowledged    what a person has acknowledged; it no longer degrades the status
"""


@click.command("status", help=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the status as one JSON document.")
def status(as_json: bool) -> None:
    """Print the status, as ``HELP`` says, which is what ``--help`` shows."""
    from kato_tasks.api.status import read_status
    from kato_tasks.bootstrap import runtime

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
            ("failing", count(found.failing_sessions, "session")),
            ("scheduled", f"{found.scheduled:,}"),
            ("unpublished", _unpublished(found)),
            ("fenced", f"{found.fenced:,}"),
            ("rebuilt", f"{found.rebuilt:,}"),
            ("reordered", f"{found.reordered:,}"),
            ("leftovers", f"{found.leftovers:,}"),
            ("learns unknown", f"{found.learns_unknown:,}"),
            *(("KATO", _reached(one)) for one in found.kato),
            ("broker", _reached(found.broker)),
            *(("worker", _worker(one)) for one in found.workers),
            *((("worker", "none is running"),) if not found.workers else ()),
            ("beat", _beat(found.beat)),
            *(("listener", _listener(one)) for one in found.listeners),
        ]
    )
    if found.shards:
        click.echo()
        show_table(
            ("shard", "backlog", "oldest", "applied", "dead", "parked"),
            [
                (s.shard, s.backlog, seconds(s.oldest_unapplied_seconds), s.applied, s.dead_letters, s.parked)
                for s in found.shards
            ],
            right=frozenset(range(6)),
        )
    if found.failing:
        click.echo()
        show_table(
            ("failing", "for", "last error"),
            [(one.session_id, seconds(one.seconds), _brief(one.error)) for one in found.failing[:SHOWN]],
        )
        if found.failing_sessions > SHOWN:
            talk(f"and {found.failing_sessions - SHOWN:,} more: kato-tasks sessions list --state waiting")
    for node in found.flagged[:SHOWN]:
        why = "KATO lost its patterns" if node.why == "lost" else "its patterns are in doubt"
        talk(f"to be rebuilt: the node {node.lane!r}, {why}: {node.mend}")
    if len(found.flagged) > SHOWN:
        talk("and more nodes to be rebuilt: kato-tasks status --json")
    for reason in found.reasons:
        talk(f"degraded: {reason}")
    for item in found.acknowledged:
        talk(f"acknowledged by {item.by}, {item.at}: {item.what}{f' ({item.note})' if item.note else ''}")
    if (left := found.ltm_lost_acknowledged - sum(one.id.startswith("ltm-lost:") for one in found.acknowledged)) > 0:
        talk(f"and {left:,} more nodes whose lost patterns are acknowledged: kato-tasks acknowledge")


def _unpublished(found: Status) -> str:
    age = found.unpublished_seconds
    return f"{found.unpublished:,}" + (f", the oldest for {seconds(age)}" if age is not None else "")


def _reached(one: ServiceCheck) -> str:
    if one.state != "ok":
        said = {"away": "does not answer", "other": "is not KATO", "ill": "fails"}
        return f"{one.url} {said[one.state]}"
    return f"{one.url} {'does not take the session config' if one.session_config else 'ok'}"


def _worker(one: WorkerStatus) -> str:
    lanes = sum(name.startswith("kato.lane.") for name in one.queues)
    serves = f"{one.pool} {one.concurrency}, {'all shards' if one.serves_all else count(lanes, 'shard')}"
    state = "" if one.state == "live" else f"{one.state}, "
    return f"{one.name}: {serves}, {state}{seconds(one.sign_seconds)} ago"


def _beat(beat: BeatStatus | None) -> str:
    return f"published {seconds(beat.published_seconds)} ago" if beat is not None else "has published nothing yet"


def _listener(one: ListenerStatus) -> str:
    lag = "" if one.lag is None else f", lag {one.lag:,}"
    dead = f", {count(one.dead_letters, 'dead letter')}" if one.dead_letters else ""
    owed = f"; {one.sent:,} predictions sent to {one.sink}, {one.unsent:,} to send" if one.sink else ""
    read = f"{one.read:,} read, {one.rate:,.0f}/s{lag}{dead}{owed}"
    return f"{one.source}: {one.shown_state}, {read}, {seconds(one.sign_seconds)} ago"


def _brief(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= 120 else f"{one[:119]}…"


@click.command("wait")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Give up after this many seconds."
)
@click.option("--scheduled", is_flag=True, help="Also wait for scheduled events (countdown, eta).")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing while waiting.")
def wait(timeout: float, scheduled: bool, quiet: bool) -> None:
    """Return when nothing is pending. The exit code is 1 if something is still pending after the timeout.

    If only parked sessions are left, which wait for a person, the command ends at once with exit code 1. It does not
    wait for events that are scheduled for later unless --scheduled is given, but says how many there are.
    """
    from kato_tasks.api.status import read_counts
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    began = time.monotonic()
    counts = read_counts(rt)
    next_talk, stuck = began + 2.0, 0
    while not _nothing_pending(counts) or (scheduled and counts.scheduled):
        # Nothing must be pending twice in a row, because an append may come between two of the figures.
        idle = not counts.lanes_due and not counts.unpublished and not (scheduled and counts.scheduled)
        stuck = stuck + 1 if idle and counts.parked else 0
        if stuck == 2:
            raise Failure(
                f"{count(counts.backlog, 'event')} of {count(counts.parked, 'parked session')} wait until a person "
                "resumes them: see kato-tasks sessions list --state parked",
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
            # The store may be restarting; its answer, or the timeout, ends this wait.
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
