"""Make Ctrl-C wait until the work under way is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self


class Interrupts:
    """Makes Ctrl-C within ``held`` raise KeyboardInterrupt at its end, and a second Ctrl-C raise it at once."""

    def __init__(self) -> None:
        self._holding = False
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        # Python takes signals in the main thread alone; elsewhere there is nothing to hold.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the first Ctrl-C from cutting the work in this context in two."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._asked:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self._holding and not self._asked:
            self._asked = True
            return
        raise KeyboardInterrupt
