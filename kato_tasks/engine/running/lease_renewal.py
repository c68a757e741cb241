"""Renews the leases of a process while calls to KATO are under way."""

from __future__ import annotations

import logging
import threading
import time

from kato_tasks.ports.lanes import Lease, Renew
from kato_tasks.ports.store import Store
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


class LeaseRenewer:
    """Renews the leases of all tracked lanes at an interval, in a thread that starts with the first. Thread-safe.

    A lost lease needs no signal, because the holder's next write is refused. But a process that was stopped and
    continued could still send something to KATO before that write. So ``is_live`` tells by the monotonic clock, which
    runs on while a process is stopped, whether the lease can have run out.
    """

    def __init__(self, store: Store, interval_seconds: float) -> None:
        self._store = store
        self._interval = interval_seconds
        self._held: dict[tuple[str, str], Lease] = {}
        self._live_until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def track(self, held: Lease, since: float) -> None:
        """Renew this lease from now on. The call that took it began at ``since``, in monotonic seconds."""
        with self._lock:
            self._held[held.lane, held.token] = held
            self._live_until[held.lane, held.token] = since + held.lease_ms / 1000
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kato-lease-renewer", daemon=True)
                self._thread.start()

    def renewed_at(self, held: Lease, since: float) -> None:
        """Record that a write under the token, which began at ``since`` (monotonic seconds), renewed the lease."""
        key = held.lane, held.token
        with self._lock:
            if key in self._live_until:
                self._live_until[key] = max(self._live_until[key], since + held.lease_ms / 1000)

    def is_live(self, held: Lease) -> bool:
        """Return whether the lease certainly has not run out yet. False for one that is not tracked."""
        return time.monotonic() < self._live_until.get((held.lane, held.token), 0.0)

    def untrack(self, held: Lease) -> None:
        """Renew this lease no longer: the lane was given back, or is lost."""
        with self._lock:
            self._held.pop((held.lane, held.token), None)
            self._live_until.pop((held.lane, held.token), None)

    def close(self) -> None:
        """Stop renewing. Leases that are held run out."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            since = time.monotonic()
            try:
                answers = self._store.execute([Renew(h) for h in held])
            except Exception as exc:
                # Any error at all: if this thread ended, every lease of the process would run out.
                log_event(log, logging.WARNING, "lease.renewal_failed", lanes=len(held), error=exc)
                continue
            for h, renewed in zip(held, answers, strict=True):
                if renewed is True:
                    self.renewed_at(h, since)
                elif renewed is False:
                    self.untrack(h)
                else:
                    log_event(log, logging.WARNING, "lease.renewal_failed", lanes=1, error=renewed)
