"""Build the pieces of one process from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from kato_tasks.adapters.kato_http.absent import AbsentKato
from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.redis.api_keys import RedisApiKeys
from kato_tasks.adapters.redis.breaker import RedisBreakerState
from kato_tasks.adapters.redis.dead_letters import RedisDeadLetters
from kato_tasks.adapters.redis.figures import RedisFigures
from kato_tasks.adapters.redis.import_checkpoints import RedisImports
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.replays import RedisReplays
from kato_tasks.adapters.redis.sessions import RedisSessions
from kato_tasks.adapters.redis.store import RedisStore, StoreRun, check_store, connect
from kato_tasks.adapters.redis.traces import RedisTraces
from kato_tasks.adapters.redis.verdicts import RedisVerdicts
from kato_tasks.bootstrap.archive import LazyArchive
from kato_tasks.bootstrap.outside import doubles
from kato_tasks.bootstrap.waking import waker
from kato_tasks.domain.ids import PARTITIONS, shard_of
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.archived_log import ArchivedLogStore
from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.context import KatoSessionOptions
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.engine.running.breaker import CircuitBreaker
from kato_tasks.engine.running.breaker_transport import BreakerTransport
from kato_tasks.engine.running.call_figures import CallFigures
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.engine.running.room import Room
from kato_tasks.engine.running.slices import DrainOptions
from kato_tasks.engine.wakeup_marks import WakeupMarks
from kato_tasks.errors import ConfigurationError
from kato_tasks.ports.api_keys import ApiKeys
from kato_tasks.ports.archive import Archive
from kato_tasks.ports.dead_letters import DeadLetters
from kato_tasks.ports.figures import Figures
from kato_tasks.ports.forgetting import FindTraces
from kato_tasks.ports.imports import Imports
from kato_tasks.ports.lanes import Batch
from kato_tasks.ports.replays import Replays
from kato_tasks.ports.sessions import Sessions
from kato_tasks.ports.store import Store
from kato_tasks.settings import Settings, extras

if TYPE_CHECKING:
    from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato
    from kato_tasks.adapters.kato_http.pool import HttpKato

PREDICTION_TIMEOUTS = 10
"""The number of visibility timeouts for which the store keeps a prediction that was not delivered to any caller."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The pieces of one process. They are opened after a fork and shared by the threads of the process.

    ``redis`` is the client that the adapters share. It is here for tests and benchmarks; within the package, only the
    adapters use it.
    """

    settings: Settings
    redis: redis.Redis
    store: Store
    mailbox: Mailbox
    marks: WakeupMarks
    sessions: Sessions
    dead_letters: DeadLetters
    figures: Figures
    imports: Imports
    replays: Replays
    traces: FindTraces
    keys: ApiKeys
    kato: HttpKato | HttpxKato | AbsentKato
    drainer: Drainer
    check: ConfigCheck
    opening: LazyArchive
    """opens ``archive`` on first use, so that a process that does without never loads what it needs"""

    @property
    def archive(self) -> Archive | None:
        """The archive that ``ARCHIVE_URL`` names, or None. Its tables were found fit when it was opened.

        Raises ConfigurationError if the extra ``archive`` is not installed or the tables do not fit, and
        ArchiveUnavailable if the database does not answer.
        """
        return self.opening.archive()

    def partitions_of(self, shard: int) -> list[int]:
        """List the partitions that a shard serves."""
        return [p for p in range(PARTITIONS) if shard_of(p, self.settings.shards) == shard]

    def wake(self, partitions: Iterable[int]) -> None:
        """Send a wake-up to each of the partitions' shards that has none outstanding. Raises StoreUnavailable.

        A broker that cannot be reached raises nothing, because the sweep finds what is due.
        """
        if shards := self.marks.set(partitions):
            waker().wake(shards)

    def close(self) -> None:
        """Give what is under way in the background a moment to end, then close the connections."""
        self.drainer.close(1.0)
        self.kato.close()
        self.opening.close()
        self.redis.close()


def build(config: Settings) -> Runtime:
    """Open the pieces of a process. Raises StoreUnavailable or ConfigurationError if the store cannot be used."""
    run = StoreRun()
    outside = doubles()
    client = outside.store(run) if outside is not None else connect(config.store_url, run=run)
    check_store(client)
    opening = LazyArchive(config.archive_url)
    kept = RedisStore(client, retention_of(config), run, full_share=config.store_full_share)
    store: Store = ArchivedLogStore(kept, opening.archive) if config.archive_url else kept
    terms = terms_of(config)
    check = ConfigCheck(RedisVerdicts(client), terms.kato.own_config(), terms.kato.config)
    breaker = CircuitBreaker(
        RedisBreakerState(client),
        failures=config.breaker_failures,
        interval_seconds=config.breaker_interval_seconds,
        closed=check.forget,  # the KATO that answers now may be another one
    )
    kato = outside.kato(config) if outside is not None else transport_of(config)
    room, figures = Room(config.lanes_per_wakeup, config.kato_connections), CallFigures()
    return Runtime(
        settings=config,
        redis=client,
        store=store,
        mailbox=Mailbox(store),
        marks=WakeupMarks(store, config.shards),
        sessions=RedisSessions(kept),
        dead_letters=RedisDeadLetters(client),
        figures=RedisFigures(client),
        imports=RedisImports(client),
        replays=RedisReplays(client),
        traces=RedisTraces(client),
        keys=RedisApiKeys(client),
        kato=kato,
        drainer=Drainer(
            store,
            BreakerTransport(kato, breaker, room, figures),
            LeaseRenewer(store, config.renew_seconds),
            terms,
            check=check,
            room=room,
            figures=figures,
        ),
        check=check,
        opening=opening,
    )


def retention_of(config: Settings) -> Retention:
    """Return how long the store keeps what it holds, as the settings say."""
    return Retention(
        archiving="1" if config.archive_url else "",
        dedupe_ms=int(config.dedupe_days * 86_400_000),
        result_ms=config.result_seconds * 1000,
        prediction_ms=PREDICTION_TIMEOUTS * config.visibility_timeout_seconds * 1000,
        told_ms=config.visibility_timeout_seconds * 1000,
        predicts=config.max_waiting_predicts,
    )


def access_of(config: Settings) -> Access:
    """Return what KATO, or a gateway before it, needs to see to grant access.

    Raises ConfigurationError if a certificate cannot be used.
    """
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


def require_client(config: Settings) -> None:
    """Check that the packages of the KATO client are installed.

    Raises ConfigurationError, which names what is missing.
    """
    extras.require("a process that asks KATO", "worker")
    if config.kato_transport == "httpx":
        extras.require("KATO_TASKS_KATO_TRANSPORT=httpx", "httpx")


def transport_of(config: Settings) -> HttpKato | HttpxKato | AbsentKato:
    """Return the client of KATO that ``KATO_TRANSPORT`` selects.

    If its packages are not installed, as in an application that only calls tasks, each use of the client says so.
    Raises ConfigurationError if a certificate cannot be used.
    """
    try:
        require_client(config)
    except ConfigurationError as exc:
        return AbsentKato(str(exc))
    given = (config.kato_connections, config.kato_timeout_seconds, access_of(config))
    if config.kato_transport == "httpx":
        from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato

        return HttpxKato(connections=given[0], timeout_seconds=given[1], access=given[2])
    from kato_tasks.adapters.kato_http.pool import HttpKato

    return HttpKato(connections=given[0], timeout_seconds=given[1], access=given[2])


def terms_of(config: Settings) -> DrainOptions:
    """Return how lanes are drained, as the settings say."""
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


__all__ = ["Runtime", "access_of", "build", "require_client", "retention_of", "terms_of", "transport_of"]
