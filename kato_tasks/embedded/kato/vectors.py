"""Give vectors their symbols, and find the learned vectors that come with an event's vectors.

This was measured on KATO 3.10.1. Its vector store (Qdrant) was replaced by one that compares with every vector. A real
Qdrant searches approximately, so among many vectors it may find others as the nearest.

- KATO adds up the vectors of one event. An array of one number can be added to an array of any size.
- The sum has one symbol: the SHA-1 of numpy's text of it. That text shows eight digits after the decimal point, and
  only the first three and the last three of more than 1000 numbers.
- The three learned vectors that are nearest to the sum put their symbols into the event too, however far away they are.
- A vector counts as learned from the next learn on. It does not matter which session of the node observed it, or which
  one learns.
- The first learned vector fixes the size. Vectors of another size are not learned, and bring no others with them.
- clear-stm and DELETE leave all of this as it is. clear-all drops what is not learned yet. A node loses everything only
  when its process has served 100 other nodes since.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from struct import pack, unpack

from kato_tasks.kato_wire.answers import ServerError

Vector = list[float]
NEAREST = 3
NODES_KEPT = 100
_EDGE, _SUMMED_UP_ABOVE, _LINE = 3, 1000, 74
DIGITS = 8


class NodeVectors:
    """Holds the vectors that one node knows."""

    __slots__ = ("_learned", "_size", "_waiting")

    def __init__(self) -> None:
        self._learned: dict[str, tuple[float, ...]] = {}
        self._waiting: dict[str, Vector] = {}
        self._size: int | None = None

    def observe(self, vectors: Sequence[Vector]) -> list[str]:
        """Return the sorted symbols of an event with these vectors. Raises ``ServerError`` if they have no sum."""
        total = reduce(added, vectors)
        name = vector_symbol(total)
        near = self._nearest(total) if self._learned and len(total) == self._size else []
        self._waiting[name] = total
        return sorted({name, *near})

    def learn(self) -> None:
        """Count the vectors observed since the last learn as learned, so that they are found from now on."""
        for name, vector in self._waiting.items():
            if self._size is None:
                self._size = len(vector)
            if len(vector) == self._size and vector:
                try:
                    self._learned[name] = unpack(f"{len(vector)}f", pack(f"{len(vector)}f", *vector))
                except OverflowError:
                    continue  # The store cannot hold a number that is so large.
        self._waiting.clear()

    def forget_unlearned(self) -> None:
        """Drop the vectors observed since the last learn, as clear-all does, so that they are never found."""
        self._waiting.clear()

    @property
    def kept(self) -> tuple[dict[str, Sequence[float]], dict[str, Sequence[float]], int | None]:
        """Return the learned vectors, those that wait for a learn, and the size of learned ones (None if unknown)."""
        return dict(self._learned), dict(self._waiting), self._size

    def recall(self, learned: dict[str, Vector], waiting: dict[str, Vector], size: int | None) -> None:
        """Take in what ``kept`` returned."""
        self._learned = {name: tuple(vector) for name, vector in learned.items()}
        self._waiting, self._size = waiting, size

    def _nearest(self, vector: Vector) -> list[str]:
        distances = ((math.dist(vector, other), name) for name, other in self._learned.items())
        return [name for _, name in heapq.nsmallest(NEAREST, distances, key=lambda one: one[0])]


class Vectors:
    """Holds the vectors of all nodes. A node is forgotten when 100 others were used after it."""

    def __init__(self, changed: set[str] | None = None) -> None:
        self._nodes: OrderedDict[str, NodeVectors] = OrderedDict()
        self._changed = changed

    def of(self, node: str) -> NodeVectors:
        """Return a node's vectors. KATO counts every call that needs the node as a use of it."""
        found = self._nodes.get(node)
        if found is None:
            found = self._nodes[node] = NodeVectors()
            if len(self._nodes) > NODES_KEPT:
                forgotten, _ = self._nodes.popitem(last=False)
                if self._changed is not None:
                    self._changed.add(forgotten)
        else:
            self._nodes.move_to_end(node)
        return found

    def peek(self, node: str) -> NodeVectors | None:
        """Return a node's vectors without counting that as a use, or None if it has none."""
        return self._nodes.get(node)

    def nodes(self) -> list[str]:
        """Return the names of the known nodes. The one that was not used for the longest time comes first."""
        return list(self._nodes)

    def clear(self) -> None:
        """Forget every node's vectors, learned or not."""
        self._nodes.clear()


