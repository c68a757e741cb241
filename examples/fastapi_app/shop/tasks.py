"""The shop's own Celery app and its own task.

kato_tasks brings an app of its own, so the shop's broker, queues and workers stay the shop's.
"""

from __future__ import annotations

import os

from celery import Celery

ADDRESS = os.environ.get("SHOP_REDIS_URL", "redis://127.0.0.1:6379/4")
celery_app = Celery("shop", broker=ADDRESS, backend=ADDRESS)
celery_app.conf.task_default_queue = "shop"
celery_app.conf.result_expires = 3600


@celery_app.task(name="shop.receipt")
def receipt(session_id: str, articles: list[str]) -> str:
    """Write a receipt; in a real shop this takes a while."""
    return f"{session_id} bought {', '.join(articles)}"
