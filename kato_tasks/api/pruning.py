"""Erase from the archive what ``ARCHIVE_KEEP_DAYS`` and ``ARCHIVE_KEEP_EVENTS`` say, in short slices."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.replays import ENDED
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
DAY_MS = 86_400_000
AT_ONCE = 5_000
"""How many events are erased in one transaction."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a slice did: how many events it erased, and whether it ended before there were none left to erase.

    ``replay`` is the id of the replay that kept it from erasing more; '' if none did.
    """

    events: int
    more: bool
    replay: str = ""


def prune_archive(rt: Runtime, seconds: float) -> Pruned:
    """Erase for about ``seconds`` what is older, or more, than the retention allows.

    Only rows of the archive are erased, and these are applied. What the store holds, which is all that is not archived
    or not applied, and the tail that a rebuild of an STM needs, is left alone; so is each session's newest row. Nothing
    is erased while any replay has not ended, because it reads histories from their beginnings. Two that prune at once
    do not disturb each other. Raises StoreUnavailable, ArchiveUnavailable and ConfigurationError.
    """
    days, keep = rt.settings.archive_keep_days, rt.settings.archive_keep_events
    if not rt.settings.archive_url or not (days or keep):
        return Pruned(0, more=False)
    archive = rt.archive
    assert archive is not None, "its address is set"
    stop, done = time.monotonic() + seconds, 0
    before_ms = rt.figures.now_ms() - int(days * DAY_MS) if days else None
    more, replay = True, ""
    while more and time.monotonic() < stop:
        replay = next((one.id for one in rt.replays.all() if one.state not in ENDED), "")
        if replay:
            more = False
            break
        erased = archive.prune(before_ms=before_ms, keep=keep or None, limit=AT_ONCE)
        done += erased
        more = erased >= AT_ONCE
    if done:
        log_event(log, logging.INFO, "archive.pruned", events=done)
    return Pruned(done, more, replay)
