"""The Lua scripts: one file per operation, each with the shared functions and the names of its slots in front."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kato_tasks.adapters.redis.cards import Card, read_card

NAMES = (
    "acknowledge",
    "acquire_lanes",
    "add_counts",
    "append",
    "bind",
    "bind_nodes",
    "certain",
    "clock_back",
    "commit",
    "defer",
    "drop_archived",
    "drop_predictions",
    "drop_scheduled",
    "drop_shadow",
    "drop_waiting_task",
    "find_front",
    "flag_node",
    "forget_commits",
    "forget_ids",
    "forget_session",
    "give_lane_back",
    "give_reader_back",
    "give_sign",
    "hold_reader",
    "intent",
    "keep_alive",
    "keep_front",
    "keep_scheduled",
    "last_event",
    "note_delivery",
    "open_intents",
    "open_shadow",
    "orphaned_tasks",
    "park",
    "park_by_hand",
    "read_lane",
    "read_log",
    "read_unarchived",
    "renew",
    "resume",
    "set_mark",
    "switch_generation",
    "take_lane",
    "take_or_wait",
    "unbind",
    "write",
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis is given it (``text``), the name by which Redis knows it (``sha``), and its calling card."""

    name: str
    text: str
    sha: str
    card: Card


@cache
def script(name: str) -> Script:
    """Return a script by its file's name, without ``.lua``. Raises SlotError when its card cannot be read."""
    source = source_of(name)
    card = read_card(name, source)
    text = source_of("_lib") + card.prologue() + source
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), card)


def source_of(name: str) -> str:
    """Return the text of a Lua file as it is read and edited."""
    return (files(__package__) / "lua" / f"{name}.lua").read_text("utf-8")
