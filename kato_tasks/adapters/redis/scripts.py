"""The Lua scripts: one file per operation, each with the shared prelude in front."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

NAMES = (
    "acknowledge",
    "append",
    "bind",
    "bind_nodes",
    "certain",
    "claim",
    "clock_back",
    "commit",
    "defer",
    "delivered",
    "drop_later",
    "intent",
    "keep_later",
    "last_event",
    "lease",
    "mark",
    "owed",
    "park",
    "release",
    "renew",
    "resume",
    "set_aside",
    "sign",
    "touch",
    "unpark",
    "write",
)


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """A script by its file's name, without ``.lua``."""
    lua = files(__package__) / "lua"
    text = (lua / "_lib.lua").read_text("utf-8") + (lua / f"{name}.lua").read_text("utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
