"""Choose the ports of the embedded stack: those asked for, those of the last start, or else free ones."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
PORTS = ("redis", "kato", "flower", "http")
"""The parts that listen on a port."""
BELOW_THE_KERNELS = range(20_000, 32_000)
"""Ports that the next start uses again come from this range.

The kernel gives the ports above it to outgoing connections of any program."""
TRIES = 50


class PortTaken(RuntimeError):
    """Raised when a port is in use. The message names the port and the option that changes it."""

    @classmethod
    def by_another(cls, name: str, port: int) -> PortTaken:
        """Return the error for a port on which another program listens."""
        return cls(
            f"port {port} of {name} is in use by another program; stop that one, or choose another port with "
            f"--{name}-port"
        )


class Ports:
    """Chooses the ports. ``given`` holds those that options ask for.

    ``file`` remembers the ports for the next start; with None, nothing is remembered.
    """

    def __init__(self, given: Mapping[str, int], file: Path | None) -> None:
        self._file = file
        self.saved = _saved(file)
        """The ports of the last start; empty at the first start."""
        self.pinned = {**self.saved, **given}
        """The ports that must be used as they are: all of them when ``file`` was written before."""

    def choose(self) -> dict[str, int]:
        """Return a port for each part that is free at this moment. Raises PortTaken if a pinned port is not free."""
        by_port: dict[int, str] = {}
        for name, port in self.pinned.items():
            if port in by_port:
                raise PortTaken(f"--{by_port[port]}-port and --{name}-port are both {port}; give each one of its own")
            by_port[port] = name
            _look(name, port)
        chosen = dict(self.pinned)
        for name in PORTS:
            while name not in chosen:
                port = free_port() if self._file is None else _lasting_port()
                if port not in chosen.values():
                    chosen[name] = port
        return {name: chosen[name] for name in PORTS}

    def remember(self, ports: Mapping[str, int]) -> None:
        """Write the ports to the file, if there is one, for the next start."""
        if self._file is not None:
            self._file.write_text(json.dumps(dict(ports)))


def free_port() -> int:
    """Return any port on which no program listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _lasting_port() -> int:
    for port in random.sample(BELOW_THE_KERNELS, TRIES):
        with contextlib.suppress(OSError):
            _bind(port)
            return port
    return free_port()


def _look(name: str, port: int) -> None:
    try:
        _bind(port)
    except PermissionError:
        raise PortTaken(
            f"port {port} of {name} may not be used by this user; choose another one with --{name}-port"
        ) from None
    except OSError:
        raise PortTaken.by_another(name, port) from None


def _bind(port: int) -> None:
    with socket.socket() as probe:
        # Servers bind in the same way, so connections of the last start that still linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))


def _saved(file: Path | None) -> dict[str, int]:
    # The ports must stay the same, because KATO's address is written down in the bindings.
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        if file is not None:
            return {name: int(port) for name, port in json.loads(file.read_text()).items() if name in PORTS}
    return {}
