"""Settings → the running pieces of one process. Only this module names adapters."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.adapters.redis.breaker import RedisBreakerState
from kato_tasks.adapters.redis.keys import overdue_mark, prefix, wake_mark
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.persistence import persistence_problem
from kato_tasks.adapters.redis.store import RedisStore, StoreRun, check_store, connect
from kato_tasks.adapters.redis.verdicts import RedisVerdicts
from kato_tasks.bootstrap.waking import waker
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of, shard_of
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.context import KatoSessionOptions
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.engine.running.breaker import CircuitBreaker
from kato_tasks.engine.running.breaker_transport import BreakerTransport
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.engine.running.room import Room
from kato_tasks.engine.running.slices import DrainOptions
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.lanes import Batch
from kato_tasks.ports.waiting_tasks import Mark
from kato_tasks.settings import Settings, settings

if TYPE_CHECKING:
    from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato

PREDICTION_TIMEOUTS = 10
"""For so many visibility timeouts the store keeps a prediction that nobody was told."""
WAKE_SECONDS = 60
"""How long a wake-up waits in its queue at most, and its mark stands; the sweep notices earlier that it is lost."""
OVERDUE_SECONDS = 1
"""How long the mark of a wake-up stands that overtakes a queue."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The pieces of one process: opened after a fork, shared by its threads."""

    settings: Settings
    redis: redis.Redis
    store: RedisStore
    mailbox: Mailbox
    kato: HttpKato | HttpxKato
    drainer: Drainer
    check: ConfigCheck

    def partitions_of(self, shard: int) -> list[int]:
        """The partitions that a shard serves."""
        return [p for p in range(PARTITIONS) if shard_of(p, self.settings.shards) == shard]

    def marks_set(self, partitions: Iterable[int]) -> list[int]:
        """The shards of these partitions that had no wake-up outstanding and are now marked as having one."""
        return carry_out(self.store, setting_marks(partitions, self.settings.shards))

    def wake(self, partitions: Iterable[int]) -> None:
        """Send a wake-up to each of the partitions' shards that has none outstanding. Raises StoreUnavailable.

        A broker that is away does not raise: the sweep finds what is due.
        """
        if shards := self.marks_set(partitions):
            waker().wake(shards)

    def overdue_marks_set(self, shards: Iterable[int]) -> list[int]:
        """Those of the shards that no overtaking wake-up is on its way to, now marked as having one."""
        return carry_out(self.store, _marked(sorted(shards), overdue_mark, OVERDUE_SECONDS))

    def mark_cleared(self, shard: int) -> None:
        """A wake-up of the shard starts, or counts as lost: the next append sends another."""
        try:
            self.redis.delete(wake_mark(shard))
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

    def now_ms(self) -> int:
        """The store's clock: the one that due times are compared with."""
        try:
            seconds, micros = self.redis.time()
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        return int(seconds) * 1000 + int(micros) // 1000

    def persistence_problem(self) -> str | None:
        """What the store would lose when its process ends, and what to set; None when it keeps everything."""
        return persistence_problem(self.redis)

    def node_of_session(self, session_id: str) -> str | None:
        """The node that a session belongs to for life, as KATO is told it; None when it is not known."""
        try:
            node = self.redis.hget(f"{prefix(partition_of(session_id))}nodes", session_id)
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        return None if node is None else str(node)

    def lane_of_session(self, session_id: str) -> str:
        """The lane of a session that is known."""
        node = self.node_of_session(session_id)
        return lane_of(node if node is not None else default_node(session_id))

    def close(self) -> None:
        """Let what is under way in the background end for a moment, and close the connections."""
        self.drainer.close(1.0)
        self.kato.close()
        self.redis.close()


def setting_marks(partitions: Iterable[int], shards: int) -> StoreProtocol[list[int]]:
    """See ``Runtime.marks_set``."""
    return _marked(sorted({shard_of(p, shards) for p in partitions}), wake_mark, WAKE_SECONDS)


def _marked(shards: Sequence[int], mark: Callable[[int], str], seconds: int) -> StoreProtocol[list[int]]:
    if not shards:
        return []
    new = raise_errors((yield [Mark(mark(shard), seconds * 1000) for shard in shards]))
    return [shard for shard, is_new in zip(shards, new, strict=True) if is_new]


def build(config: Settings) -> Runtime:
    """Open the pieces; raises StoreUnavailable or ConfigurationError when the store cannot be used."""
    run = StoreRun()
    client = connect(config.store_url, run=run)
    check_store(client)
    store = RedisStore(client, retention_of(config), run, full_share=config.store_full_share)
    terms = terms_of(config)
    check = ConfigCheck(RedisVerdicts(client), terms.kato.own_config(), terms.kato.config)
    breaker = CircuitBreaker(
        RedisBreakerState(client),
        failures=config.breaker_failures,
        interval_seconds=config.breaker_interval_seconds,
        closed=check.forget,  # it may be another KATO that answers again
    )
    kato = transport_of(config)
    room = Room(config.lanes_per_wakeup, config.kato_connections)
    return Runtime(
        settings=config,
        redis=client,
        store=store,
        mailbox=Mailbox(store),
        kato=kato,
        drainer=Drainer(
            store,
            BreakerTransport(kato, breaker, room),
            LeaseRenewer(store, config.renew_seconds),
            terms,
            check=check,
            room=room,
        ),
        check=check,
    )


