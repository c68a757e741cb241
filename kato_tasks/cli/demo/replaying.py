"""End a demo with a replay: rebuild its nodes from the log, switch to them, and ask what KATO expected back then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kato_tasks.api.replays.calls import plan_replay, replay_status, start_replay
from kato_tasks.api.sessions import session_status
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_tasks.tasks import predict
from kato_tasks.cli.demo.answers import ANSWER_SECONDS, pick_best_ways, read_patterns, wait_for_answer
from kato_tasks.cli.screen import Screen
from kato_tasks.domain.replays import ENDED, Replay, ReplayRequest, ReplayStatus
from kato_tasks.embedded.stack.stack import Stack, StackFailed

EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Moment:
    """Holds a session's events up to some moment, and those that came after it."""

    session_id: str
    node_id: str
    seen: tuple[str, ...]
    came: tuple[str, ...]


def rebuild(stack: Stack, screen: Screen, sessions: Mapping[str, str]) -> dict[str, Any]:
    """Rebuild every node and return the figures. ``sessions`` holds a session of each node, by the node.

    What the embedded KATO holds of the new generations is compared with what it held before, beside what the replay
    itself verifies. Raises StackFailed if anything differs.
    """
    request = ReplayRequest("rebuild")
    plan = plan_replay(runtime(), request)
    nodes, all_sessions = _count(len(plan.lanes), "node"), _count(plan.sessions, "session")
    screen.say(f"  replay      rebuilds {nodes} with {all_sessions} from the log, while the old ones serve")
    before = {node: read_patterns(stack, node) for node in sessions}
    started = time.monotonic()
    replay = start_replay(runtime(), request)
    status = require_equal(_wait_until_ended(stack, screen, replay, "rebuilding"))
    seconds = time.monotonic() - started
    generations = {node: _serving(session) for node, session in sessions.items()}
    differs = [node for node, generation in generations.items() if read_patterns(stack, generation) != before[node]]
    kept = [node for node, generation in generations.items() if generation != node and read_patterns(stack, node)]
    if differs or len(kept) != len(sessions):
        raise StackFailed(
            f"KATO holds other patterns than before the replay of {', '.join(differs) or 'a node'}", "kato"
        )
    patterns = sum(map(len, before.values()))
    rate = status.events_done / seconds
    screen.say(f"  rebuilt     {status.events_done:,} events in {seconds:.1f} s ({rate:,.0f}/s), in a new generation")
    screen.say(
        f"  verified    equal: {status.events_done:,} events, {_count(patterns, 'pattern')} with their frequencies, "
        "short-term memory"
    )
    switched = status.lanes.get("switched", 0)
    screen.say(
        f"  switched    {_count(switched, 'node')} to it; the old generation is kept for `kato-tasks replay clean`"
    )
    return {
        "id": status.id,
        "state": status.state,
        "events": status.events_done,
        "sessions": plan.sessions,
        "patterns": patterns,
        "nodes_switched": switched,
        "differences": list(status.differences),
        "seconds": round(seconds, 2),
    }


def look_back(stack: Stack, screen: Screen, moment: Moment, of: str) -> dict[str, Any]:
    """Ask what KATO expected at this moment, show it beside what came, and return both. Raises StackFailed.

    ``of`` says what a session is: ``visit``, ``ticket``.
    """
    started = time.monotonic()
    request = ReplayRequest("as_of", moment.session_id, position=len(moment.seen))
    replay = start_replay(runtime(), request)
    status = require_equal(_wait_until_ended(stack, screen, replay, "replaying"))
    asked = status.sessions[moment.session_id]
    answer = wait_for_answer(stack, predict.delay(asked))
    then = sum(pattern["frequency"] for pattern in read_patterns(stack, _serving(asked)).values())
    now = sum(pattern["frequency"] for pattern in read_patterns(stack, _serving(moment.session_id)).values())
    best = pick_best_ways(answer["predictions"])
    where = f"event {len(moment.seen)} of {moment.session_id}"
    screen.say(f"  as of then  {where}: its node had learned {_count(then, of)}, today {now:,}")
    screen.show(_table(moment, best))
    return {
        "session_id": moment.session_id,
        "seen": list(moment.seen),
        "expected": [prediction["future"] for _, prediction in best],
        "came": list(moment.came),
        "learned_then": then,
        "learned_now": now,
        "seconds": round(time.monotonic() - started, 2),
    }


def require_equal(status: ReplayStatus) -> ReplayStatus:
    """Return the status of a replay that is done. Raises StackFailed, which says what differs, for any other."""
    if status.state == "done" and not status.differences and status.events_done == status.events_total:
        return status
    what = "; ".join(status.differences) or status.reason
    raise StackFailed(
        f"the replay of {status.events_done} of {status.events_total} events is {status.state}: {what}", "worker"
    )


def _wait_until_ended(stack: Stack, screen: Screen, replay: Replay, what: str) -> ReplayStatus:
    """Return the replay's status once it has ended. A terminal shows the progress. Raises StackFailed."""
    deadline = time.monotonic() + ANSWER_SECONDS
    status = replay_status(runtime(), replay.id)
    with screen.progress(what, status.events_total) as done:
        while status.state not in ENDED:
            stack.check()
            if time.monotonic() > deadline:
                raise StackFailed(f"replay {replay.id} has not ended after {ANSWER_SECONDS:.0f} s", "worker")
            time.sleep(EVERY_SECONDS)
            status = replay_status(runtime(), replay.id)
            done(status.events_done)
    return status


def _serving(session_id: str) -> str:
    """Return the node that KATO is told for a session now."""
    status = session_status(session_id)
    if status is None:
        raise StackFailed(f"session {session_id!r} is not known", "worker")
    return status.generation or status.node_id


def _table(moment: Moment, best: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("What did KATO expect then?", header_style="bold", overflow="fold")
    for name in ("similar", "learned"):
        table.add_column(name, header_style="bold", justify="right", no_wrap=True, min_width=len(name))
    table.add_row(f"{moment.session_id}, {moment.node_id}: {' → '.join(moment.seen)} …")
    for future, prediction in best:
        table.add_row(f"    … {future}", f"{prediction['similarity']:.2f}", str(prediction["frequency"]), style="green")
    if not best:
        table.add_row("    … nothing yet", style="green")
    table.add_row(f"    came: {' → '.join(moment.came)}")
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
