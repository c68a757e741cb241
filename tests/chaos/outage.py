"""KATO is down for a minute while events keep coming: no task may fail, and what waited is applied in order."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.chaos.books import read_sessions
from tests.chaos.drained import until_drained
from tests.chaos.oracle import held_after
from tests.chaos.rig import Rig

BEFORE_SECONDS = 10.0
AFTER_SECONDS = 20.0
PER_SECOND = 10.0
SESSIONS = 20
SETTLING_SECONDS = 5
"""Calls under way, and the ones by which the breaker notices, are no probes."""
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Sent:
    at: float
    session: str
    number: int
    task: str


def run(rig: Rig, seed: int) -> dict[str, Any]:
    """Let KATO answer 503 to everything for a while, under a steady load of `.delay()`; returns the report."""
    begin = time.time()
    total = BEFORE_SECONDS + rig.scale.outage_seconds + AFTER_SECONDS
    down_at, up_at = begin + BEFORE_SECONDS, begin + BEFORE_SECONDS + rig.scale.outage_seconds
    sent, calls = _load(rig, seed, begin, total, down_at, up_at)
    drain_seconds, left = until_drained(rig, 60)
    states = _states(sent)
    sessions = sorted({row.session for row in sent})
    books = read_sessions(rig, [(session, rig.node_of(session)) for session in sessions])
    wrong = 0
    applied_at: dict[tuple[str, int], float] = {}
    for book in books:
        wrong += [e["observation"]["strings"][0] for e in book.events] != [f"o{n:04d}" for n in range(book.head)]
        seen = rig.kato_session(book.binding.kato_session) if book.binding else None
        wrong += (seen or {}).get("stm") != held_after(book.applied).stm
        applied_at.update({(book.id, position - 1): ms / 1000 for position, ms in book.commit_ms.items()})
    latencies = [(row.at - begin, applied_at[row.session, row.number] - row.at) for row in sent]
    ready = BEFORE_SECONDS + SETTLING_SECONDS
    probes = [count for second, count in calls if ready <= second < BEFORE_SECONDS + rig.scale.outage_seconds]
    report: dict[str, Any] = {
        "seconds_down": rig.scale.outage_seconds,
        "events": len(sent),
        "tasks": states,
        "sessions_wrong": wrong,
        "calls_per_second_while_down": {
            "mean": round(sum(probes) / max(1, len(probes)), 2),
            "max": max(probes, default=0),
        },
        "drain_seconds": drain_seconds,
        "left": left.sessions,
        "caught_up_after_seconds": caught_up(latencies, up_at - begin),
        "latencies": [(round(at, 2), round(wait, 3)) for at, wait in latencies],
        "calls": calls,
    }
    report["text"] = _text(report, latencies, total)
    return report


def caught_up(latencies: Sequence[tuple[float, float]], up: float) -> float:
    """Seconds after KATO was back until everything that had been sent before was applied."""
    return max(0.0, max((at + wait for at, wait in latencies if at < up), default=up) - up)


def _load(
    rig: Rig, seed: int, begin: float, total: float, down_at: float, up_at: float
) -> tuple[list[Sent], list[tuple[int, int]]]:
    from kato_tasks import process_observation_async

    sent: list[Sent] = []
    calls: list[tuple[int, int]] = []
    down = up = False
    before = _calls(rig)
    step = 0
    while (now := time.time()) < begin + total:
        if not down and now >= down_at:
            rig.set_faults([{"kind": "unavailable"}], seed)
            down = True
        if not up and now >= up_at:
            rig.ask("DELETE", "/_embedded/faults")
            up = True
        if len(calls) < int(now - begin):
            after = _calls(rig)
            calls.append((int(now - begin) - 1, after - before))
            before = after
        session, number = f"outage {seed}.{step % SESSIONS}", step // SESSIONS
        at = time.time()
        result = process_observation_async.delay(session, {"strings": [f"o{number:04d}"]})
        sent.append(Sent(at, session, number, result.id))
        step += 1
        time.sleep(max(0.0, begin + step / PER_SECOND - time.time()))
    return sent, calls


def _calls(rig: Rig) -> int:
    return sum(count for route, count in rig.stats()["requests"].items() if route != "health")


def _states(sent: Sequence[Sent]) -> dict[str, int]:
    from kato_tasks import app

    states: dict[str, int] = {}

    def all_known() -> bool:
        states.clear()
        for row in sent:
            state = str(app.backend.get_task_meta(row.task)["status"])
            states[state] = states.get(state, 0) + 1
        return set(states) <= {"SUCCESS", "FAILURE"}

    with contextlib.suppress(StillWaiting):
        wait_until(all_known, 45, "every task has its result", every=0.5)
    return dict(states)


def _text(report: dict[str, Any], latencies: Sequence[tuple[float, float]], total: float) -> list[str]:
    worst = _by_second(latencies, total)
    top = max(worst, default=0.0) or 1.0
    bars = "".join(BARS[min(8, round(8 * value / top))] for value in worst)
    calls = report["calls_per_second_while_down"]
    seconds = report["seconds_down"]
    caught_up = report["caught_up_after_seconds"]
    return [
        f"outage: KATO answers 503 for {seconds:.0f} s while {report['events']:,} events come by .delay()",
        f"tasks {report['tasks']}, sessions that are wrong afterwards {report['sessions_wrong']}",
        f"calls to KATO while it was down: {calls['mean']} a second on average, {calls['max']} at most",
        f"caught up {caught_up:.1f} s after KATO was back",
        f"latency from .delay() to applied, worst of each second (full bar {top:.1f} s):",
        f"  |{bars}|",
        f"   0 to {total:.0f} s, down from {BEFORE_SECONDS:.0f} s to {BEFORE_SECONDS + seconds:.0f} s",
    ]


def _by_second(latencies: Sequence[tuple[float, float]], total: float) -> list[float]:
    worst = [0.0] * int(total)
    for at, wait in latencies:
        second = min(len(worst) - 1, int(at))
        worst[second] = max(worst[second], wait)
    return worst


def svg(report: dict[str, Any]) -> str:
    """The latency graph: when an event was sent against how long it took to be applied."""
    latencies = report["latencies"]
    width, height, left, bottom = 720, 280, 50, 30
    end = max(at for at, _ in latencies) or 1.0
    top = max(wait for _, wait in latencies) or 1.0

    def x(at: float) -> float:
        return round(left + (width - left - 10) * at / end, 1)

    def y(wait: float) -> float:
        return round(height - bottom - (height - bottom - 10) * wait / top, 1)

    down, up = BEFORE_SECONDS, BEFORE_SECONDS + report["seconds_down"]
    dots = "".join(f'<circle cx="{x(at)}" cy="{y(wait)}" r="1.6"/>' for at, wait in latencies)
    ticks = "".join(
        f'<text x="{left - 6}" y="{y(top * part / 4) + 4}" text-anchor="end">{top * part / 4:.0f} s</text>'
        for part in range(5)
    )
    times = "".join(
        f'<text x="{x(at)}" y="{height - 10}" text-anchor="middle">{at:.0f} s</text>' for at in (0, down, up, end)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="11"><rect width="{width}" height="{height}" fill="white"/>'
        f'<rect x="{x(down)}" y="10" width="{x(up) - x(down)}" height="{height - bottom - 10}" fill="#f6d9d5"/>'
        f'<text x="{x((down + up) / 2)}" y="24" text-anchor="middle">KATO down</text>'
        f'<g fill="#1f5f99">{dots}</g>{ticks}{times}'
        f'<text x="{width - 10}" y="24" text-anchor="end">.delay() to applied, by when it was sent</text></svg>\n'
    )
