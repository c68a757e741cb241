"""What a pool process may inherit from a parent whose sweeper thread is at work."""

from __future__ import annotations

import os
import threading
import time

from kato_tasks.celery_tasks import sweeping

ROUND_SECONDS = 0.5


def test_a_process_is_forked_between_rounds_of_the_sweep_and_may_sweep_itself() -> None:
    """Falls without os.register_at_fork in sweeping: the fork does not wait, and the child finds the lock held."""
    begun = threading.Event()

    def a_round() -> None:
        with sweeping._round:
            begun.set()
            time.sleep(ROUND_SECONDS)

    sweeper = threading.Thread(target=a_round)
    sweeper.start()
    assert begun.wait(5)
    asked = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0 if sweeping._round.acquire(timeout=0.1) else 1)
    waited = time.monotonic() - asked
    _, status = os.waitpid(child, 0)
    sweeper.join()
    assert waited > ROUND_SECONDS / 2
    assert os.waitstatus_to_exitcode(status) == 0
    assert sweeping._round.acquire(timeout=1), "the parent goes on sweeping"
    sweeping._round.release()
