"""The six things that are measured, each end to end and with its books."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured, books_of_all, percentiles
from benchmarks.stack import Stack, busy_wait
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import default_node, lane_of, partition_of

PACED_PER_SECOND = 30.0
APPEND = 1_000
"""Events in one bulk append: what an importer or a listener sends at once."""
Send = Callable[[str, str], None]


def _name(number: int) -> str:
    return f"n{number:05d}"


def _observation(name: str) -> dict[str, Any]:
    return {"strings": [name, "page:dashboard"], "vectors": [], "emotives": {"sentiment": 0.8}, "metadata": {}}


def _sent_at(send: Send, targets: Sequence[str], start: int, count: int, per_second: float | None) -> dict[str, float]:
    """Send ``count`` events from number ``start`` on, round the targets; returns when each was sent."""
    sent: dict[str, float] = {}
    begin = time.time()
    for step in range(count):
        target, name = targets[step % len(targets)], _name(start + step // len(targets))
        if per_second:
            time.sleep(max(0.0, begin + step / per_second - time.time()))
        sent[f"{target}/{name}"] = time.time()
        send(target, name)
    return sent


# ------------------------------------------------------------------------------- the guide's task


def guide(stack: Stack, task: Any, variant: str, *, sessions: int, events: int, paced: int, queue: str) -> Measured:
    """The guide's task (or the pooled one): KATO's sessions exist already, as the guide takes for granted."""
    stack.kato.reset()
    kato_sessions = [stack.kato.create(f"guide-{number}") for number in range(sessions)]
    for old in (stack.directory / "times").iterdir():
        old.unlink() if not _open_elsewhere(old) else old.write_text("")

    def send(target: str, name: str) -> None:
        observation = _observation(name)
        task.apply_async((target, observation, f"{target}/{name}"), queue=queue)

    flood = _sent_at(send, kato_sessions, 0, events, None)
    busy_wait(lambda: stack.kato.stats()["observes"] >= events and _guide_idle(stack, queue), 120, variant)
    applied = _applied_times(stack)
    seconds = max(applied[key] for key in flood if key in applied) - min(flood.values())
    slow: dict[str, float] = {}
    if paced:
        slow = _sent_at(send, kato_sessions, -(-events // sessions), paced, PACED_PER_SECOND)
        busy_wait(lambda: stack.kato.stats()["observes"] >= events + paced, 60, variant)
        busy_wait(lambda: len(_applied_times(stack)) >= events + paced, 10, variant)
        applied = _applied_times(stack)
    sent: dict[str, list[str]] = {target: [] for target in kato_sessions}
    for key in (*flood, *slow):
        target, name = key.rsplit("/", 1)
        sent[target].append(name)
    held = {target: [event[0] for event in stack.kato.stm(target)] for target in kato_sessions}
    return Measured(
        variant,
        events,
        seconds,
        books_of_all(sent, held, stack.kato.stats()["overlaps"]),
        percentiles([applied[key] - at for key, at in flood.items() if key in applied]),
        percentiles([applied[key] - at for key, at in slow.items() if key in applied]) if slow else None,
    )


def _open_elsewhere(path: Path) -> bool:
    """Workers keep their files open: empty them, do not remove them."""
    return path.suffix == ".txt"


def _applied_times(stack: Stack) -> dict[str, float]:
    """When KATO's answer was back in the task."""
    times: dict[str, float] = {}
    for path in (stack.directory / "times").iterdir():
        for line in path.read_text().splitlines():
            key, _, at = line.rpartition(" ")
            times.setdefault(key, float(at))
    return times


def _guide_idle(stack: Stack, queue: str) -> bool:
    with stack.db(3) as broker:
        return not broker.llen(queue) and not broker.hlen("unacked")


def empty(stack: Stack, task: Any, *, events: int) -> Measured:
    """An empty task: from the first publish to the last acknowledged (late acks)."""
    start = time.time()
    for _ in range(events):
        task.apply_async(queue="guide")
    busy_wait(lambda: _guide_idle(stack, "guide"), 120, "empty task", 0.004)
    return Measured("empty", events, time.time() - start)


# ------------------------------------------------------------------------------------ kato_tasks


