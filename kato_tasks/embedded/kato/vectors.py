"""A node's vectors: their symbols, and which learned ones an event's vector brings with it.

Measured on KATO 3.10.1, whose vector store (Qdrant) was a stand-in that compares with every vector; a real one searches
approximately, so for many vectors its nearest may be others.

- The vectors of one event are added up (arrays of one number go with any) and the sum has one symbol: the SHA-1 of
  numpy's text of it, which shows eight digits behind the point, and of more than 1000 numbers the first and last three.
- The three learned vectors nearest to the sum, however far away they are, put their symbols into the event, too.
- A vector counts as learned from the next learn on, whichever session of the node observed it, and learns.
- The first learned vector fixes the size; others are not learned and bring nothing with them.
- clear-stm and DELETE leave all that as it is, clear-all drops what is not learned yet. Only a node whose process
  served 100 others since loses it all.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from struct import pack, unpack

from kato_tasks.embedded.kato.answers import ServerError

Vector = list[float]
NEAREST = 3
NODES_KEPT = 100
_EDGE, _SUMMED_UP_ABOVE, _LINE = 3, 1000, 74
DIGITS = 8


class NodeVectors:
    """What one node knows of vectors."""

    __slots__ = ("_learned", "_size", "_waiting")

    def __init__(self) -> None:
        self._learned: dict[str, tuple[float, ...]] = {}
        self._waiting: dict[str, Vector] = {}
        self._size: int | None = None

    def observe(self, vectors: Sequence[Vector]) -> list[str]:
        """The symbols of an event with these vectors, sorted. Raises `ServerError` for sizes that cannot be added."""
        total = reduce(added, vectors)
        name = vector_symbol(total)
        near = self._nearest(total) if self._learned and len(total) == self._size else []
        self._waiting[name] = total
        return sorted({name, *near})

    def learn(self) -> None:
        """What was observed since the last learn is found from now on."""
        for name, vector in self._waiting.items():
            if self._size is None:
                self._size = len(vector)
            if len(vector) == self._size and vector:
                try:
                    self._learned[name] = unpack(f"{len(vector)}f", pack(f"{len(vector)}f", *vector))
                except OverflowError:
                    continue  # beyond what the store holds
        self._waiting.clear()

    def forget_unlearned(self) -> None:
        """What clear-all does: what was observed since the last learn is never found."""
        self._waiting.clear()

    @property
    def kept(self) -> tuple[dict[str, Sequence[float]], dict[str, Sequence[float]], int | None]:
        """What was learned, what waits for it, and the size of what is learned."""
        return dict(self._learned), dict(self._waiting), self._size

    def recall(self, learned: dict[str, Vector], waiting: dict[str, Vector], size: int | None) -> None:
        """Take in what `kept` told."""
        self._learned = {name: tuple(vector) for name, vector in learned.items()}
        self._waiting, self._size = waiting, size

    def _nearest(self, vector: Vector) -> list[str]:
        distances = ((math.dist(vector, other), name) for name, other in self._learned.items())
        return [name for _, name in heapq.nsmallest(NEAREST, distances, key=lambda one: one[0])]


class Vectors:
    """The vectors of all nodes; a node that was not used while 100 others were is forgotten."""

    def __init__(self, changed: set[str] | None = None) -> None:
        self._nodes: OrderedDict[str, NodeVectors] = OrderedDict()
        self._changed = changed

    def of(self, node: str) -> NodeVectors:
        """A node's vectors; KATO counts every call that needs the node as use of it."""
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
        """A node's vectors, without using them; None where there are none."""
        return self._nodes.get(node)

    def nodes(self) -> list[str]:
        """The nodes that are known, the one that was not used for longest first."""
        return list(self._nodes)

    def clear(self) -> None:
        self._nodes.clear()


def added(one: Vector, other: Vector) -> Vector:
    """The sum of two vectors, of which one may have a single number."""
    if len(one) == len(other):
        return [a + b for a, b in zip(one, other, strict=True)]
    if len(other) == 1:
        return [a + other[0] for a in one]
    if len(one) == 1:
        return [one[0] + b for b in other]
    raise ServerError("vectors whose sizes cannot be added")


def vector_symbol(vector: Vector) -> str:
    """KATO's name of a vector."""
    return "VCTR|" + hashlib.sha1(numpy_text(vector).encode(), usedforsecurity=False).hexdigest()


def numpy_text(vector: Vector) -> str:
    """The text that numpy's arrays give themselves: ``[0.1  2.  ]``."""
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
    """Each number's text, the points under one another."""
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
    """The shortest text that says a number, or eight digits behind the point if that is less."""
    texts = [repr(number) for number in numbers]
    return [
        f"{number:.{DIGITS}f}".rstrip("0") if len(text.partition(".")[2]) > DIGITS else text.removesuffix("0")
        for number, text in zip(numbers, texts, strict=True)
    ]


def _scientific(numbers: Sequence[float]) -> list[str]:
    """The same with powers of ten: as many digits for all as the one that needs most."""
    digits = max(map(_digits_needed, numbers))
    texts = [f"{number:#.{digits}e}".split("e") for number in numbers]
    power = max(len(exponent) for _, exponent in texts)
    return [f"{text}e{exponent[0]}{exponent[1:].rjust(power - 1, '0')}" for text, exponent in texts]


def _digits_needed(number: float) -> int:
    exact = (digits for digits in range(DIGITS + 1) if float(f"{number:.{digits}e}") == number)
    needed = next(exact, DIGITS)
    return len(f"{number:.{needed}e}".partition("e")[0].partition(".")[2].rstrip("0"))
