"""How long the store keeps what it need not keep permanently."""

from __future__ import annotations

from dataclasses import dataclass

DEDUPE_WINDOW_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ids of events, marks of sources and results are kept (ms), and how many predicts of a session wait.

    ``listened_mark_ms`` is for what listeners read, which may be read from its beginning again much later, and
    ``source_mark_ms`` for the rest: a replay, which has an end.

    ``result_ms`` and ``prediction_ms`` hold until a caller is told the result; ``told_ms`` holds afterwards, for a
    result of up to ``told_bytes``. ``archiving`` is "1" if there is an archive, for which commits note their lanes.
    """

    dedupe_ms: int = DEDUPE_WINDOW_MS
    source_mark_ms: int = 30 * 24 * 3600 * 1000
    listened_mark_ms: int = 365 * 24 * 3600 * 1000
    result_ms: int = 24 * 3600 * 1000
    prediction_ms: int = 15 * 60 * 1000
    told_ms: int = 90 * 1000
    told_bytes: int = 1_000
    predicts: int = 100
    archiving: str = ""
