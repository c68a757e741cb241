"""What an import remembers in the store: which blocks of lines are in it completely.

    kt:{import}:<chain after the block's first line>   hash   chain after a later line -> Known (JSON)

No time to live: that a file was imported stays true as long as its events are kept, and an entry stands for
up to 10,000 of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of
from kato_tasks.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Known:
    """The first ``lines`` of a block are in the store: ``rows`` rows, of which ``rejected`` were none.

    ``learned``: every session that had rows up to there got its learn too.
    """

    lines: int
    rows: int
    rejected: int
    learned: bool = False


class ImportStore:
    """Checkpoints of blocks, and the nodes of sessions. Raises StoreUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def known(self, start: str) -> dict[tuple[int, str], Known]:
        """What is known of blocks with this first line: (lines, chain after them) → Known."""
        try:
            rows = self._redis.hgetall(_key(start))
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        found = {str(end): Known(**json.loads(text)) for end, text in rows.items()}
        return {(known.lines, end): known for end, known in found.items()}

    def write(self, start: str, end: str, known: Known) -> None:
        """The block from ``start`` to ``end`` is in the store."""
        try:
            self._redis.hset(_key(start), end, json.dumps(asdict(known), separators=(",", ":")))
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

    def nodes(self, sessions: Iterable[str]) -> dict[str, str]:
        """The nodes of those sessions that are known."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for session in sessions:
            by_partition[partition_of(session)].append(session)
        pipe = self._redis.pipeline(transaction=False)
        for partition, names in by_partition.items():
            pipe.hmget(f"{prefix(partition)}nodes", names)
        try:
            answers = pipe.execute()
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        return {
            session: node
            for names, nodes in zip(by_partition.values(), answers, strict=True)
            for session, node in zip(names, nodes, strict=True)
            if node is not None
        }


def _key(start: str) -> str:
    return f"kt:{{import}}:{start}"
