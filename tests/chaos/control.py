"""The control: the guide's plain task under a milder treatment. A harness that finds nothing here finds nothing."""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measured import Books, books_of_all
from benchmarks.stack import KatoProbe
from kato_tasks.testing.services import KatoServer, RedisServer, keeper_of, spawn
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.chaos.gateway import GatewayProcess
from tests.chaos.mischief import fault_rules
from tests.chaos.recorder import PLAYED, serve
from tests.chaos.rig import CHECKOUT, RealKato
from tests.chaos.scale import Scale

SESSIONS = 4
EACH = 100
QUIET_SECONDS = 9.0
"""The task's longest retry is 4 s away, so what was quiet for longer stays quiet."""
# Without reconciling, one of these ends a session for good: that would only show that it cannot go on.
SPARED = frozenset({"expire", "not_found", "redis_down"})


def run(directory: Path, scale: Scale, seed: int, real: RealKato | None = None, tag: str = "") -> Books:
    """4 sessions x 100 events on 8 threads, KATO's faults on, one SIGKILL of the worker; returns what went wrong."""
    with ExitStack() as exits:
        broker = RedisServer(directory / "broker")
        broker.start()
        exits.callback(broker.stop)
        kato_server: KatoServer | GatewayProcess
        if real is None:
            kato_server = KatoServer(directory / "kato", "--journal")
            kato_server.start()
        else:
            kato_server = GatewayProcess(real.url, seed, serve)
        exits.callback(kato_server.stop)
        (directory / "times").mkdir()
        environment = dict(os.environ) | {
            "BENCH_BROKER_URL": broker.url,
            "BENCH_KATO_URL": kato_server.url,
            "BENCH_TIMES": str(directory / "times"),
            "C_FORCE_ROOT": "1",
            "PYTHONPATH": str(CHECKOUT),
        }
        kato = KatoProbe(kato_server.url)
        sessions = [kato.create(f"control{tag}-{number}") for number in range(SESSIONS)]
        played = None if real is None else PLAYED
        rules = [rule for rule in fault_rules(scale, kinds_played=played) if rule["kind"] not in SPARED]
        kato.ask("POST", "/_embedded/faults", {"rules": rules, "seed": seed})
        sent = _publish(broker.url, sessions)
        first = _worker(exits, directory, environment, 1)
        wait_until(lambda: kato.stats()["observes"] >= SESSIONS * EACH // 3, 60, "a third is applied")
        first.kill()
        first.wait(10)
        _worker(exits, directory, environment, 2)
        _until_quiet(kato)
        kato.ask("DELETE", "/_embedded/faults")
        held = {session: [event[0] for event in kato.stm(session)] for session in sessions}
        return books_of_all(sent, held, kato.stats()["overlaps"])


def _publish(broker_url: str, sessions: list[str]) -> dict[str, list[str]]:
    from celery import Celery

    sent: dict[str, list[str]] = {session: [] for session in sessions}
    with Celery("control", broker=broker_url) as app:
        for number in range(EACH):
            for session in sessions:
                name = f"n{number:05d}"
                app.send_task("benchmarks.guide_task.observe", (session, {"strings": [name]}, name), queue="guide")
                sent[session].append(name)
    return sent


def _worker(exits: ExitStack, directory: Path, environment: dict[str, str], number: int) -> Any:
    import sys

    command = [sys.executable, "-m", "celery", "-A", "benchmarks.guide_task", "worker", "-P", "threads", "-c", "8"]
    with (directory / f"guide-{number}.log").open("wb") as log:
        process = spawn([*command, "-Q", "guide", "-n", f"guide{number}@control"], log, environment, CHECKOUT)
    exits.enter_context(keeper_of(process.pid))
    exits.callback(process.wait, 10)
    exits.callback(process.kill)
    return process


def _until_quiet(kato: KatoProbe) -> None:
    last, since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        seen = int(kato.stats()["observes"])
        if seen != last:
            last, since = seen, time.monotonic()
        return time.monotonic() - since > QUIET_SECONDS

    try:
        wait_until(quiet, 60, "the control run is over", every=0.2)
    except StillWaiting:
        return
