"""Publish pages that a visitor saw to the Redis stream that `kato-tasks listen redis` reads.

    python examples/publish.py [VISITOR PAGE …]

The stream's Redis is KATO_TASKS_STREAMS_URL. KafkaPublisher and RabbitMQPublisher are used in the same way.
Prints, on a fresh stack:

    visitor-17: 3 events are published
"""

import sys

from kato_tasks import RedisStreamPublisher

visitor, *pages = sys.argv[1:] or ["visitor-17", "home", "search", "cart"]
with RedisStreamPublisher() as publisher:
    for page in pages:
        publisher.publish_observation(visitor, {"strings": [page]}, metadata={"source": "web-app"})
    publisher.flush()  # now the broker has them all
print(f"{visitor}: {len(pages)} events are published")
