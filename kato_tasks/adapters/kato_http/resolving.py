"""Looks names up in a thread, so that a slow DNS server delays only the connection that needs the name."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

FRESH_SECONDS = 5.0
"""Seconds for which an answer is used before the name is looked up again."""
Address = tuple[int, Any]


class Lookup:
    """One look-up under way. Each waiting connection gets a socket that becomes readable when it has ended."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._bells: list[socket.socket] = []
        self.done = False
        self.addresses: list[Address] = []
        self.error = ""
        self.ended_at = 0.0

    def bell(self) -> socket.socket:
        """Return a socket that becomes readable when the look-up ends; the caller closes it."""
        mine, other = socket.socketpair()
        mine.setblocking(False)
        with self._lock:
            if self.done:
                other.close()
            else:
                self._bells.append(other)
        return mine

    def run(self) -> None:
        """Look the name up, keep its addresses or the error, and tell all who wait."""
        try:
            self.addresses = _look_up(self._host, self._port)
        except (OSError, UnicodeError) as exc:
            self.error = str(exc)
        finally:
            with self._lock:
                self.ended_at = time.monotonic()
                self.done = True
                for bell in self._bells:
                    bell.close()
                self._bells.clear()


class Resolver:
    """Finds the addresses of one host and port. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._literal = _is_literal(host)
        self._lookup: Lookup | None = None

    def addresses(self) -> list[Address] | Lookup:
        """Return the addresses if they are fresh, else the look-up under way. Never blocks; may raise OSError."""
        if self._literal:
            return _look_up(self._host, self._port)
        with self._lock:
            lookup = self._lookup
            if lookup is not None and not lookup.done:
                return lookup
            if lookup is not None and lookup.addresses and time.monotonic() - lookup.ended_at < FRESH_SECONDS:
                return list(lookup.addresses)
            lookup = self._lookup = Lookup(self._host, self._port)
            try:
                threading.Thread(target=lookup.run, name="kato-dns", daemon=True).start()
            except RuntimeError as exc:  # no more threads
                self._lookup = None
                raise OSError(str(exc)) from exc
            return lookup


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
