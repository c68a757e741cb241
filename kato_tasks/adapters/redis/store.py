"""The store on a real Redis: many operations, one round trip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    DataError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from kato_tasks.adapters.redis.answers import no_answer
from kato_tasks.adapters.redis.operations import Call, Command, Retention, ScriptCall, encode
from kato_tasks.adapters.redis.room import Room
from kato_tasks.adapters.redis.scripts import NAMES, script
from kato_tasks.errors import (
    ConfigurationError,
    KatoTasksError,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
    StoreWentBack,
    UnreadableRow,
)
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.log import Append, BindNodes
from kato_tasks.ports.store import GROWING

try:
    import hiredis
except ImportError:  # the extra `worker` brings it; without it everything works more slowly
    hiredis = None  # type: ignore[assignment]


class StoreRun:
    """Knows which run of the server the process last connected to: ``run_id`` changes with every restart or failover.

    A store that came back may have gone back in time (a power cut, a lagging replica), so what it says of KATO
    is checked against KATO once per run. Every new connection asks, because a pooled one is replaced silently.
    """

    def __init__(self) -> None:
        self.run_id = ""

    def on_connect(self, connection: Any) -> None:
        """Set up a new connection of a client with threads, and note the server's run."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        self.note(connection, connection.read_response())

    async def on_loop_connect(self, connection: Any) -> None:
        """Do the same for a connection of an event loop, which packs its commands as fast as a blocking one does."""
        if hiredis is not None:
            connection.pack_command = _packed
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        self.note(connection, await connection.read_response())

    def note(self, connection: Any, info: Any) -> None:
        """Take the server's run from its answer to ``INFO server``, for this object and for the connection."""
        text = info.decode() if isinstance(info, bytes) else str(info)
        found = re.search(r"^run_id:(\w+)", text, re.MULTILINE)
        self.run_id = connection.kato_run = found.group(1)[:12] if found else ""


def _packed(*words: Any) -> list[bytes]:
    """Return a command as it is sent. redis-py has hiredis do this for blocking connections only (redis-py 8.1).

    Raises UnicodeEncodeError for text that is no valid Unicode.
    """
    first, *rest = words
    names = first.split() if isinstance(first, str) else [first]
    return [hiredis.pack_command((*names, *rest))]


def options(timeout: float) -> dict[str, Any]:
    """Return what every client of the store is opened with."""
    return {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, 3.0),
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def connect(url: str, *, timeout: float = 5.0, run: StoreRun | None = None) -> redis.Redis:
    """Return a client that never repeats a command by itself, because a script's reply may only be late."""
    try:
        return redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            max_connections=256,
            redis_connect_func=(run or StoreRun()).on_connect,
            **options(timeout),
        )
    except ValueError as exc:
        raise not_an_address(exc) from None


def not_an_address(exc: ValueError) -> ConfigurationError:
    """Return the error for a STORE_URL that redis-py refused with ``exc``."""
    return ConfigurationError(f"STORE_URL is not the address of a Redis ({exc}); write redis://host:port/db")


