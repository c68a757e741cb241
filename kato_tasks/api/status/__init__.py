"""Report how the whole system stands: its figures, which processes run, what is wrong and what to do about it.

``counts`` reads the figures, per shard and in all. ``work`` finds what waits, and why. ``services`` asks KATO, the
broker and the store. ``presence`` finds the running workers, listeners
and beat, and ``listeners`` judges those of one machine. ``acknowledged`` keeps what a person knows
already. ``reading`` puts all of this together and gives the reasons.
"""

from kato_tasks.api.status.counts import Counts, ShardStatus, read_counts
from kato_tasks.api.status.listeners import listener_problem, read_listeners
from kato_tasks.api.status.reading import Status, read_status
from kato_tasks.api.status.services import ServiceCheck

__all__ = [
    "Counts",
    "ServiceCheck",
    "ShardStatus",
    "Status",
    "listener_problem",
    "read_counts",
    "read_listeners",
    "read_status",
]
