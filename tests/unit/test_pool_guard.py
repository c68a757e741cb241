"""A pool process whose parent reads no more must not wait for it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from billiard import pool

from kato_tasks.celery_tasks.worker import worker_signals


def test_a_pool_process_whose_parent_reads_no_more_results_ends_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the guard (pool_guard.guard_pool_process) this takes 30 s.
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    worker_signals.begin_a_pool_process()
    assert pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT == 300, "another app's worker stays as it is"
    monkeypatch.setattr(worker_signals, "_serving", True)
    worker_signals.begin_a_pool_process()
    process = pool.Worker.__new__(pool.Worker)
    process.on_ready_counter = SimpleNamespace(value=6)
    begun = time.monotonic()
    assert process._ensure_messages_consumed(completed=7) is False
    assert time.monotonic() - begun < 5
