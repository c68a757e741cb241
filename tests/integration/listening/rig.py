"""Publish events, kill what reads them, restart the broker, and compare the log with what was published.

    python -m tests.integration.listening.rig --broker redis|kafka|rabbitmq --events 100000 --kills 10 --restarts 2

prints one JSON document: what was lost, duplicated, and out of order. It needs no KATO: what is judged is the log.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.store import RedisStore, connect
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of
from kato_tasks.domain.log_entry import Logged
from kato_tasks.testing.services import RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.brokers import Broker, Json, broker_of

CHECKOUT = str(Path(__file__).resolve().parents[3])
CHUNK = 1_000


class ListenerProcess(Service):
    """`kato-tasks listen …` in a process of its own."""

    name = "listener"
    start_seconds = 60.0

    def __init__(self, directory: Path, environment: dict[str, str], words: Sequence[str]) -> None:
        super().__init__(directory)
        self._environment = environment
        self._words = list(words)

    @property
    def url(self) -> str:
        return ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "kato_tasks", "listen", *self._words]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
        return inherited | {"PYTHONPATH": CHECKOUT, "PYTHONUNBUFFERED": "1"} | self._environment

    def answers(self) -> bool:
        return "listening to" in self.text()

    def resume_if_paused(self) -> None:
        """Let it go on, so that it can end."""
        if self.pid is not None:
            self.resume()

    def forget_text(self) -> None:
        """Let the next start be told from the last one."""
        self._log().unlink(missing_ok=True)

    def text(self) -> str:
        """What it has printed so far."""
        return self._log().read_text(errors="replace") if self._log().exists() else ""


def event(session: str, number: int, **more: object) -> Json:
    """The standard event as the guide's producers send it."""
    return {
        "event_type": "observation",
        "session_id": session,
        "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(),
        "observation": {"strings": [str(number)], "vectors": [], "emotives": {}},
        **more,
    }


class Story:
    """One run: what is published, and what the log has of it."""

    def __init__(self, broker: Broker, store: RedisServer, sessions: int) -> None:
        self.broker = broker
        self.store = RedisStore(connect(store.url.removesuffix("/0") + "/2"))
        self.environment = {
            "KATO_TASKS_STORE_URL": store.url.removesuffix("/0") + "/2",
            "KATO_TASKS_BROKER_URL": store.url,
            "KATO_TASKS_RESULT_BACKEND": store.url.removesuffix("/0") + "/1",
        }
        self.sessions = [f"sensor {number}" for number in range(sessions)]
        self.published = 0

    def publish(self, count: int) -> None:
        """Publish `count` events more, sessions in turns."""
        some = []
        for number in range(self.published, self.published + count):
            round_, place = divmod(number, len(self.sessions))
            some.append(event(self.sessions[place], round_))
        self.broker.publish(some)
        self.published += count

    def appended(self) -> int:
        """How many events the log has."""
        pipe = self.store.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hget(f"{prefix(partition)}stats", "appended")
        return sum(int(value or 0) for value in pipe.execute())

    def wait_for(self, count: float, failed: Sequence[BaseException] = ()) -> None:
        """Return when the log has as many events, or publishing failed."""
        wait_until(lambda: self.appended() >= count or bool(failed), 300, f"the log has {count:.0f}", every=0.02)

    def log_of(self, session: str) -> list[Logged]:
        """A session's entries."""
        (entries,) = self.store.execute([ports.ReadLog(lane_of(default_node(session)), session, 1, 10_000_000)])
        if isinstance(entries, Exception):
            raise entries
        return list(entries)

    def dead_letters(self) -> list[Json]:
        """All dead letters, as they are kept."""
        pipe = self.store.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hvals(f"{prefix(partition)}dead")
        return [json.loads(text) for texts in pipe.execute() for text in texts]

    def judge(self) -> dict[str, int]:
        """Compare the log with what was published."""
        lost = duplicated = inverted = 0
        for place, session in enumerate(self.sessions):
            expected = len(range(place, self.published, len(self.sessions)))
            seen = [int(json.loads(entry.body)["strings"][0]) for entry in self.log_of(session)]
            lost += expected - len(set(seen))
            duplicated += len(seen) - len(set(seen))
            inverted += sum(later < earlier for earlier, later in pairwise(seen))
        return {"lost": lost, "duplicated": duplicated, "inverted": inverted}


def run(
    broker: Broker,
    store: RedisServer,
    directory: Path,
    *,
    events: int,
    sessions: int,
    kills: int,
    restarts: int,
    seed: int = 1,
) -> Json:
    """Publish and kill side by side until the log has everything, and return what was found."""
    chance = random.Random(seed)
    story = Story(broker, store, sessions)
    broker.prepare()
    listener = ListenerProcess(directory / "listener", story.environment, broker.words())
    may_publish = threading.Lock()
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            while story.published < events:
                with may_publish:  # what a restart makes unsure would be published twice, and is not what is judged
                    story.publish(min(CHUNK, events - story.published))
                time.sleep(0.01)  # lets a restart have its turn
        except BaseException as exc:
            failed.append(exc)

    began = time.monotonic()
    publisher = threading.Thread(target=publish)
    publisher.start()
    points = sorted(chance.uniform(0.05, 0.9) * events for _ in range(kills + restarts))
    acts = ["kill"] * kills + ["restart"] * restarts
    chance.shuffle(acts)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.stop)
        listener.start()
        for point, act in zip(points, acts, strict=True):
            story.wait_for(point, failed)
            if act == "kill":
                listener.kill()
                listener.forget_text()
                listener.start()
            else:
                with may_publish:
                    broker.restart()
        publisher.join()
        if failed:
            raise failed[0]
        wait_until(lambda: story.appended() >= events, 300, "the log has everything", every=0.1)
        seconds = time.monotonic() - began
        listener.stop()
        text = listener.text()
    return {
        "events": events,
        "sessions": sessions,
        "kills": kills,
        "restarts": restarts,
        "seconds": round(seconds, 1),
        "appended": story.appended(),
        **story.judge(),
        "log_tail": text.splitlines()[-3:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=("redis", "kafka", "rabbitmq"), required=True)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
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
            kills=given.kills,
            restarts=given.restarts,
            seed=given.seed,
        )
    print(json.dumps({"broker": given.broker, **found}, indent=1))


if __name__ == "__main__":
    main()
