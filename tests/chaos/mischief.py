"""What goes wrong, and when: a script made from the seed, and how each line of it is carried out."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from kato_tasks.adapters.redis.keys import INTENT_FIELDS, prefix, text_in
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.kato_session import Intent
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.chaos.drained import left
from tests.chaos.gateway import SPELLS
from tests.chaos.recovery import Recoveries, Recovery, leases
from tests.chaos.rig import Rig, Worker
from tests.chaos.scale import Scale

STOP_GRACE_SECONDS = 30.0
WELL_SECONDS = 20.0
BACKLOG_SECONDS = 30.0
CALM_FROM = 0.75
"""From this share of the load's time on KATO has no faults, and workers are only killed."""


@dataclass(frozen=True, slots=True)
class Line:
    at: float
    act: str
    pick: float
    """decides which worker, and how hard"""
    spell: str = ""
    """of the gateway; empty: it is well again"""


def script(seed: int, scale: Scale) -> list[Line]:
    """The run's fault script: KATO's losses early, everything else shuffled over the load's time."""
    rng = random.Random(f"{seed}|script")
    calm = scale.load_seconds * CALM_FROM
    acts = (
        ["kill"] * (scale.kills - scale.calm_kills)
        + ["term"] * scale.terms
        + ["stop"] * scale.stops
        + ["store"] * scale.store_restarts
        + ["broker"] * scale.broker_restarts
        + ["kato"] * scale.kato_restarts
        + ["part"] * scale.kato_pauses
    )
    rng.shuffle(acts)
    step = calm / len(acts)
    lines = [Line((index + rng.uniform(0.2, 0.9)) * step, act, rng.random()) for index, act in enumerate(acts)]
    lines += [Line((index + 1) * 0.1 * scale.load_seconds, "lose_all", rng.random()) for index in range(scale.losses)]
    each = calm / len(SPELLS)
    for index, spell in enumerate(SPELLS):
        begin = (index + 0.2) * each
        lines.append(Line(begin, "gateway", 0, spell))
        lines.append(Line(begin + min(0.6 * each, scale.spell_seconds), "gateway", 0))
    # The last store or broker restart, or a stopped worker, is not to be measured as a slow recovery.
    begin = calm + 0.2 * (scale.load_seconds - calm)
    lines.append(Line(begin, "calm", 0))
    begin += min(BACKLOG_SECONDS, 0.4 * (scale.load_seconds - begin))
    lines += [
        Line(begin + (scale.load_seconds - begin) * (index + 0.5) / scale.calm_kills, "kill", rng.random())
        for index in range(scale.calm_kills)
    ]
    return sorted(lines, key=lambda line: line.at)


def fault_rules(
    scale: Scale, slow: Sequence[str] = (), kinds_played: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """Every kind of fault that KATO is known for, each on its share of KATO's calls; ``slow``: nodes that are so.

    ``kinds_played``: those alone.
    """
    late = scale.kato_timeout_seconds + 0.5
    kinds: list[dict[str, Any]] = [
        {"kind": "delay", "seconds": late},
        {"kind": "delay_after", "seconds": late},
        {"kind": "delay", "seconds": 0.1},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "error_before"},
        {"kind": "error_after"},
        {"kind": "not_saved"},
        {"kind": "not_found"},
        {"kind": "redis_down"},
        {"kind": "expire"},
        {"kind": "unavailable"},
        {"kind": "clickhouse_down"},
    ]
    rules = [
        rule | {"rate": scale.fault_rate} for rule in kinds if kinds_played is None or rule["kind"] in kinds_played
    ]
    return rules + [{"kind": "delay", "node": node, "seconds": scale.slow_seconds} for node in slow]


@dataclass(frozen=True, slots=True)
class Loss:
    """KATO lost everything: what was committed before ``from_ms`` is gone, what was begun after ``until_ms`` is not.

    ``under_way``: learns (session, position) that had an intent then; nobody knows on which side they fell.
    """

    from_ms: int
    until_ms: int
    under_way: frozenset[tuple[str, int]]


@dataclass(slots=True)
class Happened:
    lines: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    kills_without_lane: int = 0
    losses: list[Loss] = field(default_factory=list)
    kato_kills: list[int] = field(default_factory=list)
    """when a real KATO was killed, by the store's clock"""
    calm: bool = False
    late_ends: int = 0
    """workers that did not end in their stop grace period"""
    counts: dict[str, int] = field(default_factory=dict)


