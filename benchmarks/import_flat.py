"""Whether an import's last tenth is as fast as its first: `python -m benchmarks.import_flat [--rows 500000]`.

A Redis of its own; append only, no KATO and no worker. The figures are JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kato_tasks.bootstrap import build
from kato_tasks.importer import Columns, Importer, Progress, Rejects, open_source
from kato_tasks.settings import Settings
from kato_tasks.testing.services import RedisServer


def write_rows(path: Path, rows: int, sessions: int) -> None:
    """A log of so many rows: sessions take turns, ten activities, a time and a number each."""
    with path.open("w", encoding="utf-8") as file:
        file.write("case,activity,when,amount\n")
        for i in range(rows):
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + i))
            file.write(f"Case {i % sessions},activity {i * 7 % 10},{when},{i % 97 / 7:.3f}\n")


def measured(rows: int, sessions: int, directory: Path) -> dict[str, Any]:
    """Import once; rates of the first and the last tenth, and the process's memory after each."""
    path = directory / "rows.csv"
    write_rows(path, rows, sessions)
    server = RedisServer(directory)
    server.start()
    seen: list[Mark] = []

    def note(rows_done: int) -> None:
        cpu = rt.redis.info("cpu")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        served = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
        seen.append(Mark(rows_done, time.perf_counter(), time.process_time(), served, peak))

    def progressed(progress: Progress) -> None:
        note(progress.summary.rows)

    try:
        rt = build(Settings(store_url=server.url))
        importer = Importer(
            append=lambda entries: [placed.appended for placed in rt.mailbox.append(entries).placed],
            imports=rt.imports,
            sessions=rt.sessions,
            rejects=Rejects(directory / "rejects.jsonl"),
            limits=rt.settings.limits,
            columns=Columns(session="case", strings=("activity",), timestamp="when", emotives=(("amount", "amount"),)),
            form="csv",
            on_progress=progressed,
        )
        note(0)
        with open_source(str(path)) as source:
            summary = importer.run(source)
        bytes_per_event = rt.redis.info("memory")["used_memory"] / rows
        rt.close()
    finally:
        server.stop()
    assert summary.appended == rows, summary
    tenths = [_rate(seen, rows * i // 10, rows * (i + 1) // 10) for i in range(10)]
    return {
        "rows": rows,
        "sessions": sessions,
        "rows_per_second": round(rows / summary.seconds),
        "first_tenth": tenths[0],
        "last_tenth": tenths[-1],
        "rows_per_second_of_each_tenth": [tenth["rows_per_second"] for tenth in tenths],
        "peak_memory_kib_after_first_tenth": next(mark.peak for mark in seen if mark.rows >= rows // 10),
        "peak_memory_kib_at_end": seen[-1].peak,
        "redis_bytes_per_event": round(bytes_per_event),
    }


@dataclass(frozen=True)
class Mark:
    """How far the import was at a moment, and what it had cost: CPU seconds of this process and of Redis."""

    rows: int
    at: float
    own_cpu: float
    redis_cpu: float
    peak: int


def _rate(seen: list[Mark], first: int, last: int) -> dict[str, float]:
    """Rows per second, and CPU microseconds per row, which a machine busy with other things changes less."""
    begin = max((mark for mark in seen if mark.rows <= first), key=lambda mark: mark.rows)
    end = min((mark for mark in seen if mark.rows >= last), key=lambda mark: mark.rows)
    rows = end.rows - begin.rows
    return {
        "rows_per_second": round(rows / (end.at - begin.at)),
        "importer_cpu_us_per_row": round((end.own_cpu - begin.own_cpu) / rows * 1e6, 1),
        "redis_cpu_us_per_row": round((end.redis_cpu - begin.redis_cpu) / rows * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--sessions", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measured(options.rows, options.sessions, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
