"""An application that hands its events over one by one and asks what comes next.

    kato-tasks up                 # in one shell; it prints the settings for another
    python examples/plain_app.py

Prints, on a fresh stack:

    3 events in order: positions [1, 2, 3]
    learned at position 4
    next: [['confirm']] with similarity 0.8
    refused: observation.emotives.mood: is nan; only finite numbers are allowed
"""

from kato_tasks import KatoTasksError, learn, predict, process_observation_async

# .delay() returns when the event has its place in dora's log; .get() when KATO has it.
seen = [
    process_observation_async.delay("dora", {"strings": [page]}, metadata={"source": "web-app"})
    for page in ("cart", "address", "confirm")
]
print(f"3 events in order: positions {[result.get(timeout=30)['position'] for result in seen]}")
print(f"learned at position {learn.delay('dora').get(timeout=30)['position']}")

# Her next visit. A pattern becomes visible a moment after it was learned: predict waits that out.
for page in ("cart", "address"):
    process_observation_async.delay("dora", {"strings": [page]})
best = predict.delay("dora").get(timeout=30)["predictions"][0]
print(f"next: {best['future']} with similarity {best['similarity']:.1f}")

# What KATO would choke on is refused here, at the caller.
try:
    process_observation_async.delay("dora", {"strings": ["confirm"], "emotives": {"mood": float("nan")}})
except KatoTasksError as exc:
    print(f"refused: {exc}")