def retention_of(config: Settings) -> Retention:
    """How long the store keeps what it holds, as the settings say."""
    return Retention(
        dedupe_ms=int(config.dedupe_days * 86_400_000),
        result_ms=config.result_seconds * 1000,
        prediction_ms=PREDICTION_TIMEOUTS * config.visibility_timeout_seconds * 1000,
        told_ms=config.visibility_timeout_seconds * 1000,
        predicts=config.max_waiting_predicts,
    )


def access_of(config: Settings) -> Access:
    """What KATO, or a gateway before it, wants to see; raises ConfigurationError when a certificate cannot be used."""
    access = Access(
        headers=config.kato_request_headers,
        credentials=config.kato_credentials,
        ca_file=config.kato_ca_file,
        cert_file=config.kato_client_cert_file,
        key_file=config.kato_client_key_file,
    )
    if any(url.startswith("https:") for url in config.kato_instances):
        access.tls()
    return access


def transport_of(config: Settings) -> HttpKato | HttpxKato:
    """The client of KATO: ``KATO_TRANSPORT`` says which."""
    given = (config.kato_connections, config.kato_timeout_seconds, access_of(config))
    if config.kato_transport == "httpx":
        from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato

        return HttpxKato(connections=given[0], timeout_seconds=given[1], access=given[2])
    return HttpKato(connections=given[0], timeout_seconds=given[1], access=given[2])


def terms_of(config: Settings) -> DrainOptions:
    """How lanes are drained, as the settings say."""
    return DrainOptions(
        kato=KatoSessionOptions(
            urls=config.kato_instances,
            ttl_seconds=config.kato_session_ttl_seconds,
            config=config.kato_session_config,
            settle_ms=int(config.kato_settle_seconds * 1000),
            verify_last=config.verify_last,
        ),
        retry=RetryPolicy(
            base_seconds=config.backoff_base_seconds,
            cap_seconds=config.backoff_cap_seconds,
            max_retries=config.max_retries,
            circuit_seconds=config.breaker_interval_seconds,
            predict_seconds=config.predict_patience_seconds,
            max_rebuilds=config.max_rebuilds,
        ),
        on_rejected=config.on_rejected,
        on_exhausted=config.on_exhausted,
        on_unknown_learn=config.on_unknown_learn,
        lease_ms=int(config.lease_seconds * 1000),
        batch=Batch(config.batch_events, config.batch_bytes),
        slice_seconds=config.slice_seconds,
        lanes=config.lanes_per_wakeup,
    )


FAIL_FAST_SECONDS = 1.5
"""For so long after the store did not answer, nobody asks it again to open the pieces."""
_lock = threading.Lock()
_current: tuple[int, Runtime] | None = None
_failed: tuple[float, StoreUnavailable] | None = None
"""when (monotonic seconds) the pieces could not be opened last, and why"""


def runtime() -> Runtime:
    """This process's pieces, opened on first use; a forked child opens its own.

    Raises StoreUnavailable. Threads that come while another opens them share what becomes of it: with a store that
    hangs they would otherwise wait for it one after another.
    """
    global _current, _failed
    current = _current
    if current is not None and current[0] == os.getpid():
        return current[1]
    came = time.monotonic()
    with _lock:
        if _current is not None and _current[0] == os.getpid():
            return _current[1]
        if _failed is not None and (_failed[0] >= came or came - _failed[0] < FAIL_FAST_SECONDS):
            raise StoreUnavailable(str(_failed[1])) from _failed[1]
        try:
            _current = (os.getpid(), build(settings()))
        except StoreUnavailable as exc:
            _failed = (time.monotonic(), exc)
            raise
        _failed = None
        return _current[1]


def opened_runtime() -> Runtime | None:
    """This process's pieces if they are open; opens nothing."""
    current = _current
    return current[1] if current is not None and current[0] == os.getpid() else None


def forget_runtime(close: bool = False) -> None:
    """Drop this process's pieces (a fork's child must not use its parent's connections; tests change settings)."""
    global _current, _failed
    with _lock:
        _failed = None
        if close and _current is not None and _current[0] == os.getpid():
            _current[1].close()
        _current = None


def _after_fork() -> None:
    global _lock, _current, _failed
    _lock = threading.Lock()
    _current = _failed = None


os.register_at_fork(after_in_child=_after_fork)

__all__: Sequence[str] = ("Runtime", "build", "forget_runtime", "opened_runtime", "runtime", "terms_of")
