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


SHORT = Scale("short", 5_000, 100, 40, 0.2, 3, 1, 3, 2, 1, 1, 1, drain_seconds=60, outage_seconds=0)
LONG = Scale("long", 200_000, 1_000, 600, 0.05, 20, 5, 20, 10, 5, 5, 2, drain_seconds=600, outage_seconds=60)
