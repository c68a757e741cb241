"""Run the demo on a real help-desk log: learn its first tickets, and predict what comes next in the others."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery.result import AsyncResult
from rich.table import Table

from kato_tasks.api.append import append_events
from kato_tasks.celery_tasks.tasks import predict
from kato_tasks.cli.demo.answers import Watched, read_patterns, wait_for_answer
from kato_tasks.cli.demo.applied import wait_until_applied
from kato_tasks.cli.demo.helpdesk_data import (
    SEEN,
    SERVER,
    SESSION_CONFIG,
    Followers,
    Ticket,
    learning_events,
    questions,
    split,
    step_event,
    worth_a_look,
)
from kato_tasks.cli.demo.replaying import Moment, look_back, rebuild
from kato_tasks.cli.screen import Screen
from kato_tasks.embedded.stack.stack import Stack

NODE = "helpdesk"
APPENDED_AT_ONCE = 5_000
ASKED_AT_ONCE = 400
"""The number of questions that are open at a time. It is limited so that answers never pile up."""
TOP = 3
REBUILT_AT_MOST = 3_000
"""With more events than this the node is not rebuilt at the end, because that takes minutes."""


@dataclass(slots=True)
class Score:
    """Counts how often the first expectation, and one of the first three, was what really came."""

    first: int = 0
    top: int = 0
    asked: int = 0

    def count(self, expected: Sequence[str], came: str) -> None:
        """Count one question: what was expected, the likeliest first, and what really came."""
        self.asked += 1
        self.first += list(expected[:1]) == [came]
        self.top += came in expected[:TOP]

    def shares(self) -> dict[str, float]:
        """Return the shares of questions that the first, and one of the first three expectations, answered rightly."""
        asked = self.asked or 1
        return {"top_1": round(self.first / asked, 4), "top_3": round(self.top / asked, 4)}


def expected_next(predictions: Sequence[dict[str, Any]]) -> list[str]:
    """Return the first three different activities with which the predictions go on, in KATO's own order."""
    found: list[str] = []
    for prediction in predictions:
        if prediction["future"] and prediction["future"][0][0] not in found:
            found.append(prediction["future"][0][0])
            if len(found) == TOP:
                break
    return found


def helpdesk_demo(stack: Stack, screen: Screen, tickets: list[Ticket]) -> dict[str, Any]:
    """Run the demo on a stack that is ready, and return its figures. Raises StackFailed."""
    learned, rest = split(tickets)
    steps = sum(len(ticket.steps) for ticket in tickets)
    screen.say(f"  tickets     {len(tickets):,} with {steps:,} events; the first {len(learned):,} are learned")
    figures: dict[str, Any] = {"tickets": len(tickets), "events": steps, "tickets_learned": len(learned)}
    figures |= learn(stack, screen, learned, NODE)
    figures["patterns"] = len(read_patterns(stack, NODE))
    screen.say(f"  patterns    {figures['patterns']} different ones")
    kato, baseline, asked = ask_next(stack, screen, rest, Followers(learned), NODE)
    screen.show(_table(kato, baseline))
    server, config = (", ".join(f"{name}={value}" for name, value in one.items()) for one in (SERVER, SESSION_CONFIG))
    screen.say(f"  The embedded KATO was started with {server}, its sessions have {config},")
    screen.say("  chosen on the tickets that are learned, never on those that are predicted.")
    figures |= asked
    figures |= {"accuracy": kato.shares(), "baseline": baseline.shares()}
    figures |= {"kato_session_config": SESSION_CONFIG, "kato_environment": SERVER}
    screen.say()
    figures["replay"] = None
    if steps <= REBUILT_AT_MOST:
        figures["replay"] = rebuild(stack, screen, {NODE: learned[0].case_id})
    else:
        screen.say(
            f"  replay      of {steps:,} events takes as long as learning them, so only the beginning is replayed"
        )
    case, *activities = worth_a_look(learned)
    seen = min(SEEN, len(activities) - 1)
    moment = Moment(case, NODE, tuple(activities[:seen]), tuple(activities[seen:]))
    figures["as_of"] = look_back(stack, screen, moment, "ticket")
    return figures | {"machine": {"cpus": os.cpu_count(), "python": platform.python_version()}}


