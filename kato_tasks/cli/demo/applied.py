"""Wait until KATO has everything that was appended."""

from __future__ import annotations

import time

from kato_tasks.api.status import read_counts
from kato_tasks.bootstrap import runtime
from kato_tasks.cli.demo.answers import Watched
from kato_tasks.cli.screen import Screen
from kato_tasks.embedded.stack.stack import StackFailed

EVERY_SECONDS = 0.1


def wait_until_applied(stack: Watched, screen: Screen, what: str) -> None:
    """Return when everything that was appended is applied. A terminal shows the progress.

    Raises StackFailed when a part ends, or when a session is parked, because the wait would then never end.
    """
    now = read_counts(runtime())
    first = now.applied
    with screen.progress(what, now.backlog) as done:
        while now.backlog:
            stack.check()
            if now.parked or now.dead_letters:
                left = f"{now.parked} sessions are parked and {now.dead_letters} events are dead letters"
                raise StackFailed(f"{left}, which must not happen here", "worker")
            time.sleep(EVERY_SECONDS)
            now = read_counts(runtime())
            done(now.applied - first)