class RedisStore:
    """Carry out the store operations of ``ports``.

    It is thread-safe. A process that forks opens its own after the fork. ``full_share`` is the part of the store's
    ``maxmemory`` above which nothing is appended (StoreFull).
    """

    def __init__(
        self,
        client: redis.Redis,
        retention: Retention | None = None,
        run: StoreRun | None = None,
        *,
        full_share: float = 1.0,
    ) -> None:
        self.redis = client
        for name in NAMES:
            script(name)  # It is read now, because a process must not meet the files of a later version.
        self._run_seen = run or StoreRun()
        self._retention = retention or Retention()
        self._room = Room(client, full_share)

    def run(self) -> str:
        """Return the run of the server that the newest connection belongs to; empty when it is not watched."""
        return self._run_seen.run_id

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """See ``ports.Store.execute``."""
        grows = grow(operations)
        answers, calls = prepared(operations, self._retention, self._full() if grows else None)
        run = next((op.run for op in operations if isinstance(op, Append | BindNodes)), "") if grows else ""
        try:
            raw = self._run(calls, run)
            errors = {i: answer for i, answer in raw.items() if isinstance(answer, Exception)}
            again = {i: calls[i] for i, error in errors.items() if isinstance(error, NoScriptError)}
            if again:
                # Only these scripts are loaded, so that a client that flushes them meanwhile is not always ahead.
                for name in {call.script for call in again.values() if isinstance(call, ScriptCall)}:
                    self.redis.script_load(script(name).text)
                errors = self._run(again, run)
                raw |= errors
        except RedisError as exc:
            raise no_answer(exc) from exc
        if any(isinstance(error, ReadOnlyError) for error in errors.values()):
            # Its server is a replica now. Redis keeps such connections open, so they would go on being used.
            self.redis.connection_pool.disconnect(inuse_connections=False)
        for i, answer in raw.items():
            answers[i] = answer_of(calls[i], answer)
        return answers

    def _full(self) -> StoreFull | None:
        """Return the error that says why nothing more may be kept, if so."""
        try:
            self._room.check()
        except StoreFull as exc:
            return exc
        return None

    def _connection(self, run: str) -> Any:
        """Return a connection to this run; the pool replaces connections silently, so one may be to another run."""
        pool = self.redis.connection_pool
        connection = pool.get_connection()
        answers: str = getattr(connection, "kato_run", run)
        if answers == run:
            return connection
        if answers != self.run():
            connection.disconnect()  # type: ignore[no-untyped-call]  # Its server is no longer a master.
        pool.release(connection)
        raise StoreWentBack("the store was restarted or failed over meanwhile; nothing was written")

    def _run(self, calls: Mapping[int, Call], run: str = "") -> dict[int, Any]:
        """Return what Redis says to each, errors included, in one round trip. With ``run``, no other run is asked."""
        if not calls:
            return {}
        pipe = self.redis.pipeline(transaction=False)
        if run:
            pipe.connection = self._connection(run)
        for call in calls.values():
            pipe.execute_command(*words(call))  # type: ignore[no-untyped-call]
        try:
            return dict(zip(calls, pipe.execute(raise_on_error=False), strict=True))
        except (UnicodeError, DataError) as exc:
            # Nothing was sent, because the arguments of one are not text. The others are asked without it.
            if len(calls) == 1:
                return dict.fromkeys(calls, exc)
            return {i: answer for i, call in calls.items() for answer in self._run({i: call}, run).values()}


_GROWING = frozenset(GROWING)


def grow(operations: Sequence[Effect[Any]]) -> bool:
    """Tell whether any of them makes the store grow."""
    return not _GROWING.isdisjoint(map(type, operations))


def prepared(
    operations: Sequence[Effect[Any]], retention: Retention, full: StoreFull | None
) -> tuple[list[Any], dict[int, Call]]:
    """Return what is to be sent for each operation, by its index, and the answers of those that are not sent.

    ``full`` says why nothing more may be kept, if so.
    """
    answers: list[Any] = [None] * len(operations)
    calls: dict[int, Call] = {}
    for i, operation in enumerate(operations):
        if full is not None and isinstance(operation, GROWING):
            answers[i] = full
            continue
        try:
            calls[i] = encode(operation, retention)
        except (KatoTasksError, TypeError, ValueError, KeyError, AttributeError) as exc:
            answers[i] = StoreFailed(f"{type(operation).__name__} cannot be written: {exc}")
    return answers, calls


def words(call: Call) -> Sequence[Any]:
    """Return the command that a call is sent as."""
    if isinstance(call, Command):
        return call.words
    return ("EVALSHA", script(call.script).sha, 1, call.key, *call.args)


_PASSING_ERRORS = (
    RedisConnectionError,
    ReadOnlyError,
    TryAgainError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
)
_PASSING = re.compile(
    r"(?:^|: -)(?:LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|MISCONF|NOREPLICAS|TRYAGAIN|UNKILLABLE)\b"
)
"""Redis 6.2 puts the code of a script's error into the middle of its text."""


def answer_of(call: Call, raw: Any) -> Any:
    """Return an operation's answer as a value, or its error."""
    if isinstance(raw, Exception):
        name = call.name
        if isinstance(raw, OutOfMemoryError) or "OOM command not allowed" in str(raw):
            return StoreFull(f"Redis has no memory left for {name}: {raw}")
        if isinstance(raw, _PASSING_ERRORS) or _PASSING.search(str(raw)):
            return StoreUnavailable(f"Redis cannot serve {name} now: {raw}")
        return StoreFailed(f"Redis refused {name}: {raw}")
    try:
        return call.decode(call.operation, raw)
    except KatoTasksError as exc:
        return exc
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as exc:
        return UnreadableRow(f"the answer of {call.name} cannot be read: {type(exc).__name__}: {exc}")


def check_store(client: redis.Redis) -> None:
    """Refuse a store that may drop keys.

    Raises StoreUnavailable when it does not answer and ConfigurationError when its eviction policy may drop keys.
    """
    try:
        check_memory(client.info("memory"))
    except RedisError as exc:
        raise no_answer(exc) from exc


def check_memory(memory: Mapping[str, Any]) -> None:
    """Raise ConfigurationError when the eviction policy (of ``INFO memory``) may drop keys."""
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ConfigurationError(
            f"the store's maxmemory-policy is {policy}, so Redis may drop events; set it to noeviction"
        )