def added(one: Vector, other: Vector) -> Vector:
    """Return the sum of two vectors. One may have a single number; other differing sizes raise ``ServerError``."""
    if len(one) == len(other):
        return [a + b for a, b in zip(one, other, strict=True)]
    if len(other) == 1:
        return [a + other[0] for a in one]
    if len(one) == 1:
        return [one[0] + b for b in other]
    raise ServerError("vectors whose sizes cannot be added")


def vector_symbol(vector: Vector) -> str:
    """Return the symbol that KATO gives to a vector."""
    return "VCTR|" + hashlib.sha1(numpy_text(vector).encode(), usedforsecurity=False).hexdigest()


def numpy_text(vector: Vector) -> str:
    """Return the text that numpy gives to an array of these numbers, such as ``[0.1  2.  ]``."""
    if not vector:
        return "[]"
    left_out = len(vector) > _SUMMED_UP_ABOVE
    shown = [*vector[:_EDGE], *vector[-_EDGE:]] if left_out else vector
    words = _words(shown)
    if left_out:
        words.insert(_EDGE, "...")
    text, line = "", " "
    for word in words:
        if len(line) + len(word) > _LINE and len(line) > 1:
            text += line.rstrip() + "\n"
            line = " "
        line += word + " "
    return "[" + (text + line[:-1])[1:] + "]"


def _words(numbers: Sequence[float]) -> list[str]:
    """Return each number's text, padded so that the decimal points are under one another."""
    finite = [number for number in numbers if math.isfinite(number)]
    sizes = [abs(number) for number in finite if number]
    far = bool(sizes) and (max(sizes) >= 1e8 or min(sizes) < 1e-4 or max(sizes) / min(sizes) > 1000)
    texts = _scientific(finite) if far else _positional(finite)
    left = max((text.index(".") for text in texts), default=0)
    right = max((len(text) - text.index(".") for text in texts), default=1)
    others = [str(number) for number in numbers if not math.isfinite(number)]
    left = max([left, *(len(text) - right for text in others)])
    following = iter(texts)
    words = []
    for number in numbers:
        if math.isfinite(number):
            text = next(following)
            words.append((" " * (left - text.index(".")) + text).ljust(left + right))
        else:
            words.append(str(number).rjust(left + right))
    return words


def _positional(numbers: Sequence[float]) -> list[str]:
    """Return the shortest exact text of each number, rounded if it has more than eight digits after the point."""
    texts = [repr(number) for number in numbers]
    return [
        f"{number:.{DIGITS}f}".rstrip("0") if len(text.partition(".")[2]) > DIGITS else text.removesuffix("0")
        for number, text in zip(numbers, texts, strict=True)
    ]


def _scientific(numbers: Sequence[float]) -> list[str]:
    """Return the same with powers of ten. All have as many digits as the number that needs the most."""
    digits = max(map(_digits_needed, numbers))
    texts = [f"{number:#.{digits}e}".split("e") for number in numbers]
    power = max(len(exponent) for _, exponent in texts)
    return [f"{text}e{exponent[0]}{exponent[1:].rjust(power - 1, '0')}" for text, exponent in texts]


def _digits_needed(number: float) -> int:
    exact = (digits for digits in range(DIGITS + 1) if float(f"{number:.{digits}e}") == number)
    needed = next(exact, DIGITS)
    return len(f"{number:.{needed}e}".partition("e")[0].partition(".")[2].rstrip("0"))
