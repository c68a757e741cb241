"""Run the demo on made-up data: import, learn, ask KATO what comes next, look at Flower, replay all of it."""

from __future__ import annotations

import time
from typing import Any

from celery import chain
from celery.result import AsyncResult
from rich.table import Table

from kato_tasks.api.append import append_events
from kato_tasks.celery_tasks.tasks import predict, process_observation_async
from kato_tasks.cli.demo.answers import count_listed_by_flower, pick_best_ways, read_patterns, wait_for_answer
from kato_tasks.cli.demo.applied import wait_until_applied
from kato_tasks.cli.demo.replaying import Moment, look_back, rebuild
from kato_tasks.cli.demo.webshop_data import SHOPS, TODAY, Visit, events, visits
from kato_tasks.cli.screen import Screen
from kato_tasks.embedded.stack.stack import Stack, StackFailed

SEEN = 3
"""How many pages of a visit the demo looks back at."""


def sample_demo(stack: Stack, screen: Screen) -> dict[str, Any]:
    """Run the demo on a stack that is ready, and return its figures. Raises StackFailed."""
    made = visits()
    rows = list(events(made))
    started = time.monotonic()
    append_events(rows)
    imported = time.monotonic() - started
    screen.say(f"  imported    {len(made)} visits of {len(SHOPS)} web shops, {len(rows)} events, in {imported:.2f} s")
    wait_until_applied(stack, screen, "applying")
    applied = time.monotonic() - started
    names = {name for shop in SHOPS for name in read_patterns(stack, shop)}
    screen.say(
        f"  applied     {len(rows)} events in {applied:.1f} s ({len(rows) / applied:,.0f}/s): "
        f"{len(made)} visits learned, {len(names)} patterns"
    )
    asked = [(visit, _ask(visit)) for visit in TODAY]
    answers = [(visit, wait_for_answer(stack, result)) for visit, result in asked]
    table, answered = _shown(answers)
    screen.show(table)
    ids = [task.id for _, result in asked for task in (result, result.parent)]
    listed = count_listed_by_flower(stack, ids)
    screen.say(f"  flower      {stack.urls['flower']} lists all {listed} tasks of these chains as SUCCESS")
    screen.say()
    replay = rebuild(stack, screen, {visit.node_id: visit.session_id for visit in made})
    again = [(visit, wait_for_answer(stack, predict.delay(visit.session_id))) for visit in TODAY]
    if [_told(answer) for _, answer in again] != [_told(answer) for _, answer in answers]:
        raise StackFailed("KATO predicts something else after the replay", "kato")
    screen.say(f"  asked       again: the new generation predicts the same for all {len(again)} guests")
    looked_back = look_back(stack, screen, _in_the_middle(made), "visit")
    return {
        "visits": len(made),
        "events": len(rows),
        "patterns": len(names),
        "seconds_until_applied": round(applied, 3),
        "events_per_second": round(len(rows) / applied),
        "predictions": answered,
        "tasks_in_flower": listed,
        "replay": replay,
        "as_of": looked_back,
    }


def _told(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what is equal when the same is asked again. KATO leaves the order of equal predictions to chance."""
    named = ("name", "frequency", "similarity", "past", "present", "missing", "extras", "future")
    return sorted(tuple(prediction[name] for name in named) for prediction in answer["predictions"])


def _in_the_middle(made: list[Visit]) -> Moment:
    """Return a visit from the middle of the history that had a choice: its first pages, and those that came."""
    middle = made[len(made) // 2 :]
    visit = next(visit for visit in middle if len(visit.pages) > SEEN + 1)
    return Moment(visit.session_id, visit.node_id, visit.pages[:SEEN], visit.pages[SEEN:])


def _ask(visit: Visit) -> AsyncResult[Any]:
    """Ask what comes next in a visit. Its last page and the question are one chain of public tasks."""
    *seen, last = visit.pages
    append_events(
        {"session_id": visit.session_id, "node_id": visit.node_id, "observation": {"strings": [page]}} for page in seen
    )
    observe_it = process_observation_async.s(visit.session_id, {"strings": [last]}, node_id=visit.node_id)
    result: AsyncResult[Any] = chain(observe_it, predict.si(visit.session_id)).apply_async()
    return result


def _shown(answers: list[tuple[Visit, dict[str, Any]]]) -> tuple[Table, list[dict[str, Any]]]:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("What comes next?", header_style="bold", overflow="fold")
    for name in ("similar", "learned"):
        table.add_column(name, header_style="bold", justify="right", no_wrap=True, min_width=len(name))
    rows = []
    for visit, answer in answers:
        best = pick_best_ways(answer["predictions"])
        table.add_section()
        table.add_row(f"{visit.session_id}, {visit.node_id}: {' → '.join(visit.pages)} …")
        for future, prediction in best:
            table.add_row(
                f"    … {future}", f"{prediction['similarity']:.2f}", str(prediction["frequency"]), style="green"
            )
        rows.append(
            {
                "session_id": visit.session_id,
                "seen": list(visit.pages),
                "expected": [prediction["future"] for _, prediction in best],
            }
        )
    return table, rows
