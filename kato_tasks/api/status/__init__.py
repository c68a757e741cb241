"""How the whole stands: figures per shard and in all, who works, what is wrong and what to do about it.

``counts``: the figures; ``work``: what waits and why; ``services``: KATO, the broker, the store; ``presence``: workers
and beat; ``acknowledged``: what a person knows already; ``reading``: all of it together, with the reasons.
"""

from kato_tasks.api.status.counts import Counts, ShardStatus, read_counts
from kato_tasks.api.status.reading import Status, read_status
from kato_tasks.api.status.services import Reached

__all__ = ["Counts", "Reached", "ShardStatus", "Status", "read_counts", "read_status"]
