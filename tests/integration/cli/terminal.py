"""Commands under a pseudo-terminal, as a person runs them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Sequence

from kato_tasks.cli.layout import cells
from tests.integration.cli.running import Cli

STYLES = re.compile(r"\x1b\[(?!31m)[\d;]*m|\x1b\[\?25[lh]|\r?\x1b\[(?:1A|2K)")
"""Styles and a progress bar's moves, which are ours (red is not: hostile ids of the tests want to be)."""
MARK = "=== next command"
RUN_ALL = f"""
import json, sys
from kato_tasks.cli import kato  # noqa: E402
for words in json.loads(sys.argv[1]):
    try:
        kato(words, prog_name="kato-tasks")
    except SystemExit:
        pass
    sys.stderr.flush()
    print({MARK!r}, flush=True)
"""


def on_terminal(cli: Cli, *commands: Sequence[str], columns: int = 60, plain: bool = True) -> list[str]:
    """What each of these commands (run by one process) shows on a terminal of this width."""
    words = [sys.executable, "-c", RUN_ALL, json.dumps(commands)]
    return screen_of(words, cli, columns, plain=plain).split(f"{MARK}\n")[: len(commands)]


def screen_of(words: Sequence[str], cli: Cli, columns: int, *, plain: bool = True) -> str:
    """What a process shows on a terminal of this width, until it ends; ``plain``: without the styles of ours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = cli.environment() | {"TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=cli.directory, env=environment
    ) as process:
        os.close(theirs)
        read = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
            while piece := os.read(ours, 65_536):
                read += piece
        process.wait(60)
    os.close(ours)
    text = read.decode().replace("\r\n", "\n")
    return STYLES.sub("", text) if plain else text


def steering(text: str) -> list[str]:
    """The characters of an output that a terminal obeys, but for the ends of lines."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def widest(text: str) -> int:
    return max(map(cells, text.splitlines()), default=0)
