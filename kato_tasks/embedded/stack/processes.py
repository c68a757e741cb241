"""Processes of the stack that end, and the signals that hurry their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Self


def bury(process: subprocess.Popen[bytes]) -> str:
    """Reap one that has ended, and end what it left of its group; how it ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; it is not reaped by asking."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class Hurry:
    """While it is open, SIGINT and SIGTERM do not raise: they ask for a quicker end."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        def ask(*_: object) -> None:
            self.asked = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
