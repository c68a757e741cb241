"""Have KATO predict after each event for a sink, kill every process in turn, and compare what the sink got.

    python -m tests.integration.listening.predictions --broker redis|kafka|rabbitmq --events 20000 --rounds 2

prints one JSON document: predictions that are missing, come twice, or are out of their session's order. The events are
read from the broker, and the predictions are published to it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from kato_tasks.testing.services import KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.brokers import Broker, broker_of
from tests.integration.listening.rig import CHUNK, ListenerProcess, Story
from tests.integration.system import Worker

Json = dict[str, Any]


def judge(story: Story, predictions: Sequence[Json]) -> Json:
    """Compare predictions, in the order in which the sink got them, with the events that were published."""
    repeated = len(predictions) - len({one["event_id"] for one in predictions})
    first: dict[str, Json] = {}
    for one in predictions:
        first.setdefault(one["event_id"], one)
    by_session: dict[str, list[int]] = {session: [] for session in story.sessions}
    strange = 0
    for one in first.values():
        number = int(one["original_event"]["observation"]["strings"][0])
        strange += bool(one.get("error")) or one["original_event"]["session_id"] != one["session_id"]
        by_session[one["session_id"]].append(number)
    missing = inverted = 0
    for place, session in enumerate(story.sessions):
        expected = len(range(place, story.published, len(story.sessions)))
        missing += expected - len(set(by_session[session]))
        inverted += sum(b < a for a, b in pairwise(by_session[session]))
    return {
        "predictions": len(first),
        "missing": missing,
        "inverted": inverted,
        "strange": strange,
        "repeated": repeated,
    }


def kill(service: Service) -> Callable[[], None]:
    """Return what ends a process as a power cut would, and starts it again."""

    def act() -> None:
        service.kill()
        service.start()

    return act


def run(
    broker: Broker,
    store: RedisServer,
    directory: Path,
    *,
    events: int,
    sessions: int,
    rounds: int,
    seed: int = 1,
    kato_url: str = "",
) -> Json:
    """Publish, kill every process `rounds` times in a random order, and return what was found.

    A KATO at `kato_url` is used as it is, and not killed; without it an embedded one is started.
    """
    chance = random.Random(seed)
    kato = KatoServer(directory / "kato", "--data", str(directory / "kato-data"))
    story = Story(broker, store, sessions)
    story.environment |= {"KATO_TASKS_KATO_URLS": "", "KATO_TASKS_SHARDS": "4"}
    broker.prepare()
    broker.prepare_sink()
    with contextlib.ExitStack() as stack:
        if not kato_url:
            stack.callback(kato.stop)
            kato.start()
        story.environment["KATO_TASKS_KATO_URLS"] = kato_url or kato.url
        words = [*broker.words(), "--predictions-to", broker.sink()]
        listeners = [
            ListenerProcess(directory / f"listener{n}", story.environment | broker.settings(), words) for n in "ab"
        ]
        workers = [
            Worker(directory / f"worker{n}", story.environment, "--pool", "threads", "--concurrency", "2") for n in "ab"
        ]
        for service in (*listeners, *workers):
            stack.callback(service.stop)
            service.start()
        processes: list[Service] = [*listeners, *workers, store, *([] if kato_url else [kato])]
        acts = [kill(process) for process in processes] + [broker.restart]
        turns = [act for _ in range(rounds) for act in chance.sample(acts, len(acts))]
        points = [events * (turn + 1) / (len(turns) + 1) for turn in range(len(turns))]
        may_publish = threading.Lock()
        failed: list[BaseException] = []

        def publish() -> None:
            try:
                while story.published < events:
                    with may_publish:
                        story.publish(min(CHUNK, events - story.published))
                    time.sleep(0.01)
            except BaseException as exc:
                failed.append(exc)

        began = time.monotonic()
        publisher = threading.Thread(target=publish)
        publisher.start()
        for point, act in zip(points, turns, strict=True):
            reached(broker, point, failed)
            with may_publish:
                act()
        publisher.join()
        if failed:
            raise failed[0]
        reached(broker, events, failed)
        wait_until(
            lambda: len({one["event_id"] for one in broker.predictions()}) >= events, 300, "all are there", every=1
        )
        seconds = time.monotonic() - began
        return {
            "events": events,
            "sessions": sessions,
            "kills": len(turns),
            "seconds": round(seconds, 1),
            **story.judge(),
            **judge(story, broker.predictions()),
        }


def ids(broker: Broker) -> set[str]:
    """The ids of the predictions that were published."""
    return {one["event_id"] for one in broker.predictions()}


def reached(broker: Broker, count: float, failed: Sequence[BaseException]) -> None:
    """Return when the sink got as many messages."""
    wait_until(lambda: broker.count_predictions() >= count or bool(failed), 600, f"{count:.0f} predictions", every=0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=("redis", "kafka", "rabbitmq"), required=True)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kato-url", default="", help="a real KATO, beside which the others are killed")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        store = RedisServer(Path(scratch) / "store")
        stack.callback(store.stop)
        store.start()
        broker = broker_of(given.broker, Path(scratch) / "broker")
        stack.callback(broker.close)
        broker.server.start()
        found = run(
            broker,
            store,
            Path(scratch),
            events=given.events,
            sessions=given.sessions,
            rounds=given.rounds,
            seed=given.seed,
            kato_url=given.kato_url,
        )
    print(json.dumps({"broker": given.broker, **found}, indent=1))


if __name__ == "__main__":
    main()
