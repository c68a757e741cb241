"""How fast the archive takes events, beside a bare COPY of the same rows: `python -m benchmarks.archive_writing`.

A PostgreSQL of its own, with the archive's tables and all their indexes for both. Each round makes events of sessions
that neither has seen, and both begin on an empty table. The figures are JSON on stdout, and with --keep in
benchmarks/results/archive-writing.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from kato_tasks.adapters.sql.archive import open_archive
from kato_tasks.adapters.sql.rows import Row, rows_of
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.adapters.sql.tables import COLUMNS
from kato_tasks.api.archiving import AT_ONCE
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.ports.archive import ArchivedEvent
from kato_tasks.testing.postgres import PostgresServer

ROUNDS, BATCHES, SESSIONS = 5, 6, 200
RESULTS = Path(__file__).parent / "results" / "archive-writing.json"


def batch_of(number: int) -> list[ArchivedEvent]:
    """One write's events, as a read of many lanes gives them: some of each session, sessions by lane."""
    begin_ms = 1_767_225_600_000 + number * AT_ONCE
    events = []
    for session in range(SESSIONS):
        for position in range(1, AT_ONCE // SESSIONS + 1):
            at_ms = begin_ms + session + position
            seen = {"strings": [f"page {position * 7 % 40}", f"shop {session % 9}"], "emotives": {"joy": 0.25}}
            when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1000)) + f".{at_ms % 1000:03}Z"
            event = parse_event({"session_id": "s", "timestamp": when, "observation": seen})
            entry = entry_of(event, event_id=f"{number}-{session}-{position}").text
            name, lane = f"visitor {number}-{session}", f"shop_{session // 4}"
            events.append(ArchivedEvent(name, position, lane, lane, number * AT_ONCE + position, at_ms, entry))
    return events


def timed(work: Callable[[Any], object], batches: Sequence[Any]) -> tuple[float, float]:
    """Return events a second over all batches, and the milliseconds of CPU of this process for a thousand events."""
    begin, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        work(batch)
    took, used = time.perf_counter() - begin, time.process_time() - cpu
    events = sum(map(len, batches))
    return events / took, used * 1_000_000 / events


def measured(url: str) -> dict[str, Any]:
    """Write the same events both ways, each round in the other order, and return what the rounds took."""
    found: dict[str, list[tuple[float, float]]] = {"write": [], "copy": []}
    copy_into = f"COPY kato_events ({', '.join(COLUMNS)}) FROM STDIN"
    with contextlib.closing(open_archive(url)) as archive, psycopg.connect(url) as bare:

        def write(batch: list[ArchivedEvent]) -> None:
            assert archive.write(batch) == []

        def copy(rows: list[Row]) -> None:
            with bare.cursor() as cursor, cursor.copy(copy_into) as into:
                for row in rows:
                    into.write_row(row)
            bare.commit()

        for turn in range(ROUNDS):
            batches = [batch_of(turn * BATCHES + n) for n in range(BATCHES)]
            rows = [rows_of(batch) for batch in batches]
            ways: list[tuple[str, Callable[[Any], None], list[Any]]] = [("write", write, batches), ("copy", copy, rows)]
            for name, work, input_ in ways if turn % 2 == 0 else reversed(ways):
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute("TRUNCATE kato_events")
                    other.execute("CHECKPOINT")
                found[name].append(timed(work, input_))
    shown: dict[str, Any] = {}
    for name, rounds in found.items():
        shown[f"{name}_events_per_second"] = round(median(rate for rate, _ in rounds))
        shown[f"{name}_rounds"] = [round(rate) for rate, _ in rounds]
        shown[f"{name}_cpu_ms_per_1000_events"] = round(median(cpu for _, cpu in rounds), 1)
    share = median(mine / bare for (mine, _), (bare, _) in zip(found["write"], found["copy"], strict=True))
    return shown | {"share_of_copy": round(share, 2)}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help=f"write the figures to {RESULTS.name}, too")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        server = PostgresServer(Path(directory))
        stack.callback(server.kill)
        server.start()
        with contextlib.closing(open_schema(server.url)) as schema:
            schema.upgrade()
        load_before = os.getloadavg()[0]
        figures = measured(server.url)
    figures |= {"events_per_write": AT_ONCE, "cores": os.cpu_count(), "load_before": round(load_before, 1)}
    text = json.dumps(figures, indent=2)
    print(text)
    if keep:
        RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    main()
