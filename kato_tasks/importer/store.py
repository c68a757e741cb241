"""What an import asks the store: nodes, events, and the checkpoints that the version before left.

    kt:{import}:<chain after the block's first line>   hash   chain after a later line -> Known (JSON)

An import of this version writes a ``SourceRecord`` instead (``record.py``).
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import StoreUnavailable
from kato_tasks.importer.record import SourceRecord

LOOKED_THROUGH = 2_000
SHOWN_CHARS = 200


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
    """Raises StoreUnavailable."""

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

    def record(self, name: str) -> SourceRecord:
        """The record of a source, loaded."""
        record = SourceRecord(self._redis, name, secrets.token_hex(8))
        record.load()
        return record

    def remembers(self, session: str, event_id: str) -> bool:
        """Whether this id of this session is one of those that were seen within the last days (DEDUPE_DAYS)."""
        node = self.nodes([session]).get(session)
        if node is None:
            return False
        keys = prefix(partition_of(lane_of(node)))
        try:
            windows = str(self._redis.get(f"{keys}windows") or "")
            buckets = {
                int(bucket) - back for _, _, bucket in (w.partition(":") for w in windows.split()) for back in (0, 1)
            }
            pipe = self._redis.pipeline(transaction=False)
            for bucket in buckets:
                pipe.hexists(f"{keys}ids:{bucket}", f"{event_id}\n{session}")
            return any(pipe.execute())
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

    def content(self, session: str, event_id: str) -> str | None:
        """What the log holds of an event, shortened; looked for among the session's first ones."""
        node = self.nodes([session]).get(session)
        if node is None:
            return None
        try:
            rows = self._redis.lrange(f"{prefix(partition_of(lane_of(node)))}log:{session}", 0, LOOKED_THROUGH - 1)
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        for text in rows:
            if f"\n{event_id}\n" in str(text):
                seen = Logged.parse(1, str(text)).event(session).get("observation", {})
                shown = {name: seen[name] for name in ("strings", "emotives", "vectors") if seen.get(name)}
                return json.dumps(shown, ensure_ascii=False)[:SHOWN_CHARS]
        return None

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
