"""Print events of a history: as lines of JSON, or as tables of a screen's length."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kato_tasks.cli.output import short_id, show_json, show_table

AT_ONCE = 200
"""How many events one table holds: its columns are as wide as the widest of them."""
SHOWN_CHARS = 60


def show_events(events: Iterable[dict[str, Any]], as_json: bool) -> int | None:
    """Print events as they are read. Return the position of the last one, or None if there was none."""
    last, rows = None, []
    for event in events:
        last = event["position"]
        if as_json:
            show_json(event, indent=None)
            continue
        rows.append(event)
        if len(rows) == AT_ONCE:
            _show(rows)
            rows = []
    if rows:
        _show(rows)
    return last


def _show(rows: list[dict[str, Any]]) -> None:
    show_table(
        ("position", "time", "event", "event_id", "content"),
        [
            (
                event["position"],
                event["timestamp"] or "-",
                event["event_type"],
                short_id(event["event_id"]),
                _content(event),
            )
            for event in rows
        ],
        right=frozenset({0}),
    )


def _content(event: dict[str, Any]) -> str:
    """Return in one line what an event holds: its strings, how many vectors and emotives, its data."""
    seen = event.get("observation") or {}
    parts = [", ".join(seen.get("strings", ()))]
    parts += [f"{len(seen[kind])} {kind}" for kind in ("vectors", "emotives") if seen.get(kind)]
    parts += [json.dumps(event["data"], ensure_ascii=False)] if event.get("data") else []
    text = "; ".join(part for part in parts if part)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
