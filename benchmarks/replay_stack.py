"""What benchmarks of replays share: a stack with a PostgreSQL, histories, and what KATO must hold of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.stack import KatoProbe, Stack
from kato_tasks import Settings, append_events, make_app
from kato_tasks.bootstrap import archive_schema, runtime
from kato_tasks.domain.ids import lane_of
from kato_tasks.domain.stm import pattern_name
from kato_tasks.ports.generations import GenerationOf
from kato_tasks.testing.postgres import PostgresServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until

BATCH = 2_000


@contextmanager
def replay_stack(directory: Path, concurrency: int = 2, kato_url: str = "", **more: str) -> Iterator[Stack]:
    """A Redis, a PostgreSQL with our tables, a KATO and one worker; this process is the application.

    The KATO is an embedded one of its own, or the one that runs at ``kato_url``.
    """
    with ExitStack() as exits:
        store = RedisServer(directory / "redis")
        archive = PostgresServer(directory / "postgresql")
        for server in (store, archive):
            exits.callback(server.stop)
            server.start()
        if not kato_url:
            kato = KatoServer(directory / "kato")
            exits.callback(kato.stop)
            kato.start()
            kato_url = kato.url
        at = store.url.removesuffix("/0")
        settings = {
            "broker_url": store.url,
            "result_backend": f"{at}/1",
            "store_url": f"{at}/2",
            "archive_url": archive.url,
            "kato_urls": kato_url,
            **more,
        }
        environment = {f"KATO_TASKS_{name.upper()}": value for name, value in settings.items()}
        config = Settings(**settings)
        with closing(archive_schema(config)) as schema:
            schema.upgrade()
        bench = Stack(directory, store, kato_url, KatoProbe(kato_url), environment)
        exits.enter_context(make_app(config))
        bench.worker(exits, "worker", "kato_tasks", "--pool", "prefork", "--concurrency", str(concurrency))
        yield bench


@dataclass
class History:
    """Sessions of several nodes, each of which observes for a while and learns at the end."""

    events: int
    sessions: int
    nodes: int
    patterns: dict[str, Counter[str]] = field(default_factory=dict)

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Every event, in batches; sessions run side by side."""
        rng = random.Random(7)
        each = self.events // self.sessions
        batch: list[dict[str, Any]] = []
        for first in range(0, self.sessions, 100):
            group = range(first, min(first + 100, self.sessions))
            stms: dict[int, list[list[str]]] = {number: [] for number in group}
            for position in range(1, each + 1):
                for number in group:
                    batch.append(self._event(rng, number, position, each, stms[number]))
                    if len(batch) == BATCH:
                        yield batch
                        batch = []
        if batch:
            yield batch

    def _event(self, rng: random.Random, number: int, position: int, each: int, stm: list[list[str]]) -> dict[str, Any]:
        node = f"shop {number % self.nodes}"
        event: dict[str, Any] = {"session_id": f"visit {number}", "node_id": node, "event_id": f"{number}-{position}"}
        if position == each:
            self.patterns.setdefault(node, Counter())[pattern_name(stm)] += 1
            return event | {"event_type": "learn"}
        seen = [f"page {rng.randrange(200)}"]
        stm.append(seen)
        return event | {"observation": {"strings": seen}}


def appended_and_archived(history: History) -> tuple[float, float]:
    """Have a history applied and archived. Returns the seconds until it was applied, and until it was archived."""
    begun = time.perf_counter()
    for batch in history.batches():
        append_events(batch)
    rt = runtime()
    wait_until(lambda: sum(part.backlog for part in rt.figures.partitions()) == 0, 3_600, "all is applied", every=1.0)
    applied = time.perf_counter() - begun
    wait_until(lambda: not unarchived(), 3_600, "all is archived", every=1.0)
    return applied, time.perf_counter() - begun


def unarchived() -> int:
    rows = runtime().figures.sweep(overdue_ms=1_000, owed_ms=1_000, unseen_ms=1_000, ahead_ms=10**9)
    return sum(row.lanes_unarchived for row in rows)


def differing_patterns(kato: KatoProbe, history: History) -> int:
    """How many patterns have another frequency on the nodes that serve now than in the history."""
    wrong = 0
    lanes = [lane_of(node) for node in history.patterns]
    served = runtime().store.execute([GenerationOf(lane) for lane in lanes])
    for (node, counted), generation in zip(history.patterns.items(), served, strict=True):
        for name, count in counted.items():
            path = f"/pattern/{quote(name, safe='')}?node_id={quote(generation or node, safe='')}"
            found = kato.ask("GET", path)["pattern"]
            wrong += not (found["status"] == "okay" and found["pattern"]["frequency"] == count)
    return wrong
