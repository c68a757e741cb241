"""Celery's canvas over sessions: chain, group and chord behave as with any task.

    python examples/canvas.py

Prints, on a fresh stack:

    chain: 2 events observed before the prediction
    group: positions [1, 1, 1, 1, 1]
    chord: 5 halls, then 'all halls' at position 1
"""

from celery import chain, chord, group

from kato_tasks import predict, process_observation_async

observe = process_observation_async

# A step of a chain is appended when it is dispatched, so predict comes after both observations.
steps = chain(
    observe.si("kitchen", {"strings": ["light on"]}),
    observe.si("kitchen", {"strings": ["kettle on"]}),
    predict.si("kitchen"),
)
print(f"chain: {steps.apply_async().get(timeout=30)['after']} events observed before the prediction")

# The members of a group have no order among each other: each session of its own runs beside the others.
rooms = group(observe.s(f"room {n}", {"strings": ["door"], "emotives": {"noise": n / 10}}) for n in range(5))
print(f"group: positions {[r['position'] for r in rooms.apply_async().get(timeout=30)]}")

# The body of a chord runs when each event of its header is in KATO.
halls = [observe.s(f"hall {n}", {"strings": ["door"]}) for n in range(5)]
done = chord(halls)(observe.si("all halls", {"strings": ["quiet"]}))
after = done.get(timeout=30)
print(f"chord: {len(done.parent.get(timeout=30))} halls, then {after['session_id']!r} at position {after['position']}")
