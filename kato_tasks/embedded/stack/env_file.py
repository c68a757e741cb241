"""Write the file that tells other shells where the stack of a directory is."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path

FIRST_LINE = "# Written by `kato-tasks up` at each start: where the stack of this directory is.\n"


def write_environment(path: Path, environment: Mapping[str, str]) -> Path | None:
    """Write the environment to ``path``, unless a file that is not ours has that name."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if not path.exists() or path.read_text().startswith(FIRST_LINE):
            path.write_text(FIRST_LINE + "".join(f"export {k}={shlex.quote(v)}\n" for k, v in environment.items()))
            return path
    return None
