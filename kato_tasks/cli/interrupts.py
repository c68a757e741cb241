"""Ctrl-C that waits for what is under way to be whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self


class Interrupts:
    """While it is entered, Ctrl-C within ``held`` raises KeyboardInterrupt at its end; a second one at once."""

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
        """Nothing in here is cut in two by the first Ctrl-C."""
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
