"""``observe-sequence`` of KATO's API: its observations, and the learns and clears that its flags ask for, as events.

They are appended together: of the first 1,000, no other client's events come between them. What KATO would answer of
each observation follows from the answer to the first one, and from what the learns made.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kato_tasks.celery_tasks.answers import read_answer
from kato_tasks.celery_tasks.tasks import clear_stm, learn, observe, read_session
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import EventRefused, InvalidEvent, StoreFailed, StoreFull, StoreUnavailable
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.kato_front.answers import in_katos_words, refused, respond
from kato_tasks.http_server.kato_front.described import described
from kato_tasks.http_server.kato_front.events import NOTHING_TO_LEARN, ensure_made, observation_of, refusal
from kato_tasks.http_server.kato_front.finding import WITH_BODY, Asked, Pieces, Session, Writer, reach
from kato_tasks.http_server.kato_front.lifecycle import content_type
from kato_tasks.http_server.kato_front.waiting import (
    Names,
    StillWaiting,
    accepted,
    answer_of,
    applied,
    away,
    names_of,
    preference,
    send,
)
from kato_tasks.http_server.problems import broken, field_problem, full
from kato_tasks.kato_wire.answers import gone, ok
from kato_tasks.kato_wire.bodies import Sequence, read_sequence
from kato_tasks.ports.waiting_tasks import ReadResults

router = APIRouter()
TASKS = {"observation": observe, "learn": learn, "clear_stm": clear_stm}


@dataclass(slots=True)
class Step:
    """One event of a sequence. ``index`` is the observation that it is, or after which it comes."""

    event_type: str
    event_id: str
    index: int
    observation: dict[str, Any] | None = None
    wanted: bool = False

    @property
    def counts(self) -> bool:
        """Whether it adds an event to the STM."""
        return bool(self.observation and (self.observation["strings"] or self.observation["vectors"]))

    def call(self, session_id: str) -> dict[str, Any]:
        """Return the arguments of the task that does this step."""
        given = {"session_id": session_id, "event_id": self.event_id}
        return given if self.observation is None else {**given, "observation": self.observation}

    def entry(self, session_id: str, context: Context) -> Entry:
        """Return the entry of the step's event. Raises InvalidEvent."""
        raw = {"event_type": self.event_type, **self.call(session_id)}
        try:
            event = parse_event(raw, context.limits)
            return entry_of(event, event_id=self.event_id, wanted=self.wanted, limits=context.limits)
        except InvalidEvent as exc:
            field = exc.field.removeprefix("observation.")
            raise InvalidEvent(f"observations.{self.index}.{field}", exc.reason) from None


def steps_of(sequence: Sequence, names: Names, *, empty: bool) -> list[Step]:
    """Return the events of a sequence in their order. ``empty``: the session's STM is certainly empty before."""
    steps: list[Step] = []
    holds = not empty
    for index, seen in enumerate(sequence.observations):
        if sequence.clear_stm_between and index:
            if steps[-1].event_type == "observation":
                steps.append(Step("clear_stm", f"{names.event_id}/{index}/clear", index - 1))
            holds = False
        step = Step("observation", f"{names.event_id}/{index}", index, observation_of(seen))
        steps.append(step)
        holds = holds or step.counts
        last = index == len(sequence.observations) - 1
        if holds and (sequence.learn_after_each or (last and sequence.learn_at_end)):
            steps.append(Step("learn", f"{names.event_id}/{index}/learn", index, wanted=True))
            holds = False
    steps[0].wanted = steps[-1].wanted = True
    return steps


@dataclass(slots=True)
class Told:
    """What the results of a sequence's steps say, in KATO's form."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)
    final: str | None = None
    before: int | None = 0


@router.post("/sessions/{session_id}/observe-sequence", **described("sequence"), dependencies=WITH_BODY)
@in_katos_words
async def observe_sequence(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Observe a sequence, learn and clear as its flags say, in the session's turn, and answer what KATO would."""
    reach(key, asked)
    if asked.ended:
        return respond(gone(asked.session_id))
    sequence = read_sequence(await request.body(), content_type(request))
    names, wait = names_of(request, asked.session_id), preference(request, context)
    if not sequence.observations:
        return await _answer_nothing(context, request, asked, sequence)
    # With a key it may be a repetition, which must make the same events, however the session stands by now.
    empty = not names.given and (asked.found is None or asked.found.state.has_empty_stm)
    steps = steps_of(sequence, names, empty=empty)
    most = context.runtime.settings.http_max_events
    if len(steps) > most:
        return respond(refused(f"makes {len(steps)} events, and at most {most} go at once", "observations"))
    entries = [step.entry(asked.session_id, context) for step in steps]
    lane = await _append(context, entries)
    await ensure_made(context, asked)
    sent = await send(context, TASKS[steps[-1].event_type], names.task_id, **steps[-1].call(asked.session_id))
    try:
        ended: Any = await answer_of(context, sent, wait)
    except StillWaiting:
        return accepted(sent, wait)
    except EventRefused as exc:
        if not str(exc).startswith(NOTHING_TO_LEARN):
            return respond(refusal(exc))
        ended = {}
    results = await _results(context, lane, asked.session_id, steps)
    results[steps[-1].event_id] = ended
    told = tell_steps(steps, sequence, results)
    final_length = told.rows[-1]["stm_length"] if told.final is None else 0
    node = ended.get("node_id") or (asked.found.node_id if asked.found else asked.session_id)
    response = respond(
        ok(
            {
                "status": "completed",
                "processor_id": node,
                "observations_processed": len(told.rows),
                "initial_stm_length": told.before,
                "final_stm_length": final_length,
                "results": told.rows,
                "auto_learned_patterns": told.learned,
                "final_learned_pattern": told.final,
                "isolated": sequence.clear_stm_between,
            }
        )
    )
    response.headers.update(applied(wait))
    return response


