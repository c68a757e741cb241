"""Read a help-desk log from CSV as tickets, split them by time, and compute the baseline that KATO has to beat."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

COLUMNS = ("timestamp", "case_id", "activity")
LEARNED_SHARE = 0.8
SESSION_CONFIG = {"recall_threshold": 0.3, "max_predictions": 20}
"""What sessions ask KATO for here, and SERVER what its server is started with: KATO ranks predictions by its server's
setting alone. Both were chosen on the tickets that are learned (their second half, in five parts, each predicted from
what came before it), never on those that are predicted."""
SERVER = {"RANK_SORT_ALGO": "frequency"}
SEEN = 3
"""The number of a ticket's events after which the demo looks back at what KATO expected."""
REPLAYED_AT_MOST = 1_000
"""About how many events are replayed for that."""
FEWEST = 5
"""The fewest tickets that can be split."""


class BadData(ValueError):
    """Raised when the file cannot be used. The message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Program:
    """Holds one activity of a ticket. ``row`` is its place in the file."""

    row: int
    when: datetime
    activity: str
    resource: str


@dataclass(slots=True)
class Ticket:
    """Holds a ticket's steps in the order of their time."""

    case_id: str
    steps: list[Program] = field(default_factory=list)

    @property
    def activities(self) -> list[str]:
        """Return the activities of the steps, in order."""
        return [step.activity for step in self.steps]


def read_tickets(path: Path) -> list[Ticket]:
    """Return the tickets of a log, sorted by their start. Raises BadData.

    The columns are ``timestamp`` (ISO 8601), ``case_id``, ``activity`` and, optionally, ``resource``. Other columns
    are ignored.
    """
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        named = list(rows.fieldnames or ())
        missing = [name for name in COLUMNS if name not in named]
        if missing:
            has = ", ".join(named) or "none"
            raise BadData(f"{path} has no column {' and no column '.join(missing)}; its columns are: {has}")
        tickets: dict[str, Ticket] = {}
        for number, row in enumerate(rows):
            step = _step(path, rows.line_num, number, row)
            tickets.setdefault(row["case_id"], Ticket(row["case_id"])).steps.append(step)
    except csv.Error as exc:
        raise BadData(f"{path} is no CSV: line {rows.line_num}: {exc}") from None
    if len(tickets) < FEWEST:
        raise BadData(
            f"{path} has {len(tickets)} tickets; to learn some and predict others at least {FEWEST} are needed"
        )
    for ticket in tickets.values():
        ticket.steps.sort(key=lambda step: (step.when, step.row))
    return sorted(tickets.values(), key=lambda ticket: (ticket.steps[0].when, ticket.steps[0].row))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise BadData(f"{path} cannot be read: {exc.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise BadData(
            f"{path} is not UTF-8: byte 0x{raw[exc.start]:02x} at offset {exc.start}, line {line}; convert it first"
        ) from None


def _step(path: Path, line: int, number: int, row: dict[str, Any]) -> Program:
    for name in COLUMNS:
        if not row[name]:
            raise BadData(f"{path}, line {line}: {name} is empty")
    try:
        when = datetime.fromisoformat(row["timestamp"])
        # A time may or may not have an offset, but all times must be comparable.
        when = when.astimezone() if when.tzinfo is None else when
    except ValueError:
        raise BadData(f"{path}, line {line}: timestamp {row['timestamp']!r} is not ISO 8601") from None
    return Program(number, when, row["activity"], row.get("resource") or "")


def split(tickets: list[Ticket]) -> tuple[list[Ticket], list[Ticket]]:
    """Return the first tickets by start, which are learned, and the rest, which are predicted."""
    learned = int(len(tickets) * LEARNED_SHARE)
    return tickets[:learned], tickets[learned:]


def learning_events(tickets: Iterable[Ticket], node: str) -> list[dict[str, Any]]:
    """Return standard KATO events in the order of their time. Each ticket is learned right after its last step."""
    timed = []
    for ticket in tickets:
        for number, step in enumerate(ticket.steps):
            timed.append((step.when, step.row, 0, step_event(ticket, number, node)))
        last = ticket.steps[-1]
        learn = {
            "event_type": "learn",
            "event_id": f"{ticket.case_id}, learned",
            "session_id": ticket.case_id,
            "node_id": node,
            "timestamp": last.when.isoformat(),
        }
        timed.append((last.when, last.row, 1, learn))
    return [event for *_, event in sorted(timed, key=lambda row: row[:3])]


def step_event(ticket: Ticket, number: int, node: str) -> dict[str, Any]:
    """Return one step of a ticket as an event.

    The event's id is derived from the fact, so importing the same log twice adds nothing.
    """
    step = ticket.steps[number]
    return {
        "event_type": "observation",
        "event_id": f"{ticket.case_id}, step {number + 1}",
        "session_id": ticket.case_id,
        "node_id": node,
        "timestamp": step.when.isoformat(),
        "observation": {"strings": [step.activity], "metadata": {"resource": step.resource} if step.resource else {}},
        "metadata": {"source": "helpdesk"},
    }


class Followers:
    """Provides the baseline, which expects what most often came right after the last activity."""

    def __init__(self, tickets: Iterable[Ticket]) -> None:
        self._after: dict[str, Counter[str]] = defaultdict(Counter)
        for ticket in tickets:
            for one, following in pairwise(ticket.activities):
                self._after[one][following] += 1

    def expect(self, last: str, count: int) -> list[str]:
        """Return the ``count`` most frequent followers of ``last``, the most frequent first."""
        return [activity for activity, _ in self._after[last].most_common(count)] if last in self._after else []


def questions(ticket: Ticket) -> Iterator[tuple[int, str]]:
    """Yield each prefix (its length, from 2) after which the ticket goes on, with the activity that really came."""
    activities = ticket.activities
    for seen in range(2, len(activities)):
        yield seen, activities[seen]


def worth_a_look(learned: list[Ticket]) -> list[str]:
    """Return the case id and the activities of a ticket to look back at, which went on after its first ``SEEN`` events.

    It is from the middle of the history, or near the beginning of a long one: all that came before is replayed.
    """
    order = sorted((step.when, step.row) for ticket in learned for step in ticket.steps)
    latest = order[min(len(order) // 2, REPLAYED_AT_MOST)]
    fit = [ticket for ticket in learned if len(ticket.steps) > SEEN + 1 and _moment(ticket, SEEN) <= latest]
    ticket = max(fit, key=lambda one: _moment(one, SEEN)) if fit else max(learned, key=lambda one: len(one.steps))
    return [ticket.case_id, *ticket.activities]


def _moment(ticket: Ticket, seen: int) -> tuple[datetime, int]:
    return ticket.steps[seen - 1].when, ticket.steps[seen - 1].row
