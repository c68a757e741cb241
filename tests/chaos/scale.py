"""How large a run is: its load, its kills, its limits. Times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    name: str
    events: int
    sessions: int
    load_seconds: float
    delay_share: float
    kills: int
    calm_kills: int
    """of these, with KATO's faults over: what recovery takes by itself"""
    terms: int
    stops: int
    store_restarts: int
    broker_restarts: int
    losses: int
    drain_seconds: float
    outage_seconds: float
    callers: int = 8
    slots: int = 4
    """of each of the two workers"""
    lease_seconds: float = 4.0
    kato_timeout_seconds: float = 3.0
    slow_seconds: float = 2.2
    """what every call of a slow node takes"""
    fault_rate: float = 0.02
    spell_seconds: float = 8.0
    """how long the gateway misbehaves in one way, at most"""
    kato_connections: int = 16
    """of each worker process to each instance: more calls at once than KATO has processes only wait inside it"""
    nodes: int = 0
    """how many all sessions share; 0: many have one of their own"""
    kato_restarts: int = 0
    """of a real KATO, ended and killed in turns"""
    kato_pauses: int = 0
    """of what a real KATO keeps its state in, one after another"""
    pause_seconds: float = 3.0
    """how long one of them stands still, every other one twice as long"""


SHORT = Scale("short", 5_000, 100, 40, 0.2, 3, 1, 3, 2, 1, 1, 1, drain_seconds=60, outage_seconds=0)
LONG = Scale("long", 200_000, 1_000, 600, 0.05, 20, 5, 20, 10, 5, 5, 2, drain_seconds=600, outage_seconds=60)


def real(seconds: float, per_second: float, *, restarts: bool, pauses: bool) -> Scale:
    """For a real KATO, and for two cores that it shares with everything else.

    A lease is longer than any call that a stopped worker leaves at KATO: a fault's delay, then a pause. Nobody could
    keep the next holder's call from meeting it otherwise.
    """
    each = max(1, round(seconds / 40))
    some = max(1, round(seconds / 120))
    return Scale(
        "real",
        events=int(per_second * seconds),
        sessions=300,
        load_seconds=seconds,
        delay_share=0.1,
        kills=each + 1,
        calm_kills=max(1, each // 4),
        terms=each,
        stops=some * 2,
        store_restarts=some,
        broker_restarts=some,
        losses=0,
        drain_seconds=600,
        outage_seconds=0,
        callers=4,
        lease_seconds=20.0,
        kato_timeout_seconds=10.0,
        kato_connections=4,
        nodes=60,
        kato_restarts=max(2, some) if restarts else 0,
        kato_pauses=2 * some if pauses else 0,
    )