def tell_steps(steps: SequenceOf[Step], sequence: Sequence, results: dict[str, Any]) -> Told:
    """Return what KATO would answer of each step. ``results`` has those of the first observation and of the learns.

    KATO counts beyond the events that it keeps, and cuts its STM at the end. What a result would say that has expired
    is null, and no guess.
    """
    told = Told()
    start = results.get(steps[0].event_id) or {}
    length: int | None = start.get("stm_length")
    time: int | None = start.get("time")
    if length is not None and time is not None:
        length, time = max(0, length - steps[0].counts), time - 1
    told.before = length
    for step in steps:
        if step.event_type == "observation":
            length = None if length is None else length + step.counts
            time = None if time is None else time + 1
            told.rows.append(
                {
                    "status": "okay",
                    "sequence_position": step.index,
                    "stm_length": length,
                    "time": time,
                    "unique_id": sequence.observations[step.index].unique_id or step.event_id,
                    "auto_learned_pattern": None,
                }
            )
            continue
        if step.event_type == "learn":
            learned = results.get(step.event_id)
            name = learned.get("pattern_name") if learned else None
            if name is not None:
                told.learned.append(name)
                if not sequence.learn_after_each:
                    told.final = name
            if learned == {}:
                continue  # it was refused, so the STM stayed
            if sequence.learn_after_each:
                told.rows[-1]["stm_length"] = 0
        length, time = 0, 0
    return told


async def _append(context: Context, entries: list[Entry]) -> str:
    """Append the events of a sequence, and return their lane. Raises Problem."""
    try:
        placed = await context.append(entries)
    except StoreFull:
        raise full() from None
    except StoreUnavailable:
        raise away() from None
    except StoreFailed:
        raise broken() from None
    if any(one.conflict for one in placed):
        why = "was sent before with another request; choose another key for a new request"
        raise field_problem("Idempotency-Key", why, 409)
    return placed[0].lane


async def _results(context: Context, lane: str, session_id: str, steps: SequenceOf[Step]) -> dict[str, Any]:
    """Return the results of the steps that were wanted, by event id; {} of one that was refused.

    They stay until they expire, so that a repeated request is told the same.
    """
    ids = [step.event_id for step in steps if step.wanted]

    def asks(_here: Any) -> Any:
        (found,) = raise_errors((yield [ReadResults(lane, session_id, ids)]))
        return found

    found: list[str | None] = await context.ask(asks)
    results: dict[str, Any] = {}
    for event_id, text in zip(ids, found, strict=True):
        if text is not None:
            try:
                results[event_id] = read_answer(text)
            except EventRefused:
                results[event_id] = {}
    return results


async def _answer_nothing(context: Context, request: Request, asked: Asked, sequence: Sequence) -> Response:
    """Answer a sequence without observations, which tells the length of the STM and changes nothing."""
    length = 0
    wait = preference(request, context)
    if asked.found is not None and not asked.found.state.has_empty_stm:
        sent = await send(context, read_session, uuid.uuid4().hex, session_id=asked.session_id, what="stm")
        try:
            length = len((await answer_of(context, sent, wait)).get("stm") or [])
        except StillWaiting:
            return accepted(sent, wait)
        except EventRefused as exc:
            return respond(refusal(exc))
    return respond(
        ok(
            {
                "status": "completed",
                "processor_id": asked.found.node_id if asked.found else asked.session_id,
                "observations_processed": 0,
                "initial_stm_length": length,
                "final_stm_length": length,
                "results": [],
                "auto_learned_patterns": [],
                "final_learned_pattern": None,
                "isolated": sequence.clear_stm_between,
            }
        )
    )


__all__ = ["router", "steps_of", "tell_steps"]
