"""Keeps 64-bit numbers in a few bytes each, where a set of ints takes 100 MB for a million rows."""

from __future__ import annotations

from array import array

_LEAST = 1024


class KeyTable:
    """A set of numbers other than 0. They must be digests, because their low bits choose their places."""

    __slots__ = ("_keys", "_mask", "_room", "count")

    def __init__(self, expected: int = 0) -> None:
        size = _LEAST
        while size * 5 < expected * 8:
            size *= 2
        self._keys = array("Q", bytes(8 * size))
        self._mask = size - 1
        self._room = size * 5 // 8
        self.count = 0

    @property
    def places(self) -> int:
        """How many places there are; ``find`` returns one of them."""
        return self._mask + 1

    def add(self, key: int) -> bool:
        """Add a number; returns whether it is new."""
        keys, mask = self._keys, self._mask
        at = key & mask
        while there := keys[at]:
            if there == key:
                return False
            at = (at + 1) & mask
        keys[at] = key
        self.count += 1
        if self.count > self._room:
            self._grow()
        return True

    def find(self, key: int) -> int:
        """Return the number's place, or -1. Places change when the table outgrows the expected size."""
        keys, mask = self._keys, self._mask
        at = key & mask
        while there := keys[at]:
            if there == key:
                return at
            at = (at + 1) & mask
        return -1

    def key_at(self, place: int) -> int:
        """Return the number at a place; 0 if the place is empty."""
        return self._keys[place]

    def _grow(self) -> None:
        old = self._keys
        size = len(old) * 2
        keys, mask = array("Q", bytes(8 * size)), size - 1
        for key in old:
            if key:
                at = key & mask
                while keys[at]:
                    at = (at + 1) & mask
                keys[at] = key
        self._keys, self._mask, self._room = keys, mask, size * 5 // 8
