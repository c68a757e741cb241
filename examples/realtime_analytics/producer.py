"""Publish the page events of made-up visits to Kafka, keyed by user, as the shop's web servers would.

    python -m examples.realtime_analytics.producer --bootstrap 127.0.0.1:9092 --visits 200

The same seed publishes the same visits again, which are new ones to Kafka.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

TOPIC = "user-events"
NEXT: Mapping[tuple[str, str], tuple[tuple[tuple[str, str], int], ...]] = {
    ("view", "/home"): ((("search", "/search"), 5), (("view", "/offers"), 3), (("leave", "/home"), 2)),
    ("view", "/offers"): ((("view", "/product"), 6), (("leave", "/offers"), 3)),
    ("search", "/search"): ((("view", "/product"), 7), (("search", "/search"), 2), (("leave", "/search"), 1)),
    ("view", "/product"): ((("add", "/cart"), 4), (("search", "/search"), 3), (("leave", "/product"), 3)),
    ("add", "/cart"): ((("buy", "/checkout"), 6), (("search", "/search"), 2), (("leave", "/cart"), 2)),
    ("buy", "/checkout"): ((("leave", "/checkout"), 1),),
}
"""After each action on a page, what a visitor does next, and how often in relation to the others."""
START = ("view", "/home")


def visit(chance: random.Random) -> list[tuple[str, str]]:
    """Return one visit: actions with their pages, from the home page until the visitor leaves."""
    done = [START]
    while done[-1][0] != "leave":
        following, weights = zip(*NEXT[done[-1]], strict=True)
        done += chance.choices(following, weights)
    return done


def page_events(visits: int, users: int = 20, seed: int = 1) -> Iterator[dict[str, str]]:
    """Yield the page events of so many visits. Users are on the site at the same time, so their events interleave.

    The same seed gives the same events.
    """
    chance = random.Random(seed)
    here: dict[str, Iterator[tuple[str, str]]] = {}
    begun = 0
    while here or begun < visits:
        away = [name for name in (f"user-{number}" for number in range(users)) if name not in here]
        if begun < visits and away and (not here or chance.random() < 0.3):
            here[chance.choice(away)] = iter(visit(chance))
            begun += 1
        user = chance.choice(sorted(here))
        step = next(here[user], None)
        if step is None:
            del here[user]
        else:
            yield {"user_id": user, "action": step[0], "page": step[1]}


def publish(events: Iterator[dict[str, str]], bootstrap: str, topic: str) -> int:
    """Send the events in their order, wait until Kafka has them all, and return how many they are."""
    from kafka import KafkaProducer

    producer: Any = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all")
    sent = 0
    for event in events:
        # One user's events stay in one partition, and so in their order.
        producer.send(topic, key=event["user_id"].encode(), value=json.dumps(event).encode())
        sent += 1
    producer.flush()
    producer.close()
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="Kafka's brokers (default %(default)s)")
    parser.add_argument("--topic", default=TOPIC)
    parser.add_argument("--visits", type=int, default=200, help="how many visits to make up (default %(default)s)")
    parser.add_argument("--users", type=int, default=20, help="how many users make them (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same visits")
    given = parser.parse_args()
    events = page_events(given.visits, given.users, given.seed)
    print(f"{publish(events, given.bootstrap, given.topic)} page events sent to {given.topic}")


if __name__ == "__main__":
    main()