def delay(stack: Stack, run: str, *, sessions: int, events: int, paced: int) -> Measured:
    """One ``process_observation_async.delay()`` per event."""
    from kato_tasks import process_observation_async

    _fresh(stack)
    names = [f"{run} user {number}" for number in range(sessions)]

    def send(target: str, name: str) -> None:
        process_observation_async.delay(target, _observation(name))

    flood = _sent_at(send, names, 0, events, None)
    busy_wait(lambda: stack.kato.stats()["observes"] >= events and _ours_idle(stack), 120, "delay")
    commits = _commits(stack, names)
    seconds = max(max(rows) for rows in commits.values()) - min(flood.values())
    slow: dict[str, float] = {}
    if paced:
        slow = _sent_at(send, names, -(-events // sessions), paced, PACED_PER_SECOND)
        busy_wait(lambda: stack.kato.stats()["observes"] >= events + paced and _ours_idle(stack), 60, "delay")
        commits = _commits(stack, names)
    sent: dict[str, list[str]] = {name: [] for name in names}
    waits: dict[str, list[float]] = {"flood": [], "slow": []}
    for kind, given in (("flood", flood), ("slow", slow)):
        for key, at in given.items():
            target, name = key.rsplit("/", 1)
            # The commit's time is in whole milliseconds, cut off.
            waits[kind].append(max(0.0, commits[target][len(sent[target])] - at))
            sent[target].append(name)
    held = {name: _held_by_bound(stack, name) for name in names}
    return Measured(
        "delay",
        events,
        seconds,
        books_of_all(sent, held, stack.kato.stats()["overlaps"]),
        percentiles(waits["flood"]),
        percentiles(waits["slow"]) if slow else None,
    )


def lanes(stack: Stack, run: str, variant: str, *, sessions: int, each: int, by_session: bool) -> Measured:
    """Bulk appends, drained by the workers. ``by_session``: a session's events come together, else in turns."""
    from kato_tasks import append_events

    _fresh(stack)
    names = [f"{run}-{number}" for number in range(sessions)]
    pairs = (
        ((name, number) for name in names for number in range(each))
        if by_session
        else ((name, number) for number in range(each) for name in names)
    )
    total = sessions * each
    start = time.time()
    while chunk := list(islice(pairs, APPEND)):
        append_events(
            {
                "event_type": "observation",
                "session_id": name,
                "event_id": f"{name}/{_name(number)}",
                "timestamp": "2025-11-13T10:30:00Z",
                "observation": _observation(_name(number)),
                "metadata": {"source": "web-app"},
            }
            for name, number in chunk
        )
    busy_wait(lambda: stack.kato.stats()["observes"] >= total, 300, variant, 0.02)
    busy_wait(lambda: _ours_idle(stack), 60, variant)
    commits = _commits(stack, names)
    assert sum(map(len, commits.values())) == total, "not every event was committed"
    end = max(max(rows) for rows in commits.values())
    sent = {name: [f"{name}/{_name(number)}" for number in range(each)] for name in names}
    held = {name: stack.kato.journal(name) for name in names}
    return Measured(variant, total, end - start, books_of_all(sent, held, stack.kato.stats()["overlaps"]))


def _fresh(stack: Stack) -> None:
    """An empty KATO and an empty store: earlier runs' sessions are never used again."""
    busy_wait(lambda: _ours_idle(stack), 60, "earlier work")
    stack.kato.reset()
    with stack.db(2) as store:
        store.flushdb()


def _ours_idle(stack: Stack) -> bool:
    with stack.db(0) as broker:
        queues = [f"kato.lane.{shard:02d}" for shard in range(16)]
        pipe = broker.pipeline(transaction=False)
        for queue in queues:
            pipe.llen(queue)
        pipe.hlen("unacked")
        return not any(pipe.execute())


def _commits(stack: Stack, sessions: Sequence[str]) -> dict[str, list[float]]:
    """When each position of each session was committed after KATO's answer, by the store's clock (whole ms)."""
    with stack.db(2) as store:
        pipe = store.pipeline(transaction=False)
        for session in sessions:
            lane = lane_of(default_node(session))
            pipe.lrange(f"{prefix(partition_of(lane))}order:{lane}", 0, -1)
        rows = pipe.execute()
    found: dict[str, list[float]] = {session: [] for session in sessions}
    for commits in rows:
        for text in commits:
            numbers, session = text.split("\n", 1)
            _, first, last, ms = (int(part) for part in numbers.split(" "))
            found[session] += [ms / 1000] * (last - first + 1)
    return found


def _held_by_bound(stack: Stack, session: str) -> list[str]:
    from kato_tasks import session_status

    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    return [event[0] for event in stack.kato.stm(status.binding.kato_session_id)]
