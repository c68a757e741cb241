"""What a broker's connection does to a worker: its own events never hold it up, its loss never ends it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from kato_tasks.celery_tasks.patches.kombu_redis import guard_redis_transport, guard_worker_events
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import RedisServer


def test_the_worker_s_own_events_wait_for_no_confirmation_and_task_messages_do(
    rabbitmq_server: RabbitmqServer,
) -> None:
    """Falls when the dispatcher's channel keeps `basic_publish_confirm`: a confirmation that never came stopped a
    worker for good (`-P threads` on RabbitMQ)."""
    rabbitmq_server.start()
    app = Celery("events", broker=rabbitmq_server.url, set_as_current=False)
    app.conf.broker_transport_options = {"confirm_publish": True}
    guard_worker_events(app)
    confirmed: list[str] = []

    def watched(channel: Any, name: str) -> None:
        confirm = channel.basic_publish_confirm

        def confirming(*args: Any, **kwargs: Any) -> Any:
            confirmed.append(name)
            return confirm(*args, **kwargs)

        channel.basic_publish_confirm = confirming
        if channel.basic_publish.__name__ == "basic_publish_confirm":
            channel.basic_publish = channel.basic_publish_confirm

    with app.connection_for_write() as connection:
        own = app.events.Dispatcher(connection, hostname="w@test")
        watched(own.producer.channel, "own")
        own.send("task-started", uuid="1")
        assert confirmed == []
        own.close()
    with app.producer_pool.acquire(block=True) as producer:
        channel = producer.channel
        watched(channel, "task")
        producer.publish({"a": SimpleNamespace.__name__}, routing_key="nobody")
        assert confirmed == ["task"]
        with app.events.Dispatcher(producer.connection, "w@test", True, channel) as borrowed:
            borrowed.send("task-succeeded", uuid="1")
        producer.publish({"a": 1}, routing_key="nobody")
        assert confirmed.count("task") == 3
    app.pool.force_close_all()


@pytest.mark.parametrize("way", ["ack_log_error", "reject_log_error"])
def test_an_acknowledgement_after_the_connection_is_gone_ends_no_worker(redis_server: RedisServer, way: str) -> None:
    """Falls when it raises what Celery does not take for a lost connection (kombu's own: AttributeError)."""
    redis_server.start()
    guard_redis_transport()
    app = Celery("guarded", broker=redis_server.url, set_as_current=False)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(f"guarded {way}")
        queue.put("work")
        message = queue.get(timeout=10)
        message.channel.close()
        message.channel._disconnect_pools()
        getattr(message, way)(logging.getLogger(__name__), connection.connection_errors)
        assert not message.acknowledged
