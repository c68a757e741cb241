"""What a listener costs beside the bare client of its broker, and beside ``append_events``, in one run.

    python -m benchmarks.listening [--broker redis|kafka|rabbitmq] [--events N] [--rounds N] [--json FILE]

Every round measures every variant once, in turns, on the same messages, which lie in the broker before: medians of the
rounds. ``bare`` is the client library alone (redis-py, confluent-kafka, py-amqp): it reads as many messages at once as
the listener does, acknowledges and drops them. ``append_events`` gets the same events as mappings, as many at once.
``listener`` reads, decodes, appends and acknowledges. No worker runs, since what is measured is the way into the store.

``applied`` is the whole way with a worker process and the embedded KATO: how many events a second from the broker
to KATO, and at half that rate how many milliseconds from publishing to applying, p50 and p99.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import redis

from kato_tasks import Settings, append_events, make_app
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import forget_runtime, runtime
from kato_tasks.bootstrap.sources import kafka_source, rabbitmq_source, redis_source
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of
from kato_tasks.listeners.listening import Listener
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.sources import MessageSource
from kato_tasks.testing.services import KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.brokers import Broker, broker_of
from tests.integration.listening.rig import ListenerProcess, Story, event
from tests.integration.system import Worker

Json = dict[str, Any]
SESSIONS = 500
APPLIED_SESSIONS = 100
BATCH = 1_000
PIECE = 50
"""So many events are published at once where they are published at a rate."""


def source_of(kind: str, broker: Broker, group: str) -> MessageSource:
    """Return a source that reads what the broker has from its beginning."""
    if kind == "redis":
        return redis_source(broker.server.url, broker.name, group, "never")
    if kind == "kafka":
        return kafka_source(broker.server.url, [broker.name], group, "", {})
    return rabbitmq_source(broker.server.url, broker.name, broker.name, ["observations.#"], 2_000)


def read_bare(kind: str, broker: Broker, group: str, events: int) -> float:
    """Consume and drop all messages with the client library alone; return how many a second."""
    return {"redis": _redis, "kafka": _kafka, "rabbitmq": _rabbitmq}[kind](broker, group, events)


def _redis(broker: Broker, group: str, events: int) -> float:
    with redis.Redis.from_url(broker.server.url) as client:
        client.xgroup_create(broker.name, group, id="0")
        began, seen = time.perf_counter(), 0
        while seen < events:
            found: Any = client.xreadgroup(group, "bare", {broker.name: ">"}, count=BATCH)
            ids = [entry_id for entry_id, _ in found[0][1]]
            client.xack(broker.name, group, *ids)
            seen += len(ids)
        return events / (time.perf_counter() - began)


def _kafka(broker: Broker, group: str, events: int) -> float:
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": broker.server.url,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([broker.name])
    seen, began = 0, 0.0
    while seen < events:
        found = consumer.consume(BATCH, 1.0)
        began = began or time.perf_counter()  # joining the group is not what is measured
        for one in found:
            consumer.store_offsets(one)
        seen += len(found)
    took = time.perf_counter() - began
    consumer.close()
    return events / took


def _rabbitmq(broker: Broker, _group: str, events: int) -> float:
    import amqp

    host = urlsplit(broker.server.url)
    seen: list[Any] = []
    with amqp.Connection(f"{host.hostname}:{host.port}", host.username or "guest", host.password or "guest") as line:
        channel = line.channel()
        channel.basic_qos(0, 2_000, False)
        channel.basic_consume(broker.name, callback=seen.append)
        began = time.perf_counter()
        acknowledged = 0
        while acknowledged < events:
            line.drain_events(timeout=5)
            if len(seen) - acknowledged >= BATCH or len(seen) == events:
                channel.basic_ack(seen[-1].delivery_tag, multiple=True)
                acknowledged = len(seen)
        channel.queue_declare(broker.name, passive=True)
        return events / (time.perf_counter() - began)


def append_all(events: Sequence[Json]) -> float:
    """Append the same events with ``append_events``; return how many a second."""
    given = [dict(one) for one in events]
    began = time.perf_counter()
    for start in range(0, len(given), BATCH):
        append_events(given[start : start + BATCH])
    return len(given) / (time.perf_counter() - began)


def listen_all(source: MessageSource, events: int) -> float:
    """Read everything with a listener in this thread; return how many a second, from its first batch on."""
    stop, began = threading.Event(), [0.0]

    def step() -> None:
        if listener.state == "reading" and not began[0]:
            began[0] = time.perf_counter()
        if listener.figures.read >= events:
            stop.set()

    listener = Listener(runtime(), source, ListenOptions(batch=BATCH), stop=stop, on_step=step)
    listener.run()
    took = time.perf_counter() - began[0]
    assert listener.figures.appended == events, listener.figures
    return events / took


def emptied(store: RedisServer) -> None:
    """Forget what was appended."""
    forget_runtime(close=True)
    with redis.Redis.from_url(store.url) as client:
        client.flushall()


def measure(kind: str, count: int, rounds: int) -> Json:
    """Measure one broker's listener."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        store = RedisServer(Path(scratch) / "store")
        broker = broker_of(kind, Path(scratch) / "broker")
        stack.callback(broker.close)
        stack.callback(store.stop)
        for service in (store, broker.server):
            service.start()
        events = [event(f"sensor {number % SESSIONS}", number // SESSIONS) for number in range(count)]
        broker.prepare()
        at = store.url.removesuffix("/0")
        stack.enter_context(make_app(Settings(broker_url=store.url, result_backend=f"{at}/1", store_url=f"{at}/2")))
        runs: dict[str, list[float]] = {"bare": [], "append_events": [], "listener": []}
        for number in range(rounds + 1):
            variants: dict[str, Callable[[], float]] = {
                "bare": lambda n=number: read_bare(kind, broker, f"bare-{n}", count),
                "append_events": lambda: append_all(events),
                "listener": lambda n=number: listen_all(source_of(kind, broker, f"listener-{n}"), count),
            }
            for name, variant in variants.items():
                # A queue is emptied by who reads it. A topic and a stream keep what was published.
                if (kind == "rabbitmq" and name != "append_events") or (name == "bare" and not number):
                    broker.publish(events)
                found = variant()
                if number:  # the first round warms up
                    runs[name].append(round(found))
                emptied(store)
        medians = {name: median(found) for name, found in runs.items()}
        return {
            "broker": kind,
            "events": count,
            "batch": BATCH,
            "runs": runs,
            "medians": medians,
            "of_bare": round(medians["listener"] / medians["bare"], 3),
            "of_append_events": round(medians["listener"] / medians["append_events"], 3),
        }


def applied(story: Story) -> int:
    """How many events KATO was given."""
    pipe = story.store.redis.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.hget(f"{prefix(partition)}stats", "applied")
    return sum(int(value or 0) for value in pipe.execute())


def waits(story: Story, first: int) -> list[float]:
    """How many ms each event waited, from its publishing to the commit of its call, from that position on."""
    found: list[float] = []
    for session in story.sessions:
        lane = lane_of(default_node(session))
        sent = [
            datetime.fromisoformat(json.loads(entry.head)["ts"]).timestamp() * 1000 for entry in story.log_of(session)
        ]
        commits: Any = story.store.redis.lrange(f"{prefix(partition_of(lane))}order:{lane}", 0, -1)
        for commit in commits:
            _, begin, end, ms, *_ = commit.partition("\n")[0].split(" ")
            positions = range(max(int(begin), first + 1), int(end) + 1)
            found += [float(ms) - sent[position - 1] for position in positions]
    return sorted(found)


def apply_all(kind: str, count: int, seconds: float) -> Json:
    """Measure the whole way: publish, listen, apply; at full speed, then at half of that."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        directory = Path(scratch)
        store, kato = RedisServer(directory / "store"), KatoServer(directory / "kato")
        broker = broker_of(kind, directory / "broker")
        stack.callback(broker.close)
        for service in (store, kato, broker.server):
            if service is not broker.server:
                stack.callback(service.stop)
            service.start()
        story = Story(broker, store, APPLIED_SESSIONS)
        story.environment["KATO_TASKS_KATO_URLS"] = kato.url
        broker.prepare()
        processes: list[Service] = [
            ListenerProcess(directory / "listener", story.environment, broker.words()),
            Worker(directory / "worker", story.environment, "--pool", "prefork", "--concurrency", "2"),
        ]
        for service in processes:
            stack.callback(service.stop)
            service.start()
        story.publish(APPLIED_SESSIONS * 2)  # each session has its KATO session by then
        wait_until(lambda: applied(story) >= story.published, 60, "the first are applied")
        began, before = time.perf_counter(), story.published
        story.publish(count)
        wait_until(lambda: applied(story) >= story.published, 300, "all are applied", every=0.02)
        rate = count / (time.perf_counter() - began)
        warm, half = story.published // APPLIED_SESSIONS, rate / 2
        # Whole rounds of the sessions, so that positions tell which events these are.
        rounds = max(1, int(half * seconds) // APPLIED_SESSIONS)
        began = time.perf_counter()
        for number in range(rounds * APPLIED_SESSIONS // PIECE):
            early = began + number * PIECE / half - time.perf_counter()
            if early > 0:
                time.sleep(early)
            story.publish(PIECE)
        wait_until(lambda: applied(story) >= story.published, 60, "all are applied", every=0.02)
        found = waits(story, warm)
        assert len(found) == story.published - before - count, (len(found), story.published)
        return {
            "events": count,
            "per_second": round(rate),
            "at_per_second": round(half),
            "paced_events": len(found),
            "p50_ms": round(found[len(found) // 2]),
            "p99_ms": round(found[int(len(found) * 0.99)]),
            **story.judge(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=("redis", "kafka", "rabbitmq"), action="append")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the events at half the rate")
    parser.add_argument("--json", dest="file", type=Path)
    given = parser.parse_args()
    kinds = given.broker or ("redis", "kafka", "rabbitmq")
    found = {
        "machine": {"python": platform.python_version(), "processors": 2},
        "brokers": [measure(kind, given.events, given.rounds) for kind in kinds],
        "applied": {kind: apply_all(kind, given.events, given.seconds) for kind in kinds},
    }
    text = json.dumps(found, indent=1)
    if given.file is not None:
        given.file.write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
