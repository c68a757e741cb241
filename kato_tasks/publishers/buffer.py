"""Holds messages in their order until a broker has confirmed them; one thread of its own sends them."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from weakref import WeakSet

from kato_tasks.errors import ConfigurationError, InvalidEvent, KatoTasksError, SourceUnavailable
from kato_tasks.ports.senders import MessageRefused, Outgoing, Sender
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
EXIT_SECONDS = 10.0
"""How long a process that ends waits for what nobody has flushed."""


@dataclass(frozen=True, slots=True)
class Buffering:
    """How much is sent at once, how long it is waited for, and how much may wait."""

    batch_events: int = 500
    linger_seconds: float = 0.005
    buffer_events: int = 10_000
    block_seconds: float = 60.0
    batch_bytes: int = 1_000_000
    buffer_bytes: int = 67_108_864
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("batch_events", "batch_bytes", "buffer_events", "buffer_bytes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("linger_seconds", "block_seconds"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} must be at least 0, not {getattr(self, name)}")


class SendingBuffer:
    """Sends what is put into it, in that order. Threads may use it at the same time.

    What fails is tried again, after waits that double, and nothing behind it is sent meanwhile: a message leaves the
    buffer when it is confirmed, or when the broker refuses it for good, which the next ``flush`` says. A forked process
    begins with an empty buffer, because its parent sends what it holds.
    """

    def __init__(self, sender: Sender, buffering: Buffering | None = None) -> None:
        self.sender = sender
        self._rules = buffering or Buffering()
        self._closed = False
        self._begin()
        _buffers.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._bytes = 0
        self._put = 0
        self._gone = 0
        self._hurried = 0
        """up to which of the messages that were put nothing waits for more to be sent with"""
        self._asked = 0
        """how often something was asked for that ends a wait before the next attempt"""
        self._abandoned = False
        self._failed = 0
        """how many attempts failed so far"""
        self._trouble: Exception | None = None
        self._refused: list[str] = []
        self._thread: threading.Thread | None = None

    # -------------------------------------------------------------------------------- callers

    @property
    def pending(self) -> int:
        """How many messages are not confirmed yet."""
        return len(self._waiting)

    def put(self, message: Outgoing) -> None:
        """Take a message. Wait while the buffer is full.

        Raises SourceUnavailable if there is no room after ``block_seconds``, and RuntimeError after ``close``; then the
        message was not taken.
        """
        size = _size(message)
        with self._changed:
            if not (self._closed or self._has_room(size)):
                self._ask()
                self._changed.wait_for(lambda: self._closed or self._has_room(size), self._rules.block_seconds)
            if self._closed:
                raise RuntimeError(f"the publisher to {self.sender.name} is closed; make another one")
            if not self._has_room(size):
                raise SourceUnavailable(
                    f"{len(self._waiting)} events for {self.sender.name} are not confirmed, and no more are held: "
                    f"{self._why()}; publish this one again later"
                )
            self._waiting.append(message)
            self._bytes += size
            self._put += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"publish {self.sender.name}", daemon=True)
                self._thread.start()
            elif len(self._waiting) in (1, self._rules.batch_events):
                self._changed.notify_all()

    def flush(self, timeout: float | None) -> None:
        """Return when everything that was put before is confirmed. Wait ``timeout`` seconds at most (None: for ever).

        Raises SourceUnavailable for what is not confirmed by then, which stays in the buffer and is tried again; else
        InvalidEvent for what the broker refused for good since the last flush, which is not in the buffer any more; and
        ConfigurationError where nothing can be sent as things are set up.
        """
        with self._changed:
            due, failed = self._put, self._failed
            self._hurried = due
            self._ask()

            def hopeless() -> bool:
                return self._failed > failed and isinstance(self._trouble, ConfigurationError)

            self._changed.wait_for(lambda: self._gone >= due or hopeless(), timeout)
            if self._gone < due:
                if hopeless():
                    raise ConfigurationError(str(self._trouble))
                left = due - self._gone
                raise SourceUnavailable(
                    f"{left} event{'s' * (left > 1)} not confirmed by {self.sender.name} after {timeout:g} s, and "
                    f"tried again: {self._why()}"
                )
            refused, self._refused = self._refused, []
        if refused:
            more = f" (and {len(refused) - 1} more events were refused)" if refused[1:] else ""
            raise InvalidEvent("event", f"{refused[0]}{more}")

    def close(self, timeout: float | None) -> None:
        """Flush, and send nothing more after that. Raises what ``flush`` raises; what is not confirmed then is lost."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush(timeout)
        except (SourceUnavailable, ConfigurationError) as exc:
            lost = f"{self.pending} events were never confirmed by {self.sender.name}, and the publisher is closed"
            raise type(exc)(f"{lost}: {self._why()}; publish them again") from exc
        finally:
            with self._changed:
                self._abandoned = True
                self._ask()
                thread = self._thread
            if thread is not None and timeout != 0:
                thread.join(min(timeout or EXIT_SECONDS, EXIT_SECONDS))

    def after_fork(self) -> None:
        """Begin anew in a process that was forked just now."""
        self._begin()

    def _has_room(self, size: int) -> bool:
        fits = self._bytes + size <= self._rules.buffer_bytes and len(self._waiting) < self._rules.buffer_events
        return fits or not self._waiting

    def _ask(self) -> None:
        self._asked += 1
        self._changed.notify_all()

    def _why(self) -> str:
        return str(self._trouble or "it has not answered yet")

    # ----------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        changed, failures = self._changed, 0
        while batch := self._next_batch():
            try:
                self.sender.send(batch)
            except MessageRefused as exc:
                self._let_go(batch[: exc.index + 1], batch[exc.index], exc.reason)
                failures = 0
            except Exception as exc:  # none may end the thread: what waits would never be sent
                failures += 1
                self._postpone(exc, failures)
            else:
                self._let_go(batch)
                failures = 0
            if changed is not self._changed:
                return  # this is a forked process, and the thread somehow its parent's
        self.sender.close()

    def _next_batch(self) -> Sequence[Outgoing]:
        """Wait for messages and return those that are sent next; none when there is nothing more to do."""
        rules = self._rules
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._abandoned)
            if not self._hurries() and len(self._waiting) < rules.batch_events:
                self._changed.wait_for(
                    lambda: self._hurries() or len(self._waiting) >= rules.batch_events, rules.linger_seconds
                )
            if self._abandoned:
                return []
            batch: list[Outgoing] = []
            room = rules.batch_bytes
            for message in islice(self._waiting, rules.batch_events):
                room -= _size(message)
                if batch and room < 0:
                    break
                batch.append(message)
            return batch

    def _hurries(self) -> bool:
        return self._abandoned or self._gone < self._hurried

    def _let_go(self, batch: Sequence[Outgoing], refused: Outgoing | None = None, reason: str = "") -> None:
        """Let go of messages that the broker has, and of the one that it does not take."""
        with self._changed:
            for message in batch:
                self._waiting.popleft()
                self._bytes -= _size(message)
            self._gone += len(batch)
            recovered, self._trouble = self._trouble is not None, None
            if refused is not None:
                self._refused.append(f"{refused.message_id} of session {refused.key!r} {reason}")
            self._changed.notify_all()
        if recovered:
            log_event(log, logging.INFO, "publisher.recovered", to=self.sender.name)
        if refused is not None:
            log_event(
                log, logging.ERROR, "publisher.refused",
                to=self.sender.name, event=refused.message_id, session=refused.key, reason=reason,
            )  # fmt: skip

    def _postpone(self, exc: Exception, failures: int) -> None:
        """Note why a batch failed, and wait before the next attempt, unless something asks for one."""
        with self._changed:
            asked, waiting = self._asked, len(self._waiting)
            news = str(exc) != str(self._trouble)
            self._trouble = exc
            self._failed += 1
            self._changed.notify_all()
        if news:
            log_event(
                log, logging.WARNING, "publisher.postponed",
                to=self.sender.name, waiting=waiting, reason=str(exc),
                exc_info=None if isinstance(exc, KatoTasksError) else exc,
            )  # fmt: skip
        rules = self._rules
        longest = min(rules.longest_wait_seconds, rules.first_wait_seconds * 2 ** min(failures - 1, 30))
        with self._changed:
            self._changed.wait_for(lambda: self._asked != asked, longest * random.uniform(0.5, 1.0))


def _size(message: Outgoing) -> int:
    if message.fields is None:
        return len(message.value)
    return sum(map(len, message.fields.values()))


_buffers: WeakSet[SendingBuffer] = WeakSet()


def _after_fork() -> None:
    for buffer in list(_buffers):
        buffer.after_fork()


def _at_exit() -> None:
    """Send what is still held, and say so if that does not work: nothing is dropped in silence."""
    until = time.monotonic() + EXIT_SECONDS
    for buffer in list(_buffers):
        try:
            buffer.close(max(0.1, until - time.monotonic()))
        except Exception as exc:
            log_event(
                log, logging.ERROR, "publisher.left", to=buffer.sender.name, waiting=buffer.pending, reason=str(exc)
            )


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

__all__ = ["Buffering", "SendingBuffer"]
