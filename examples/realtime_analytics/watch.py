"""Print what the pipeline publishes: what each user does, and what KATO expects next.

    python -m examples.realtime_analytics.watch --bootstrap 127.0.0.1:9092

It begins with the oldest message of the topic, and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

TOPIC = "user-analytics"


def line(analytics: Mapping[str, Any]) -> str:
    """Return one message of the topic as a line for people."""
    expected = ", ".join(
        f"{one['action']} {one['page']} {one['share']:.0%}" for one in analytics["predicted_actions"][:3]
    )
    return f"{analytics['user_id']}: {analytics['current_action']}; next: {expected or 'nothing known'}"


def main() -> None:
    from kafka import KafkaConsumer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="Kafka's brokers (default %(default)s)")
    parser.add_argument("--topic", default=TOPIC)
    given = parser.parse_args()
    servers = given.bootstrap.split(",")
    consumer: Any = KafkaConsumer(given.topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    try:
        for message in consumer:
            print(line(json.loads(message.value)), flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
