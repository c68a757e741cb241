"""Keep a node's long-term memory: its patterns, how often each was learned, and when a new one becomes visible."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from kato_tasks.embedded.kato.statistics import Statistics, means
from kato_tasks.kato_wire.answers import ServerError, has_utf8, text_of

Event = list[str]

PERSISTENCE = 5
"""The number of observations whose emotives are kept with a pattern.

KATO takes it from its server's setting, and ignores the session's ``persistence``."""


def pattern_name(stm: Sequence[Event]) -> str:
    """Return the name that KATO gives to what ``stm`` holds: the SHA-1 of Python's own text of the list."""
    return "PTRN|" + hashlib.sha1(str(list(stm)).encode(), usedforsecurity=False).hexdigest()


Spread = tuple[float, float, float]
"""Three entropies of a pattern's symbols.

The first is the entropy of the symbols' shares, in bits. The second is the same, with the number of all symbols of the
node as the base of the logarithm. The third has that base too, but is of the symbols' probabilities."""


class Fixed(NamedTuple):
    """Holds the figures that finalize-training computes for a pattern. They never change afterwards."""

    spread: Spread
    shares: dict[str, float]


class Pattern:
    """Represents one learned pattern. The values that matching needs are computed once."""

    __slots__ = (
        "emotives",
        "event_of",
        "event_texts",
        "events",
        "fixed",
        "metadata",
        "name",
        "starts",
        "symbols",
        "text",
    )

    def __init__(self, name: str, events: list[Event]) -> None:
        self.name = name
        self.events = events
        self.symbols: list[str] = [symbol for event in events for symbol in event]
        self.event_of: list[int] = [index for index, event in enumerate(events) for _ in event]
        self.starts: list[int] = [0, *accumulate(map(len, events))]
        """The number of symbols before each event, followed by the number of all symbols."""
        self.event_texts: list[str] = [text_of(event) for event in events]
        self.text = "[" + ",".join(self.event_texts) + "]"
        self.emotives: list[dict[str, float]] = []
        self.metadata: dict[str, list[str]] = {}
        self.fixed: Fixed | None = None

    def felt(self) -> dict[str, float]:
        """Return the mean of each emotive over the observations that are kept."""
        return means(self.emotives)

    def remember(self, emotives: list[dict[str, float]], metadata: list[dict[str, Any]], keep: int) -> None:
        """Add one learning's emotives and metadata.

        Only the newest ``keep`` observations' emotives stay. Metadata is kept as text, each value once.
        """
        self.emotives = [*self.emotives, *emotives][-keep:]
        for said in metadata:
            for name, value in said.items():
                self.metadata[name] = sorted({*self.metadata.get(name, ()), str(value)})


class Patterns:
    """Holds all patterns of one node. A pattern is counted when it is learned, and becomes visible only later."""

    __slots__ = (
        "_keep",
        "_late",
        "by_first",
        "by_symbol",
        "changed",
        "cleared",
        "counts",
        "statistics",
        "version",
        "visible",
    )

    def __init__(self, *, keep: int = PERSISTENCE, watched: bool = False) -> None:
        self._keep = keep
        self.changed: set[str] | None = set() if watched else None
        """The names of the patterns that changed since they were written down, or None if nothing is written down."""
        self.cleared = False
        """Whether all earlier patterns have been forgotten since then."""
        self.counts: dict[str, int] = {}
        self.visible: dict[str, Pattern] = {}
        self.by_symbol: dict[str, list[Pattern]] = {}
        self.by_first: dict[str, list[Pattern]] = {}
        self.statistics = Statistics()
        self.version = 0
        self._late: deque[tuple[float, Pattern]] = deque()

    def __bool__(self) -> bool:
        return bool(self.counts or self.visible or self._late)

    def learn(
        self,
        stm: list[Event],
        emotives: list[dict[str, float]],
        metadata: list[dict[str, Any]],
        *,
        visible_at: float,
        stored: bool,
    ) -> str:
        """Learn ``stm``, so that its pattern's frequency grows by one, and return the pattern's name.

        A new pattern becomes visible at ``visible_at`` (seconds of ``time.monotonic``). An STM of fewer than two
        symbols is not learned, and ``""`` is returned.

        ``stored`` is False while ClickHouse is down. KATO counts before it writes the row, so a learn that then raises
        ``ServerError`` has counted. A known pattern needs no row, so it is learned all the same. ``ServerError`` is
        also raised for a symbol with half of a surrogate pair, before anything is counted, and for emotives whose mean
        is not finite, after everything is stored.
        """
        symbols = [symbol for event in stm for symbol in event]
        if len(symbols) < 2:
            return ""
        if not all(map(has_utf8, symbols)):
            raise ServerError("half of a surrogate pair cannot be stored")
        name = pattern_name(stm)
        before = self.counts.get(name, 0)
        self.counts[name] = before + 1
        if self.changed is not None:
            self.changed.add(name)
        pattern = self.find(name)
        if pattern is None:
            if not stored:
                if before:
                    return name
                raise ServerError("ClickHouse is down")
            pattern = Pattern(name, list(stm))
            self._late.append((visible_at, pattern))
        self.statistics.learn(pattern.symbols, emotives, new=not before)
        self.version += 1
        if emotives or metadata:
            pattern.remember(emotives, metadata, self._keep)
            # KATO adds the means to its symbols' affinities last, when everything else is stored already.
            if not all(map(math.isfinite, means(emotives).values())):
                raise ServerError("an emotive is not finite")
        return name

    def find(self, name: str) -> Pattern | None:
        """Return the pattern of that name, visible or not yet, or None."""
        return self.visible.get(name) or next((p for _, p in self._late if p.name == name), None)

    def recall(self, name: str, count: int | None, pattern: Pattern | None) -> None:
        """Take in what was written down of a pattern. One that was not visible yet at that time is visible now.

        ``count`` is None if the pattern had no count, and ``pattern`` is None if only its count was known.
        """
        if count is not None:
            self.counts[name] = count
        if pattern is not None:
            self._late.append((0.0, pattern))
            self.show(0.0)

    def names(self) -> list[str]:
        """Return the names of all patterns that are counted, visible or not yet."""
        return list({**self.visible, **{pattern.name: None for _, pattern in self._late}, **self.counts})

    def show(self, now: float) -> None:
        """Make the patterns visible that are due at ``now`` (seconds of ``time.monotonic``)."""
        while self._late and self._late[0][0] <= now:
            pattern = self._late.popleft()[1]
            # A pattern that comes back after clear-all has lost its count.
            self.counts.setdefault(pattern.name, 1)
            self.visible[pattern.name] = pattern
            for symbol in dict.fromkeys(pattern.symbols):
                self.by_symbol.setdefault(symbol, []).append(pattern)
            self.by_first.setdefault(pattern.symbols[0], []).append(pattern)
            self.version += 1

    def clear(self) -> None:
        """Forget everything except patterns that are not visible yet: KATO's late inserts come back after clear-all."""
        self.counts.clear()
        self.visible.clear()
        self.by_symbol.clear()
        self.by_first.clear()
        self.statistics = Statistics()
        self.version += 1
        self.cleared = True

    def frequency(self, pattern: Pattern) -> int:
        """Return how often the pattern was learned, or 0 if the node has no count of it."""
        return self.counts.get(pattern.name, 0)
