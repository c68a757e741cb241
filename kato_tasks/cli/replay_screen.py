"""Show replays: as fields, as JSON, and as a bar or lines while they go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from kato_tasks.cli.lazy import BAD_INPUT, INTERRUPTED, UNUSABLE, Failure, store_sentence
from kato_tasks.cli.output import bar_width, count, moment, put, seconds, show_fields, show_json, talk
from kato_tasks.errors import StoreUnavailable
from kato_tasks.settings import extras

if TYPE_CHECKING:
    from kato_tasks.bootstrap import Runtime
    from kato_tasks.domain.replays import ReplayStatus

POLL_SECONDS = 0.3
LANES_A_SECOND = 1_000
"""A look reads a row of each lane. With many lanes it is therefore taken less often than every ``POLL_SECONDS``."""
LONGEST_POLL_SECONDS = 10.0
TALK_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
"""How long a watch waits for a store that does not answer."""


def report(rt: Runtime, replay_id: str, *, as_json: bool) -> None:
    """Print a replay as it is now. Exits with 1 if it failed or was cancelled. Raises UnknownReplay."""
    from kato_tasks.api.replays.calls import replay_status

    status = replay_status(rt, replay_id)
    if as_json:
        show_json(as_document(status))
    else:
        _show(status)
    if status.state in ("failed", "cancelled"):
        raise click.exceptions.Exit(BAD_INPUT)


def as_document(status: ReplayStatus) -> dict[str, Any]:
    """Return a replay's status as the JSON object that every command prints."""
    from kato_tasks.api.sessions import iso_time

    return {
        "id": status.id,
        "mode": status.mode,
        "state": status.state,
        "events_done": status.events_done,
        "events_total": status.events_total,
        "events_per_second": None if status.rate is None else round(status.rate, 1),
        "remaining_seconds": None if status.remaining_seconds is None else round(status.remaining_seconds, 1),
        "lanes": dict(status.lanes),
        "differences": list(status.differences),
        "more_differences": status.more_differences,
        "reason": status.reason,
        "waits": status.waits,
        "sessions": dict(status.sessions),
        "task_id": status.task_id or None,
        "created_at": iso_time(status.created_ms),
        "ended_at": iso_time(status.ended_ms) if status.ended_ms else None,
    }


def _show(status: ReplayStatus) -> None:
    now_ms = time.time() * 1000
    fields: list[tuple[str, object]] = [
        ("replay", status.id),
        ("mode", status.mode),
        ("state", status.state),
        ("events", _events(status)),
        ("rate", "-" if status.rate is None else f"{status.rate:,.0f}/s"),
        ("remaining", seconds(status.remaining_seconds)),
        ("lanes", _lanes(status.lanes)),
        ("started", moment(status.created_ms, now_ms)),
    ]
    if status.ended_ms:
        fields.append(("ended", moment(status.ended_ms, now_ms)))
    fields += [(f"stands for {session}", shadow) for session, shadow in status.sessions.items()]
    if status.reason:
        fields.append(("reason", status.reason))
    if status.waits:
        fields.append(("waits", status.waits))
    show_fields(fields)
    for difference in status.differences:
        put(f"differs: {difference}")
    if status.more_differences:
        put(f"and {count(status.more_differences, 'more difference')}")
    if next_step := _next_step(status):
        talk(next_step)


def _next_step(status: ReplayStatus) -> str:
    if status.state in ("failed", "cancelled"):
        return (
            f"kato-tasks replay resume {status.id} lets it go on where it was; "
            f"kato-tasks replay clean {status.id} erases what it left"
        )
    if status.state != "done":
        return f"it goes on; watch it with kato-tasks replay status {status.id} --watch"
    if status.mode == "as_of":
        return (
            "ask the session that stands for it, with predict for instance; "
            f"kato-tasks replay clean {status.id} --old-generations erases it when you are done"
        )
    return ""


def _events(status: ReplayStatus) -> str:
    part = f" ({status.events_done / status.events_total:.0%})" if status.events_total else ""
    return f"{status.events_done:,} of {status.events_total:,}{part}"


def _lanes(lanes: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in lanes.items()) or "none"


def watch(rt: Runtime, replay_id: str) -> None:
    """Show how a replay goes on, until it ends. Raises UnknownReplay. Ctrl-C ends the watch, and not the replay."""
    from kato_tasks.api.replays.calls import replay_status
    from kato_tasks.domain.replays import ENDED

    with _left_alone(replay_id), _progress(f"replay {replay_id}") as shown:
        away_since: float | None = None
        pause = POLL_SECONDS
        while True:
            try:
                status = replay_status(rt, replay_id)
                away_since = None
            except StoreUnavailable as exc:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since >= PATIENCE_SECONDS:
                    raise Failure(f"{store_sentence(exc)}; the replay goes on when it is back", UNUSABLE) from None
            else:
                shown.show(status)
                if status.state in ENDED:
                    return
                pause = min(max(POLL_SECONDS, sum(status.lanes.values()) / LANES_A_SECOND), LONGEST_POLL_SECONDS)
            time.sleep(pause)


@contextmanager
def _left_alone(replay_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        talk(
            f"replay {replay_id} goes on without this watch: kato-tasks replay status {replay_id} --watch looks again, "
            f"and kato-tasks replay cancel {replay_id} ends it"
        )
        raise click.exceptions.Exit(INTERRUPTED) from None


class _Shown(Protocol):
    def show(self, status: ReplayStatus) -> None: ...


@contextmanager
def _progress(name: str) -> Iterator[_Shown]:
    if not (sys.stderr.isatty() and extras.has_module("rich")):
        yield _Lines()
        return
    bar = _Bar(name)
    with bar.display:
        yield bar


class _Lines:
    """Prints a line of progress on stderr at once when the state changes, and otherwise every few seconds."""

    def __init__(self) -> None:
        self._next = 0.0
        self._state = ""

    def show(self, status: ReplayStatus) -> None:
        now = time.monotonic()
        if status.state == self._state and now < self._next:
            return
        self._next, self._state = now + TALK_SECONDS, status.state
        text = f"{status.state}: {_events(status)} events"
        if status.rate is not None:
            text += f", {status.rate:,.0f}/s"
        if status.remaining_seconds is not None:
            text += f", {seconds(status.remaining_seconds)} left"
        if status.waits:
            text += f"; it waits: {status.waits}"
        talk(text)


class _Bar:
    """Shows a bar on the terminal, with events, rate and remaining time."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width()),
            TaskProgressColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = self.display.add_task(name, total=None, said="")

    def show(self, status: ReplayStatus) -> None:
        said = f"{status.state}, {status.events_done:,} events"
        if status.rate is not None:
            said += f", {status.rate:,.0f}/s"
        if status.remaining_seconds is not None:
            said += f", {seconds(status.remaining_seconds)} left"
        if status.waits:
            said = f"{status.state}, waits: {status.waits}"
        self.display.update(self._task, total=status.events_total or None, completed=status.events_done, said=said)