class Mischief(threading.Thread):
    """Carries the script out while the load runs."""

    def __init__(self, rig: Rig, seed: int, lines: list[Line], slow: Sequence[str]) -> None:
        super().__init__(name="mischief", daemon=True)
        self.happened = Happened()
        self.failure: BaseException | None = None
        self._rig = rig
        self._seed = seed
        self._lines = lines
        self._slow = slow
        self._helpers: list[threading.Thread] = []
        self._begin = time.monotonic()
        self._on_kato = threading.Lock()
        self._restarted = self._paused = 0

    def run(self) -> None:
        self._begin = time.monotonic()
        acts: dict[str, Callable[[Line], None]] = {
            "kill": self._kill,
            "term": self._term,
            "stop": self._pause,
            "store": self._restart_store,
            "broker": self._restart_broker,
            "lose_all": self._lose_all,
            "kato": lambda _: self._aside(self._restart_kato),
            "part": lambda _: self._aside(self._pause_part),
            "gateway": self._gateway,
            "calm": self._calm,
        }
        try:
            for line in self._lines:
                time.sleep(max(0.0, self._begin + line.at - time.monotonic()))
                acts[line.act](line)
                if line.act != "gateway" or line.spell:
                    self.happened.counts[line.act] = self.happened.counts.get(line.act, 0) + 1
            for helper in self._helpers:
                helper.join(300)
        except BaseException as exc:
            self.failure = exc

    def _note(self, text: str) -> None:
        self.happened.lines.append(f"{time.monotonic() - self._begin:7.1f} s  {text}")

    def _aside(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._helpers.append(thread)
        thread.start()

    def _choose(self, line: Line) -> Worker:
        """A worker that is ready, if there is one."""
        workers = list(self._rig.workers)
        ready = [worker for worker in workers if worker.ready()] or workers
        return ready[int(line.pick * len(ready))]

    # ------------------------------------------------------------ workers

    def _until_another_is_well(self, worker: Worker) -> None:
        """Somebody must be there to recover what is lost here, or nothing could be said about it."""
        stop = time.monotonic() + WELL_SECONDS
        while time.monotonic() < stop:
            if any(other is not worker and other.ready() and not other.paused for other in self._rig.workers):
                return
            time.sleep(0.05)

    def _kill(self, line: Line) -> None:
        worker = self._choose(line)
        self._until_another_is_well(worker)
        self._rig.replace(worker)
        self._wait_for_leases()
        worker.kill()
        self._note(f"SIGKILL {worker.name}")
        killed = time.monotonic()
        recoveries = Recoveries(self._rig, killed, self.happened.calm)

        def see_it_go_on() -> None:
            recoveries.watch()
            self.happened.recoveries += recoveries.orphans.values()
            self.happened.kills_without_lane += not recoveries.orphans
            if never := [lane for lane, r in recoveries.orphans.items() if r.progress is None]:
                self._note(f"lanes that did not go on: {never}")

        self._aside(see_it_go_on)

    def _wait_for_leases(self) -> None:
        """A kill while no lane is held would prove nothing."""
        stop = time.monotonic() + 1
        while time.monotonic() < stop and not leases(self._rig):
            time.sleep(0.01)

    def _term(self, line: Line) -> None:
        worker = self._choose(line)
        self._until_another_is_well(worker)
        self._rig.replace(worker)
        worker.terminate()
        self._note(f"SIGTERM {worker.name}")

        def see_it_end() -> None:
            if not worker.wait(STOP_GRACE_SECONDS):
                self.happened.late_ends += 1
                self._note(f"{worker.name} did not end within {STOP_GRACE_SECONDS:g} s of SIGTERM: killed")
                worker.end_with_stacks()

        self._aside(see_it_end)

    def _pause(self, line: Line) -> None:
        worker = self._choose(line)
        self._until_another_is_well(worker)
        self._wait_for_leases()
        worker.signal(signal.SIGSTOP)
        worker.paused = True
        seconds = self._rig.scale.lease_seconds + 1 + 3 * line.pick
        self._note(f"SIGSTOP {worker.name} for {seconds:.1f} s")

        def go_on() -> None:
            time.sleep(seconds)
            worker.signal(signal.SIGCONT)
            worker.paused = False
            self._note(f"SIGCONT {worker.name}")

        self._aside(go_on)

    # ----------------------------------------------------------- services

    def _restart_store(self, line: Line) -> None:
        # Its clients must notice by themselves. A crash of the process loses nothing with an append-only file.
        hard = line.pick < 0.5
        self._note(f"store Redis {'killed' if hard else 'stopped'}")
        if hard:
            self._rig.store.kill()
        else:
            self._rig.store.stop()
        time.sleep(0.5 + line.pick)
        self._rig.store.start()
        self._note("store Redis is back")

    def _restart_broker(self, line: Line) -> None:
        self._note("broker stopped")
        self._rig.broker.stop()
        time.sleep(0.5 + line.pick)
        self._rig.broker.start()
        self._note("broker is back")

    def _restart_kato(self) -> None:
        """KATO with all its processes, the stores that it keeps its state in go on; one such act at a time."""
        real = self._rig.real
        assert real is not None
        with self._on_kato:
            how = ("KILL", "TERM")[self._restarted % 2]
            self._restarted += 1
            self._note(f"KATO gets {how}")
            if how == "KILL":
                self.happened.kato_kills.append(self._rig.store_ms())
            done = subprocess.run([*real.restart, how], capture_output=True, text=True, check=False)
            if done.returncode:
                self.failure = RuntimeError(f"KATO was not restarted: {done.stdout}{done.stderr}")
            self._note("KATO is back")

    def _pause_part(self) -> None:
        """What KATO keeps its state in stands still: KATO's calls wait."""
        real = self._rig.real
        assert real is not None
        with self._on_kato:
            name, pid = list(real.parts.items())[self._paused % len(real.parts)]
            self._paused += 1
            seconds = self._rig.scale.pause_seconds * (1 + self._paused % 2)
            self._note(f"KATO's {name} stands still for {seconds:g} s")
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
            time.sleep(2)

    def _gateway(self, line: Line) -> None:
        self._rig.gateway.rules(SPELLS.get(line.spell, ()))
        self._note(f"gateway: {line.spell}" if line.spell else "gateway is well")

    def _calm(self, line: Line) -> None:
        """KATO is well from here on: what recovery takes by itself shows."""
        self._rig.ask("DELETE", "/_embedded/faults")
        self._rig.gateway.rules(())
        with self._on_kato:
            pass  # a restart of its under way is over
        self._note("KATO's faults and the gateway's are over")
        # What waited for KATO is applied first: a lane in a long queue says nothing about recovery.
        with contextlib.suppress(StillWaiting, redis.RedisError):
            wait_until(lambda: left(self._rig).sessions < self._rig.scale.sessions / 20, BACKLOG_SECONDS, every=0.2)
        self.happened.calm = True
        self._note("the backlog is gone")

    def _lose_all(self, line: Line) -> None:
        """KATO starts again with nothing: the fault happens at its next call."""
        before = self._rig.stats()["faults"].get("lose_all", 0)
        first = self._rig.store_ms()
        self._rig.set_faults(
            [{"kind": "lose_all"}, *fault_rules(self._rig.scale, self._slow)],
            self._seed + len(self.happened.losses) + 1,
        )
        wait_until(
            lambda: self._rig.stats()["faults"].get("lose_all", 0) > before, 20, "a call meets the loss", every=0.005
        )
        under_way = self._learns_under_way()
        self.happened.losses.append(Loss(first, self._rig.store_ms(), under_way))
        self._note("KATO lost everything")

    def _learns_under_way(self) -> frozenset[tuple[str, int]]:
        """Sessions with an open intent of a learn, and the learn's position."""
        pipe = self._rig.view.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.zrange(f"{prefix(partition)}since", 0, -1)
        sessions = [(partition, session) for partition, found in enumerate(pipe.execute()) for session in found]
        for partition, session in sessions:
            pipe.hgetall(f"{prefix(partition)}s:{session}")
        intents = [Intent.load(text_in(state, INTENT_FIELDS)) for state in pipe.execute()] if sessions else []
        return frozenset(
            (session, intent.first)
            for (_, session), intent in zip(sessions, intents, strict=True)
            if intent is not None and intent.kind not in ("observe", "clear")
        )
