"""Run a listener and the publisher of its sink in this process, until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from kato_tasks.api.signs import EVERY_SECONDS, AboutListener, give_listener_sign, withdraw_listener_sign
from kato_tasks.bootstrap import Runtime
from kato_tasks.errors import KatoTasksError, StoreUnavailable
from kato_tasks.listeners.listening import Listener
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.sources import MessageSource
from kato_tasks.telemetry.log_events import log_event
from kato_tasks.version import __version__

log = logging.getLogger(__name__)
LOG_SECONDS = 10.0
STOP_SECONDS = 20.0
"""How long the publisher may take to end what it is sending."""


class SinkPublisher:
    """What is known here of the sink's publisher (``sinks/`` stands beside this room)."""

    def __init__(self, run: Callable[[], None], counts: Callable[[], tuple[int, int]]) -> None:
        self.run = run
        self.counts = counts


def listen(
    rt: Runtime,
    source: MessageSource,
    options: ListenOptions,
    stop: threading.Event,
    publisher: SinkPublisher | None = None,
) -> None:
    """Read the source, and publish its sink's predictions beside that, until ``stop`` is set.

    Raises what either of them raises; the other one then ends, too, so that the process is started again.
    """
    watch = _Watch(rt, source, options, publisher)
    listener = Listener(rt, source, options, stop=stop, on_step=watch.step)
    watch.listener = listener
    failed: list[Exception] = []
    thread = None
    if publisher is not None:
        thread = threading.Thread(target=_publish, args=(publisher, stop, failed), name="kato_tasks sink")
    if thread is not None:
        thread.start()
    try:
        listener.run()
    finally:
        stop.set()
        if thread is not None:
            thread.join(STOP_SECONDS)
        watch.end()
    if failed:
        raise failed[0]


def _publish(publisher: SinkPublisher, stop: threading.Event, failed: list[Exception]) -> None:
    try:
        publisher.run()
    except Exception as exc:
        failed.append(exc)
    finally:
        stop.set()


class _Watch:
    """Tells how the listener stands: to the store, for ``kato-tasks status`` and health checks, and to the log.

    It is called by the listener's own steps, so a listener that hangs gives no sign any more.
    """

    def __init__(
        self, rt: Runtime, source: MessageSource, options: ListenOptions, publisher: SinkPublisher | None
    ) -> None:
        self._rt = rt
        self._source = source
        self._options = options
        self._publisher = publisher
        self._signed_at, self._logged_at = 0.0, time.monotonic()
        self._logged = 0
        self._started_ms = 0
        self.listener: Listener | None = None

    def step(self) -> None:
        now = time.monotonic()
        if now - self._signed_at >= EVERY_SECONDS:
            self._signed_at = now
            try:
                at_ms = give_listener_sign(self._rt.store, self._about())
                self._started_ms = self._started_ms or at_ms
            except StoreUnavailable as exc:
                log_event(log, logging.DEBUG, "sign.not_given", error=exc)
        if now - self._logged_at >= LOG_SECONDS:
            about = self._about()
            if about.read != self._logged:
                self._logged_at, self._logged = now, about.read
                log_event(
                    log,
                    logging.INFO,
                    "listener.progress",
                    source=about.source,
                    read=about.read,
                    appended=about.appended,
                    duplicates=about.duplicates,
                    dead_letters=about.dead_letters,
                    per_second=round(about.rate),
                    lag="unknown" if about.lag is None else about.lag,
                )

    def _about(self) -> AboutListener:
        listener = self.listener
        assert listener is not None
        figures = listener.figures
        sent, unsent = self._publisher.counts() if self._publisher is not None else (0, 0)
        return AboutListener(
            source=self._source.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            sink=self._options.sink,
            state=listener.state,
            read=figures.read,
            appended=figures.appended,
            duplicates=figures.duplicates,
            dead_letters=figures.dead_letters,
            rate=round(figures.rate(), 1),
            lag=figures.lag,
            sent=sent,
            unsent=unsent,
            version=__version__,
            started_ms=self._started_ms,
        )

    def end(self) -> None:
        with contextlib.suppress(KatoTasksError):
            withdraw_listener_sign(self._rt.store, self._about())
        about = self._about()
        log_event(
            log,
            logging.INFO,
            "listener.ended",
            source=about.source,
            read=about.read,
            appended=about.appended,
            duplicates=about.duplicates,
            dead_letters=about.dead_letters,
        )


@contextlib.contextmanager
def until_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["SinkPublisher", "listen", "until_signal"]
