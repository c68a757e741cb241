"""What a throttled replay costs live events: `python -m benchmarks.replay_throttle --out FILE`.

For each value of REPLAY_EVENTS_PER_SECOND, on a fresh stack: nodes with a history in PostgreSQL are flagged and rebuilt
while live events come, first as many as the worker takes (their rate), then a steady half of that (their p50 and p99
from the append to the commit). Most live events are of other nodes, some of the nodes that are rebuilt. Afterwards,
with every node switched, each pattern's frequency and each live session's STM is compared with what was sent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.replay_stack import History, appended_and_archived, differing_patterns, replay_stack
from benchmarks.stack import Stack
from kato_tasks import append_events
from kato_tasks.api.replays.calls import replay_status, start_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.ids import lane_of
from kato_tasks.domain.replays import ENDED, ReplayRequest
from kato_tasks.domain.stm import pattern_name
from kato_tasks.ports.lanes import FlagNodeForRebuild
from kato_tasks.testing.waiting import wait_until

THROTTLES = (-1, 250, 1000, 4000, 0)
"""Events per second; -1: no replay at all; 0: no limit."""
NODES, LIVE_SESSIONS, LEARN_EVERY = 100, 200, 50
BACKLOG, BATCH = 4_000, 500


class LiveLoad:
    """Events of long sessions, in turns; every twentieth session is of a node that is rebuilt."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.sessions = {f"live {i}": f"shop {i % NODES}" if i % 20 == 0 else f"own {i}" for i in range(LIVE_SESSIONS)}
        self.stms: dict[str, list[list[str]]] = {session: [] for session in self.sessions}
        self.sent: Counter[str] = Counter()
        self._turn = 0
        self.appended_ms: dict[str, float] = {}

    def batch(self, count: int) -> list[dict[str, Any]]:
        names = list(self.sessions)
        events = []
        for _ in range(count):
            events.append(self._event(names[self._turn % len(names)]))
            self._turn += 1
        return events

    def _event(self, session: str) -> dict[str, Any]:
        self.sent[session] += 1
        number, node, stm = self.sent[session], self.sessions[session], self.stms[session]
        event: dict[str, Any] = {"session_id": session, "node_id": node, "event_id": f"{session}-{number}"}
        if len(stm) == LEARN_EVERY:
            self._history.patterns.setdefault(node, Counter())[pattern_name(stm)] += 1
            self.stms[session] = []
            return event | {"event_type": "learn"}
        stm.append([f"page {number * 7 % 200}"])
        return event | {"observation": {"strings": stm[-1]}}

    def applied(self) -> int:
        return sum(row.cursor for row in runtime().sessions.read(self.sessions))

    def flood(self, seconds: float) -> float:
        """Events applied per second while there is always some backlog."""
        before, begun, ends = self.applied(), time.perf_counter(), time.perf_counter() + seconds
        appended = before
        while time.perf_counter() < ends:
            if appended - self.applied() < BACKLOG:
                append_events(self.batch(BATCH))
                appended += BATCH
            else:
                time.sleep(0.02)
        return (self.applied() - before) / (time.perf_counter() - begun)

    def pace(self, rate: float, seconds: float) -> None:
        """Append at a steady rate, and keep when each event was appended."""
        begun, sent = time.perf_counter(), 0
        while (now := time.perf_counter() - begun) < seconds:
            due = int(now * rate) - sent
            if due < 1:
                time.sleep(0.005)
                continue
            events, at_ms = self.batch(min(due, BATCH)), time.time() * 1000
            append_events(events)
            sent += len(events)
            self.appended_ms.update((event["event_id"], at_ms) for event in events)

    def latencies_ms(self) -> list[float]:
        """From the append to the commit, of every event that was paced. All of them must be archived."""
        archive, found = runtime().archive, []
        assert archive is not None
        for session in self.sessions:
            for event in archive.of_session(session):
                at_ms = self.appended_ms.get(event.entry.split("\n", 2)[1])
                if at_ms is not None:
                    found.append(event.applied_ms - at_ms)
        assert len(found) == len(self.appended_ms)
        return sorted(found)

    def differing_stms(self, bench: Stack) -> int:
        wrong = 0
        for row in runtime().sessions.read(self.sessions):
            if row.binding is None:
                wrong += bool(self.stms[row.session])
            else:
                wrong += bench.kato.stm(row.binding.kato_session) != self.stms[row.session]
        return wrong


