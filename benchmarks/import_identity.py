"""What it costs an import to know rows by their content: `python -m benchmarks.import_identity [--rows 200000]`.

A high-water mark of the append (`source` and offsets) would know the rows of an unchanged file by their place alone.
This says what that would save: the CPU of the identities and of the record beside the whole import's, in microseconds
for a row, when all rows are new and when all are known. A Redis of its own; append only. The figures are JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.import_flat import write_rows
from kato_tasks.bootstrap import Runtime, build
from kato_tasks.importer import Columns, Importer, Rejects, Summary, open_source
from kato_tasks.importer.identity import EventIds, Occurrences, content_key, metadata_check, nth
from kato_tasks.importer.importing import own_name
from kato_tasks.importer.reading import Reader, all_rows
from kato_tasks.importer.record import SourceRecord
from kato_tasks.settings import Settings
from kato_tasks.testing.services import RedisServer

COLUMNS = Columns(session="case", strings=("activity",), timestamp="when", emotives=(("amount", "amount"),))


@dataclass
class Spent:
    """CPU seconds of this process and of Redis."""

    rt: Runtime
    own: float = 0.0
    redis: float = 0.0
    _began: tuple[float, float] = field(default=(0.0, 0.0))

    def __enter__(self) -> Self:
        self._began = (time.process_time(), self._served())
        return self

    def __exit__(self, *_: object) -> None:
        self.own += time.process_time() - self._began[0]
        self.redis += self._served() - self._began[1]

    def _served(self) -> float:
        cpu = self.rt.redis.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    def of_each(self, rows: int) -> dict[str, float]:
        return {"importer_us": round(self.own / rows * 1e6, 2), "redis_us": round(self.redis / rows * 1e6, 2)}


def imported(rt: Runtime, path: Path) -> Summary:
    importer = Importer(
        append=lambda entries: [placed.appended for placed in rt.mailbox.append(entries).placed],
        imports=rt.imports,
        sessions=rt.sessions,
        rejects=Rejects(path.with_name("rejects.jsonl")),
        limits=rt.settings.limits,
        columns=COLUMNS,
        form="csv",
    )
    with open_source(str(path)) as source:
        return importer.run(source)


def timed(method: Callable[..., Any], spent: Spent) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with spent:
            return method(*args, **kwargs)

    return called


def identities(rt: Runtime, path: Path) -> Spent:
    """What is done with each row to know it, and nothing else."""
    spent = Spent(rt)
    with open_source(str(path)) as source:
        name = own_name(source)
        source.keep()
        with source.from_its_beginning():
            events = [event for _, (_, _, event, _) in all_rows(Reader(COLUMNS, "csv", None), source)]
    known, event_id, occurrences = SourceRecord(rt.imports, name).known, EventIds(name), Occurrences()
    with spent:
        for event in events:
            assert event is not None
            key = content_key(event)
            row = nth(key, occurrences.number(key))
            metadata_check(event)
            known.find(row)
            event_id(row)
    return spent


def measured(rows: int, sessions: int, directory: Path) -> dict[str, Any]:
    path = directory / "rows.csv"
    write_rows(path, rows, sessions)
    server = RedisServer(directory)
    server.start()
    try:
        rt = build(Settings(store_url=server.url))
        record, new, again = Spent(rt), Spent(rt), Spent(rt)
        intend, keep = SourceRecord.intend, SourceRecord.keep
        SourceRecord.intend, SourceRecord.keep = timed(intend, record), timed(keep, record)  # type: ignore[method-assign]
        with new:
            assert imported(rt, path).appended == rows
        SourceRecord.intend, SourceRecord.keep = intend, keep  # type: ignore[method-assign]
        with again:
            assert imported(rt, path).duplicates == rows
        known = identities(rt, path)
        rt.close()
    finally:
        server.stop()
    return {
        "rows": rows,
        "all_rows_new": new.of_each(rows),
        "all_rows_known": again.of_each(rows),
        "identities": known.of_each(rows),
        "record": record.of_each(rows),
        "share_of_an_import": round((known.own + record.own + record.redis) / (new.own + new.redis), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--sessions", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measured(options.rows, options.sessions, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
