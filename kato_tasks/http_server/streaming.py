"""Append the lines of an NDJSON body as they come. Its length has no limit, and it is never held."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.answering import Message, Receive, Send, answer
from kato_tasks.http_server.bodies import Gone, too_slow
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.judging import Judged, Outcome
from kato_tasks.http_server.placing import count_outcomes, place
from kato_tasks.http_server.problems import Problem

GROUP = 500
GROUP_BYTES = 1_000_000
"""So many lines, or lines of so many bytes, are appended at once: the next ones are read when the store has these."""
TOLD = 1_000
"""So many outcomes are told one by one. Of more lines only those that were rejected are told, up to as many."""
TOLD_IN_SHORT = 100
"""So many rejected lines are told where the body was not read to its end."""
SPARE_BYTES = 65_536
"""A line may be longer than the event in it by so much: blanks, escapes and names."""
LOOK_SECONDS = 0.5
"""How often a request whose body does not come looks whether the server is to stop."""


async def append_lines(context: Context, receive: Receive, send: Send, key: ApiKey, request_key: str) -> int:
    """Answer the request, and return the answer's status: 202, or 207 where not all lines were read.

    Raises Problem where that ends the request before anything was accepted, and Gone.
    """
    told = _Told(context)
    try:
        async for index, lines in _groups(context, receive):
            judged = Judged()
            for at, line in enumerate(lines, index):
                _judge(context, judged, at, line, key, request_key)
            placed = await place(context, judged) if judged.entries else ()
            told.add(judged.outcomes(placed))
    except Problem as problem:
        problem.close = True
        if not told.counts["accepted"] + told.counts["duplicates"]:
            raise
        stopped = {"index": told.seen, "status": problem.status, "detail": problem.detail, **problem.more}
        await answer(send, 207, to_json({**told.in_short(), "stopped": stopped}), unread=receive)
        return 207
    if not told.seen:
        raise Problem(422, "The body holds no event.")
    if told.counts["rejected"] == told.seen:
        wrong = [{name: one[name] for name in ("index", "field", "reason")} for one in told.results[:100]]
        raise Problem(422, f"None of the {told.seen} events was accepted.", errors=wrong, more=told.counts)
    await answer(send, 202, to_json(told.shown()))
    return 202


def _judge(context: Context, judged: Judged, at: int, line: bytes | None, key: ApiKey, request_key: str) -> None:
    name = f"{request_key}/{at}" if request_key else ""
    limits = context.limits
    if line is None:
        why = f"takes more than {limits.max_event_bytes + SPARE_BYTES} bytes, and an event at most "
        judged.refused.append((at, InvalidEvent("event", f"{why}{limits.max_event_bytes}"), False))
        return
    try:
        raw: Any = from_json(line, allow_inf_nan=False)
    except ValueError as exc:
        judged.refused.append((at, InvalidEvent("event", f"is no JSON: {str(exc)[:200]}"), False))
        return
    judged.judge(at, raw, key, name, limits, cloud=isinstance(raw, dict) and "specversion" in raw)


class _Told:
    """What became of the lines so far, without holding all of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.counts = {"accepted": 0, "duplicates": 0, "rejected": 0}
        self.results: list[Outcome] = []
        self.seen = 0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Note the outcomes of the next lines."""
        for name, number in count_outcomes(self._context, outcomes).items():
            self.counts[name] += number
        self.seen += len(outcomes)
        if self.seen > TOLD:
            outcomes = [one for one in outcomes if one["status"] == "rejected"]
            self.results = [one for one in self.results if one["status"] == "rejected"]
        self.results += outcomes[: TOLD - len(self.results)]

    def in_short(self) -> dict[str, Any]:
        """Return the counts and the first lines that were rejected.

        Who is still sending does not read yet. So little gets through even if the connection ends in between.
        """
        rejected = [one for one in self.results if one["status"] == "rejected"][:TOLD_IN_SHORT]
        return {**self.counts, "results": rejected, "results_left_out": self.seen - len(rejected)}

    def shown(self) -> dict[str, Any]:
        """Return the counts and what is told of single lines."""
        return {**self.counts, "results": self.results, "results_left_out": self.seen - len(self.results)}


async def _groups(context: Context, receive: Receive) -> AsyncIterator[tuple[int, list[bytes | None]]]:
    """Yield lines that are not blank, some at a time, each time with the index of the first."""
    index = held = 0
    group: list[bytes | None] = []
    async for line in _lines(context, receive):
        group.append(line)
        held += len(line or b"")
        if len(group) == GROUP or held >= GROUP_BYTES:
            yield index, group
            index, held, group = index + len(group), 0, []
            await asyncio.sleep(0)
    if group:
        yield index, group


async def _lines(context: Context, receive: Receive) -> AsyncIterator[bytes | None]:
    """Yield the lines that are not blank; None stands for one that is too long to be an event. Raises Problem, Gone."""
    config = context.runtime.settings
    longest = config.max_event_bytes + SPARE_BYTES
    rest, skipping, more = b"", False, True
    while more:
        message = await _next_part(context, receive, config.http_body_seconds)
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        *lines, rest = (rest + message.get("body", b"")).split(b"\n")
        for line in lines:
            if not skipping and line.strip():
                yield line if len(line) <= longest else None
            skipping = False
        if len(rest) > longest:
            if not skipping:
                yield None
            rest, skipping = b"", True
    if rest.strip() and not skipping:
        yield rest


async def _next_part(context: Context, receive: Receive, seconds: float) -> Message:
    """Return the next part of the body. Raises Problem where it does not come in time, or the server is to stop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not context.stopping.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                return await receive()
        if loop.time() > deadline:
            raise too_slow()
    raise Problem(503, "The server is stopping.", headers={"retry-after": "1"}, close=True)


__all__ = ["append_lines"]
