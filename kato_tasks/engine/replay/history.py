"""Read lanes' histories as one: what is archived, then what only the store holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kato_tasks.engine.store_retry import STORE_PATIENCE_SECONDS, execute_with_retry, raise_errors
from kato_tasks.ports.archive import Archive, ArchivedEvent, LanePlace
from kato_tasks.ports.replays import LanePage, ReadLane
from kato_tasks.ports.store import Store

PAGE = 1_000
"""About how many events are read at a time."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a lane: about ``limit`` events after a place in its order, none after the place ``last`` (0: all)."""

    lane: str
    after: int
    limit: int = PAGE
    last: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some events of a lane in its order. All up to the place ``reached`` are read; ``applied`` were applied in all.

    ``given_up`` is the last place that the store holds no more, if one of them was asked for; otherwise it is 0.
    """

    events: tuple[ArchivedEvent, ...]
    reached: int
    applied: int
    given_up: int = 0


class LaneHistory:
    """Reads histories of lanes from a store and from the archive, if there is one.

    A store that does not answer is asked again for ``patience_seconds``.
    """

    def __init__(
        self, store: Store, archive: Archive | None, *, patience_seconds: float = STORE_PATIENCE_SECONDS
    ) -> None:
        self._store = store
        self._archive = archive
        self._patience_seconds = patience_seconds

    @property
    def has_archive(self) -> bool:
        """Return whether there is an archive."""
        return self._archive is not None

    def pages(self, requests: Sequence[PageRequest]) -> list[HistoryPage]:
        """Return a page for each request. A place without an event belongs to a session that was forgotten.

        Raises StoreUnavailable, ArchiveUnavailable.
        """
        reads = [ReadLane(one.lane, one.after, one.limit) for one in requests]
        kept: list[LanePage] = raise_errors(execute_with_retry(self._store, reads, self._patience_seconds))
        # What the store does not hold any more was archived before it was dropped.
        dropped = [one for one, page in zip(requests, kept, strict=True) if _given_up(one, page)]
        archived = dict(zip(dropped, self._read_archived(dropped), strict=True))
        return [_page(one, page, archived.get(one, ())) for one, page in zip(requests, kept, strict=True)]

    def page(self, lane: str, after: int, limit: int = PAGE, last: int = 0) -> HistoryPage:
        """Return one page; see ``pages``."""
        (found,) = self.pages([PageRequest(lane, after, limit, last)])
        return found

    def _read_archived(self, requests: Sequence[PageRequest]) -> list[tuple[ArchivedEvent, ...]]:
        if self._archive is None or not requests:
            return [() for _ in requests]
        return self._archive.of_lanes([LanePlace(one.lane, one.after, one.limit) for one in requests])

    def events(self, lane: str, last: int, after: int = 0) -> Iterator[ArchivedEvent]:
        """Iterate over a lane's history after one place in its order and up to another one."""
        while after < last:
            page = self.page(lane, after, last=last)
            yield from page.events
            if page.reached <= after:
                return
            after = page.reached

    def events_of(self, lasts: dict[str, int], at_once: int) -> Iterator[tuple[str, Sequence[ArchivedEvent]]]:
        """Iterate over the whole histories of several lanes, each up to its place in ``lasts``.

        Yields a lane and its next events, in turns; about ``at_once`` events of all lanes are read at a time.
        """
        places = {lane: 0 for lane, last in lasts.items() if last}
        while places:
            limit = max(1, at_once // len(places))
            requests = [PageRequest(lane, after, limit, lasts[lane]) for lane, after in places.items()]
            for one, page in zip(requests, self.pages(requests), strict=True):
                yield one.lane, page.events
                places[one.lane] = page.reached
                if page.reached <= one.after or page.reached >= one.last:
                    del places[one.lane]


def _given_up(wanted: PageRequest, kept: LanePage) -> int:
    """Return the last place that the store holds no more, if it was asked for one of those, and 0 otherwise."""
    last = kept.first_seq - 1 if kept.first_seq else kept.applied
    return last if last > wanted.after else 0


def _page(wanted: PageRequest, kept: LanePage, archived: tuple[ArchivedEvent, ...]) -> HistoryPage:
    events = archived or kept.events
    reached = max(archived[-1].lane_order if archived else kept.reached, wanted.after)
    if wanted.last and reached > wanted.last:
        reached = wanted.last
        events = tuple(event for event in events if event.lane_order <= reached)
    return HistoryPage(events, reached, kept.applied, _given_up(wanted, kept))
