"""Many events in one call: the bulk append, and what a repeat of it does.

    python examples/bulk_append.py

Prints, on a fresh stack:

    first call: 3000 new, 0 known
    same again: 0 new, 3000 known
    sensor 7: 30 events, position of the newest 30
    refused, nothing appended: events[1].observation: nothing to observe: give at least one string, vector or emotive
"""

from kato_tasks import append_events, process_observation_async, session_status
from kato_tasks.errors import InvalidEvent

readings = [
    {
        "event_id": f"reading {sensor}/{number}",  # the application's own id, so that a repeat is no second event
        "session_id": f"sensor {sensor}",
        "timestamp": f"2025-11-13T10:{number:02d}:00Z",
        "observation": {"strings": ["low" if number % 3 else "high"], "emotives": {"value": number / 30}},
    }
    for number in range(30)
    for sensor in range(100)
]
for name in ("first call", "same again"):
    appended = append_events(readings)
    known = sum(one.duplicate for one in appended)
    print(f"{name}: {len(appended) - known} new, {known} known")

# No task was published per event. A result of a later one tells that everything before it is in KATO.
process_observation_async.delay("sensor 7", {"strings": ["end of shift"]}).get(timeout=60)
status = session_status("sensor 7")
assert status is not None
print(f"sensor 7: {status.cursor - 1} events, position of the newest {status.head - 1}")

try:
    append_events([readings[0], {"session_id": "sensor 1", "observation": {}}])
except InvalidEvent as exc:
    print(f"refused, nothing appended: {exc}")
