"""The calling card at the head of a Lua script: the names of its slots, and the Lua that gives them these names.

A card is a comment. It says what the script does, then lists its slots in the order in which they are sent, and ends
with what the script returns:

    -- KEYS:
    --   key                 left out where it is the partition's prefix, `P` in _lib.lua
    -- ARGV:
    --   lane, token         names; more than one space ends them, and what follows is prose
    --   lease_ms: number    sent as text like all others, and a number for the script
    -- each of results:
    --   event_id, result    a row that is sent for each result, behind the single slots
    -- Returns …

In the script each single slot is a local variable of its name. Rows are not copied: `results_first`, `results_last`
and `results_step` say where they lie in ARGV. So `for at = results_first, results_last, results_step` goes through
them, and `ARGV[at + results_event_id]` is a value of the row at `at`. These are local variables as well and no table,
for making a table in each call is what a small script would notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PREFIX = "prefix"
"""The key of a script whose card names no key."""
PLACES = ("first", "last", "step")
"""The variables that say where rows lie in ARGV."""
_HEADING = re.compile(r"-- (?:(KEYS|ARGV)|each of ([a-z_]+)):$")
_SLOTS = re.compile(r"--   (?! )((?:[a-z_]+(?:: number)?(?:, )?)+)(?:  .*)?$")
_MORE_PROSE = re.compile(r"--    +\S")


class SlotError(Exception):
    """A script and what is sent to it do not agree; the sentence names both."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A name and whether the script works with it as a number."""

    name: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """What is sent once for each of several things."""

    name: str
    slots: tuple[Slot, ...]

    def in_lua(self) -> list[str]:
        """Return the script's local variables: those that say where the rows lie, then where each value lies."""
        return [f"{self.name}_{part}" for part in (*PLACES, *(slot.name for slot in self.slots))]


@dataclass(frozen=True, slots=True)
class Card:
    """The slots of a script, in the order in which they are sent: its key, single slots, rows.

    Where there are several kinds of rows, how many there are of each is sent between the single slots and the rows.
    """

    script: str
    key: str
    arguments: tuple[Slot, ...]
    rows: tuple[Rows, ...]

    @property
    def counted(self) -> bool:
        """Tell whether the numbers of rows are sent, which they are where several kinds of rows follow one another."""
        return len(self.rows) > 1

    def prologue(self) -> str:
        """Return one line of Lua that gives the slots their names."""
        named: list[tuple[str, str]] = [] if self.key == PREFIX else [(self.key, "KEYS[1]")]
        for place, slot in enumerate(self.arguments, 1):
            named.append((slot.name, f"tonumber(ARGV[{place}])" if slot.number else f"ARGV[{place}]"))
        names, values = ", ".join(name for name, _ in named), ", ".join(value for _, value in named)
        singles = f"local {names} = {values}; " if named else ""
        return singles + "".join(self._rows_in_lua()) + "\n"

    def _rows_in_lua(self) -> Iterator[str]:
        single = len(self.arguments)
        first = str(single + 1 + (len(self.rows) if self.counted else 0))
        for number, rows in enumerate(self.rows, 1):
            step = len(rows.slots)
            last = f"{first} + {step} * ARGV[{single + number}] - 1" if self.counted else "#ARGV"
            offsets = ", ".join(str(offset) for offset in range(step))
            yield f"local {', '.join(rows.in_lua())} = {first}, {last}, {step}, {offsets}; "
            first = f"{rows.name}_last + 1"


def read_card(script: str, text: str) -> Card:
    """Read the card at the head of a script's text. Raises SlotError for a card that is not written as described."""
    key: list[Slot] = []
    arguments: list[Slot] = []
    rows: list[Rows] = []
    found: list[Slot] | None = None
    kind = ""
    for line in _head(text):
        if heading := _HEADING.fullmatch(line):
            if kind:
                rows.append(Rows(kind, tuple(found or ())))
            kind = heading[2] or ""
            found = [] if kind else key if heading[1] == "KEYS" else arguments
        elif line.startswith("-- "):
            if found is None or _MORE_PROSE.match(line):
                continue
            if not line.startswith("--   "):
                break
            slots = _SLOTS.fullmatch(line)
            if slots is None:
                raise SlotError(f"{script}.lua: this line of its card names no slots: {line}")
            found += [Slot(*_name_and_kind(name)) for name in slots[1].rstrip(", ").split(", ")]
    if kind:
        rows.append(Rows(kind, tuple(found or ())))
    card = Card(script, key[0].name if key else PREFIX, tuple(arguments), tuple(rows))
    _check(card)
    return card


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("--"):
            return
        yield line


def _name_and_kind(slot: str) -> tuple[str, bool]:
    name, _, kind = slot.partition(": ")
    return name, bool(kind)


def _check(card: Card) -> None:
    for rows in card.rows:
        if not rows.slots:
            raise SlotError(f"{card.script}.lua: its card says nothing of what is sent for each of {rows.name}")
        for slot in rows.slots:
            if slot.number or slot.name in PLACES:
                raise SlotError(f"{card.script}.lua: a row of {rows.name} cannot have the slot `{slot.name}`")
    names = [card.key, *(slot.name for slot in card.arguments), *(name for rows in card.rows for name in rows.in_lua())]
    for name in names:
        if names.count(name) > 1:
            raise SlotError(f"{card.script}.lua: its card names `{name}` twice")
