"""Asks KATO when a worker starts whether it accepts the session config, and logs it if KATO does not."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any, TypeVar

from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.engine.drain.kato_answers import strip_address
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.effects import Program
from kato_tasks.ports.kato import KatoRequest, KatoTransport
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
T = TypeVar("T")
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 5.0


class ConfigWatch:
    """A thread of the worker's parent process. A worker also starts without KATO; KATO is asked once it answers."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._told: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="kato-config-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it: this is called from a signal handler."""
        self._stop.set()

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = LOOK_SECONDS
            try:
                rt = runtime()
                if not rt.settings.kato_session_config:
                    return
                for url in rt.settings.kato_instances:
                    self.look(rt, url)
            except Exception as exc:
                # Catch everything: if the thread ended here, the log would say nothing.
                log_event(log, logging.WARNING, "session_config.unasked", error=exc)

    def look(self, rt: Runtime, url: str) -> None:
        """Read what KATO at ``url`` said about the session config, or ask it if no process has; log a new verdict."""
        why = rt.check.read_verdict(url)
        if why is None and rt.check.may_ask(url):
            try:
                why = carried_out(rt.kato, rt.check.ask(url))
            except KatoTasksError:
                return  # KATO does not answer, which is logged elsewhere
        if why is None:
            return
        before, self._told[url] = self._told.get(url, ""), why
        if why and why != before:
            log_event(log, logging.ERROR, "session_config.not_taken", url=strip_address(url), mend=why)
        elif before and not why:
            log_event(log, logging.INFO, "session_config.taken", url=strip_address(url))


def carried_out(transport: KatoTransport, step: Program[T]) -> T:
    """Carry out a step that only sends requests to KATO, one after another, and return its value.

    Raises what the step raises.
    """
    value: Any = None
    error: Exception | None = None
    while True:
        try:
            effect = step.throw(error) if error is not None else step.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        error = None
        assert isinstance(effect, KatoRequest)
        try:
            value = transport.send(replace(effect, timeout_seconds=ANSWER_SECONDS))
        except KatoTasksError as exc:
            error = exc