def measure(throttle: int, seconds: float, rate: float, directory: Path) -> dict[str, Any]:
    """One point: a fresh stack, a history that takes a while at this throttle, and live load meanwhile."""
    events = 80_000 if throttle < 1 else int(min(80_000, max(5_000, throttle * seconds * 2.3)))
    with replay_stack(directory, replay_events_per_second=str(max(0, throttle))) as bench:
        history = History(events, events // 50, NODES)
        appended_and_archived(history)
        live, rt = LiveLoad(history), runtime()
        append_events(live.batch(LIVE_SESSIONS))
        wait_until(lambda: live.applied() == LIVE_SESSIONS, 60, "every live session is bound", every=0.1)
        found: dict[str, Any] = {"throttle": throttle, "history": events}
        replay = None
        if throttle >= 0:
            rt.store.execute([FlagNodeForRebuild(lane_of(f"shop {i}")) for i in range(NODES)])
            replay = start_replay(rt, ReplayRequest("rebuild", flagged=True))
            wait_until(lambda: replay_status(rt, replay.id).events_done > 0, 60, "the replay is under way", every=0.05)
        first, begun = _done(replay), time.perf_counter()
        found["live_events_per_second"] = round(live.flood(seconds))
        found["replay_beside_a_flood"] = round((_done(replay) - first) / (time.perf_counter() - begun))
        wait_until(lambda: live.applied() == live.sent.total(), 120, "the flood is applied", every=0.1)
        first, begun = _done(replay), time.perf_counter()
        live.pace(rate, seconds)
        found["replay_beside_paced"] = round((_done(replay) - first) / (time.perf_counter() - begun))
        found["replay_went_on_until_the_end"] = replay is None or replay_status(rt, replay.id).state not in ENDED
        if replay is not None:
            wait_until(lambda: replay_status(rt, replay.id).state in ENDED, 900, "the replay ends", every=0.5)
            status = replay_status(rt, replay.id)
            assert status.state == "done", status
            found["switched"] = status.lanes.get("switched", 0)
        wait_until(lambda: live.applied() == live.sent.total(), 120, "all is applied", every=0.1)
        append_events(live.batch(LIVE_SESSIONS))  # What comes after the switch is applied to the new nodes.
        total = live.sent.total()
        archive = rt.archive
        assert archive is not None
        wait_until(lambda: sum(archive.heads(list(live.sessions)).values()) == total, 120, "all is archived", every=0.5)
        waits = live.latencies_ms()
        found["live_p50_ms"] = round(waits[len(waits) // 2])
        found["live_p99_ms"] = round(waits[int(len(waits) * 0.99)])
        found["patterns"] = sum(map(len, history.patterns.values()))
        found["patterns_that_differ"] = differing_patterns(bench.kato, history)
        found["stms_that_differ"] = live.differing_stms(bench)
        return found


def _done(replay: Any) -> int:
    return 0 if replay is None else replay_status(runtime(), replay.id).events_done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each load lasts")
    parser.add_argument("--rate", type=float, default=1_000.0, help="paced events per second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--throttles", type=int, nargs="+", default=list(THROTTLES))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    points: list[dict[str, Any]] = []
    for _ in range(given.rounds):
        for throttle in given.throttles:
            with tempfile.TemporaryDirectory() as scratch:
                points.append(measure(throttle, given.seconds, given.rate, Path(scratch)))
            print(json.dumps(points[-1]), flush=True)
    curve = [medians([point for point in points if point["throttle"] == throttle]) for throttle in given.throttles]
    for row in curve:
        print(row)
    if given.out:
        given.out.write_text(json.dumps({"paced_at": given.rate, "curve": curve, "points": points}, indent=1) + "\n")


def medians(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds; of what must be 0, the worst."""
    worst = ("patterns_that_differ", "stms_that_differ")
    return {name: (max if name in worst else median)([point[name] for point in points]) for name in points[0]}


if __name__ == "__main__":
    sys.exit(main())
