"""Run a command that cannot outlive the process which started it.

    python pdeathsig.py PARENT_PID SIGNAL COMMAND [ARGUMENTS]

The process becomes COMMAND. On Linux, the kernel sends it SIGNAL when its parent dies, even by SIGKILL. This file
imports nothing, so it costs only a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Replace this process by the command, or end with exit code 1 when the parent is gone already."""
    parent, number, command = int(argv[0]), int(argv[1]), argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    # The parent may have died before the line above; then the signal would never be sent.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  that is its purpose


if __name__ == "__main__":
    main(sys.argv[1:])