def learn(stack: Watched, screen: Screen, tickets: list[Ticket], node: str) -> dict[str, Any]:
    """Observe and learn the tickets, and return the figures."""
    events = learning_events(tickets, node)
    started = time.monotonic()
    for start in range(0, len(events), APPENDED_AT_ONCE):
        append_events(events[start : start + APPENDED_AT_ONCE])
    appended = time.monotonic() - started
    wait_until_applied(stack, screen, "learning")
    applied = time.monotonic() - started
    rate = len(events) / applied
    screen.say(
        f"  learned     {len(events) - len(tickets):,} events, {len(tickets):,} learns in {applied:.1f} s "
        f"({rate:,.0f}/s)"
    )
    return {
        "events_learned": len(events) - len(tickets),
        "learns": len(tickets),
        "seconds_to_append": round(appended, 2),
        "seconds_to_learn": round(applied, 2),
        "events_per_second": round(rate),
    }


@dataclass(slots=True)
class _Asked:
    came: str
    result: AsyncResult[Any]


def ask_next(
    stack: Watched, screen: Screen, tickets: list[Ticket], followers: Followers, node: str
) -> tuple[Score, Score, dict[str, Any]]:
    """Ask after each prefix. A ticket's next event is appended without waiting for the answer."""
    kato, baseline = Score(), Score()
    asked: deque[_Asked] = deque()

    def take_answer() -> None:
        question = asked.popleft()
        answer = wait_for_answer(stack, question.result)
        kato.count(expected_next(answer["predictions"]), question.came)
        question.result.forget()

    came_next = [dict(questions(ticket)) for ticket in tickets]
    total = sum(map(len, came_next))
    started = time.monotonic()
    events = 0
    with screen.progress("predicting", total) as done:
        for seen in range(1, max(len(ticket.steps) for ticket in tickets) + 1):
            observed = [ticket for ticket in tickets if len(ticket.steps) >= seen]
            append_events(step_event(ticket, seen - 1, node) for ticket in observed)
            events += len(observed)
            for ticket, following in zip(tickets, came_next, strict=True):
                if seen in following:
                    baseline.count(followers.expect(ticket.steps[seen - 1].activity, TOP), following[seen])
                    asked.append(_Asked(following[seen], predict.delay(ticket.case_id)))
                    if len(asked) >= ASKED_AT_ONCE:
                        take_answer()
                        done(kato.asked)
        while asked:
            take_answer()
            done(kato.asked)
    wait_until_applied(stack, screen, "applying")
    seconds = time.monotonic() - started
    screen.say(
        f"  predicted   {total:,} next activities of {len(tickets):,} other tickets in {seconds:.1f} s "
        f"({total / seconds:,.0f}/s)"
    )
    return (
        kato,
        baseline,
        {
            "tickets_predicted": len(tickets),
            "events_observed_while_predicting": events,
            "predictions": total,
            "seconds_to_predict": round(seconds, 2),
            "predictions_per_second": round(total / seconds),
        },
    )


def _table(kato: Score, baseline: Score) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("Next activity", header_style="bold", overflow="fold")
    for name in ("top 1", "top 3"):
        table.add_column(name, header_style="bold", justify="right", no_wrap=True, min_width=6)
    for name, score, style in (
        ("KATO's predictions", kato, "green"),
        ("most frequent follower of the last activity", baseline, ""),
    ):
        shares = score.shares()
        table.add_row(name, f"{shares['top_1']:.1%}", f"{shares['top_3']:.1%}", style=style)
    return table
