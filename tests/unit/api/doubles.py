"""A store and an archive in memory, between which a test moves events as an archiver would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, cast

from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import default_node, lane_of
from kato_tasks.domain.log_entry import Logged, entry_of
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.archive import Archive, ArchivedEvent, LanePlace
from kato_tasks.ports.replays import LanePage, ReadLane
from kato_tasks.ports.sessions import Sessions


def nothing_happens() -> None:
    """What happens before each page unless the test says otherwise."""


class Store:
    """What ``Sessions`` reads, as far as histories ask for it. All events are applied in the order of their appends."""

    def __init__(self) -> None:
        self.logs: dict[str, dict[int, str]] = {}
        self.known: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.orders: dict[str, dict[int, tuple[str, int]]] = {}
        self.seqs: dict[str, int] = {}
        self.given: set[tuple[str, int]] = set()
        self.before_page: Callable[[], None] = nothing_happens
        self.away = 0
        """how many calls fail because the store is away"""

    @property
    def port(self) -> Sessions:
        return cast(Sessions, self)

    def append(self, session: str, count: int = 1, *, node: str = "", timestamp: str = "2026-01-01T00:00:00Z") -> None:
        node = self.known.setdefault(session, node or default_node(session))
        for _ in range(count):
            position = self.counts[session] = self.counts.get(session, 0) + 1
            event_id = f"{session}-{position}"
            seen = {"strings": [event_id]}
            raw = {"session_id": session, "timestamp": timestamp, "observation": seen, "data": {"at": position}}
            text = entry_of(parse_event(raw), event_id=event_id).text
            self.logs.setdefault(session, {})[position] = f"{text[:2]}1764000000000{text[2:]}"
            lane = lane_of(node)
            self.seqs[lane] = self.seqs.get(lane, 0) + 1
            self.orders.setdefault(lane, {})[self.seqs[lane]] = (session, position)

    def trim(self, session: str, to: int) -> None:
        """Give up a session's positions up to ``to``, as far as nothing before them in the lane's order is kept."""
        self.given |= {(session, position) for position in range(1, to + 1)}
        order = self.orders[lane_of(self.known[session])]
        for place, (one, position) in list(order.items()):
            if one and (one, position) not in self.given:
                return
            del order[place]
            if one:
                del self.logs[one][position]

    def forget(self, session: str) -> None:
        """Erase a session: its places in the lane's order stay, and name no session."""
        order = self.orders[lane_of(self.known.pop(session))]
        order |= {place: ("", 0) for place, (one, _) in order.items() if one == session}
        del self.logs[session]

    def _asked(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("Redis does not answer")

    def nodes(self, sessions: Any) -> dict[str, str]:
        return {one: self.known[one] for one in sessions if one in self.known}

    def node_of(self, session: str) -> str | None:
        self._asked()
        return self.known.get(session)

    def heads(self, nodes: Mapping[str, str]) -> list[int]:
        return [self.counts.get(one, 0) for one in nodes]

    def pages(self, *_: Any) -> Iterator[dict[str, str]]:
        yield dict(self.known)
        yield dict(self.known)  # each is met at least once, perhaps twice

    def events(self, session: str, node: str, after: int = 0, limit: int = 1_000) -> list[Logged]:
        self.before_page()
        assert node == self.known[session]
        rows = sorted((at, text) for at, text in self.logs[session].items() if at > after)
        return [Logged.parse(at, text) for at, text in rows[:limit]]

    def execute(self, operations: Sequence[ReadLane]) -> list[LanePage]:
        self._asked()
        self.before_page()
        return [self._page(one) for one in operations]

    def _page(self, read: ReadLane) -> LanePage:
        order, applied = self.orders.get(read.lane, {}), self.seqs.get(read.lane, 0)
        places = [place for place in order if place > read.after][: read.limit]
        events = [
            ArchivedEvent(session, at, self.known[session], read.lane, place, 1, self.logs[session][at])
            for place, (session, at) in ((place, order[place]) for place in places)
            if session
        ]
        return LanePage(next(iter(order), 0), applied, tuple(events), places[-1] if places else applied)


class Kept:
    """What ``Archive`` reads, as far as histories ask for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rows: dict[tuple[str, int], ArchivedEvent] = {}
        self._meant: set[tuple[str, int]] = set()

    @property
    def port(self) -> Archive:
        return cast(Archive, self)

    def take(self, session: str, to: int, *, trim: bool = True) -> None:
        """Archive a session's events up to ``to``, and let the store give them up.

        Of a lane nothing is archived before what comes before it in the lane's order.
        """
        self._meant |= {(session, position) for position in range(1, to + 1)}
        lane = lane_of(self._store.known[session])
        for place, (one, at) in self._store.orders[lane].items():
            if (one, at) not in self._meant:
                break
            text = self._store.logs[one][at]
            self.rows[one, at] = ArchivedEvent(one, at, self._store.known[one], lane, place, 1, text)
        if trim:
            self._store.trim(session, to)

    def forget(self, session: str) -> None:
        self.rows = {key: row for key, row in self.rows.items() if key[0] != session}

    def _sorted(self, key: Callable[[ArchivedEvent], Any]) -> list[ArchivedEvent]:
        return sorted(self.rows.values(), key=key)

    def heads(self, sessions: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for session, at in self.rows:
            if session in sessions:
                found[session] = max(at, found.get(session, 0))
        return found

    def of_session(self, session: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        rows = self._sorted(lambda row: row.position)
        return islice((row for row in rows if row.session == session and row.position > after), limit)

    def of_lane(self, lane: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        rows = self._sorted(lambda row: row.lane_order)
        return islice((row for row in rows if row.lane == lane and row.lane_order > after), limit)

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        return [tuple(self.of_lane(place.lane, place.after, place.limit)) for place in places]

    def of_time(
        self, since_ms: int | None, until_ms: int | None, *, lane: str | None = None, limit: int | None = None
    ) -> Iterator[ArchivedEvent]:
        rows = self._sorted(lambda row: (_ms(row), row.session, row.position))
        found = (
            row
            for row in rows
            if (since_ms is None or _ms(row) >= since_ms)
            and (until_ms is None or _ms(row) < until_ms)
            and lane in (None, row.lane)
        )
        return islice(found, limit)


def _ms(row: ArchivedEvent) -> int:
    event = Logged.parse(row.position, row.entry).event(row.session)
    return int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)
