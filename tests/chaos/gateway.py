"""The gateway of tests/gateway.py in a process of its own: its threads must not take turns with the callers'."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from tests.gateway import Gateway, Rule

SPELLS: dict[str, tuple[Rule, ...]] = {
    "401": (Rule(status=401),),
    "403": (Rule(status=403),),
    "503 after applying": (Rule(status=503, forward=True, share=0.5),),
    "429 after applying": (Rule(status=429, forward=True, share=0.5),),
    "1xx before every answer": (Rule(informational=(100, 103)),),
    "closes each connection": (Rule(close=True),),
    "closes without a word": (Rule(close_silently=True),),
    "drops answers": (Rule(drop=True, share=0.3),),
    "502": (Rule(status=502),),
}
"""What the gateway does for a while, one after another."""


class GatewayProcess:
    """A gateway before KATO (or what ``serve`` makes); ends with the process that started it."""

    def __init__(self, upstream: str, seed: int, serve: Callable[[str, int, Connection], None] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=serve or _serve, args=(upstream, seed, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.url = str(self._calls.recv())

    def rules(self, rules: Sequence[Rule]) -> None:
        """These from the next call on; none: everything is passed on."""
        self._ask(list(rules))

    def counts(self) -> dict[str, dict[str, int]]:
        """Calls by route: those that came, and those that a rule was carried out for."""
        return dict(self._ask("counts"))

    def _ask(self, what: Any) -> Any:
        self._calls.send(what)
        return self._calls.recv()

    def stop(self) -> None:
        with suppress(OSError):
            self._calls.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def _serve(upstream: str, seed: int, calls: Connection) -> None:
    # Ctrl-C is for the run, which then stops this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Gateway(upstream, seed=seed) as gateway, suppress(EOFError, OSError):
        calls.send(gateway.url)
        while True:
            asked = calls.recv()
            if isinstance(asked, list):
                gateway.rules(asked)
            calls.send({"seen": dict(gateway.seen), "ruled": dict(gateway.ruled)})
