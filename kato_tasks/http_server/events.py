"""``POST /v1/events``: append one event or many, in the standard form or as CloudEvents."""

from __future__ import annotations

import asyncio
import re

from pydantic_core import to_json

from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.http_server.answering import Receive, Scope, Send, answer, header_of
from kato_tasks.http_server.bodies import Given, find_events, form_of, read_body, size_of
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.judging import Judged, Outcome
from kato_tasks.http_server.placing import count_outcomes, place
from kato_tasks.http_server.problems import Problem, field_problem
from kato_tasks.http_server.streaming import append_lines

PATH = "/v1/events"
KEY_FORM = re.compile(r"[!-~]([ -~]*[!-~])?")
MOST_KEY_CHARS = 500
"""A batch's events get ids of the key and their index, and an id has 512 characters at most."""
AT_ONCE = 100
"""After this many events, which take a few milliseconds to read, other requests get a turn."""


async def append_events(context: Context, scope: Scope, receive: Receive, send: Send, key: ApiKey) -> int:
    """Answer the request, and return the answer's status. Raises Problem or Gone."""
    form = form_of(scope)
    request_key = idempotency_key(scope)
    if form == "ndjson":
        return await append_lines(context, receive, send, key, request_key)
    config = context.runtime.settings
    with context.holding(size_of(scope, config.http_max_body_bytes)):
        body = await read_body(scope, receive, config.http_max_body_bytes, config.http_body_seconds)
        given = find_events(scope, form, body, config.http_max_events)
        del body
        judged = await _judged(context, given, key, request_key)
        placed = await place(context, judged) if judged.entries else ()
    outcomes = judged.outcomes(placed)
    if given.single:
        return await _answer_single(context, send, outcomes, judged)
    return await _answer_batch(context, send, outcomes, judged)


def idempotency_key(scope: Scope) -> str:
    """Return what the request's ``Idempotency-Key`` says, without quotes; '' if it has none. Raises Problem 422."""
    given = header_of(scope, b"idempotency-key")
    if given is None:
        return ""
    text = given.decode("latin-1").strip()
    if len(text) > MOST_KEY_CHARS or not KEY_FORM.fullmatch(text):
        why = f"must be 1 to {MOST_KEY_CHARS} printable ASCII characters that begin and end with no blank"
        raise field_problem("Idempotency-Key", why)
    # The header's draft standard has it in quotes; most clients send it bare.
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text


async def _judged(context: Context, given: Given, key: ApiKey, request_key: str) -> Judged:
    judged, limits = Judged(), context.limits
    for index, raw in enumerate(given.events):
        name = request_key if given.single or not request_key else f"{request_key}/{index}"
        judged.judge(index, raw, key, name, limits, cloud=given.cloud)
        if index % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
    return judged


async def _answer_single(context: Context, send: Send, outcomes: list[Outcome], judged: Judged) -> int:
    (outcome,) = outcomes
    del outcome["index"]
    context.metrics.count_events(outcome["status"], 1)
    if outcome["status"] == "rejected":
        raise field_problem(outcome["field"], outcome["reason"], judged.status_of_refusal)
    await answer(send, 202, to_json(outcome))
    return 202


async def _answer_batch(context: Context, send: Send, outcomes: list[Outcome], judged: Judged) -> int:
    counts = count_outcomes(context, outcomes)
    if counts["rejected"] == len(outcomes):
        wrong = [{name: one[name] for name in ("index", "field", "reason")} for one in outcomes[:AT_ONCE]]
        said = f"None of the {len(outcomes)} events was accepted."
        left_out = len(outcomes) - len(wrong)
        raise Problem(judged.status_of_refusal, said, errors=wrong, more={**counts, "errors_left_out": left_out})
    await answer(send, 202, to_json({**counts, "results": outcomes}))
    return 202


__all__ = ["PATH", "append_events"]
