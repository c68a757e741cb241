"""What KATO's state says of a session whose commits the store forgot. Pure: computed from the log, nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.results import Applied, Learned
from kato_tasks.domain.stm import Symbols, expected_stm, matches, pattern_name
from kato_tasks.engine.drain.context import result_json
from kato_tasks.engine.drain.kato_api import ReadBack
from kato_tasks.engine.drain.known_sessions import leaves_nothing
from kato_tasks.engine.drain.observing import compute_results
from kato_tasks.ports.lanes import Work


@dataclass(frozen=True, slots=True)
class MatchingPosition:
    """A position, the cursor or a later one, at which KATO would be in the state that it is in.

    ``stm_start`` is the position of the last learn or clear up to there.
    """

    position: int
    stm_start: int


def find_matching_positions(
    earlier: Sequence[Logged],
    following: Sequence[Logged],
    symbols: Symbols,
    start: MatchingPosition,
    time: int,
    seen: ReadBack,
) -> list[MatchingPosition]:
    """Return every position from ``start`` (the cursor) on for which the log predicts what KATO shows (``seen``).

    ``earlier`` are the entries behind the STM at the cursor, ``following`` those after it, and ``time`` is KATO's count
    of observes at the cursor.
    """
    run, here, found = list(earlier), start, []
    times = {time}
    for entry in (None, *following):
        if entry is not None:
            if entry.kind == "o":
                run.append(entry)
                times = {time + 1 for time in times}
                here = MatchingPosition(entry.position, here.stm_start)
            else:
                # Both end with an empty STM; and with time 0, but for a learn that was not followed by clear-stm.
                times = {0, *times} if entry.kind == "l" and leaves_nothing(run) else {0}
                run, here = [], MatchingPosition(entry.position, entry.position)
        if seen.time in times and matches(seen.stm, expected_stm(run, symbols)):
            found.append(here)
    return found


def may_serve_another(binding: Binding, earlier: Sequence[Logged], following: Sequence[Logged], seen: ReadBack) -> bool:
    """Return whether this KATO session may have come to serve another session, in what the store forgot.

    A KATO session is passed on when everything in its session's log is applied and learned, and only while nothing ever
    put its time back, neither before nor after (``learning.clear_or_delete``). So it takes a first learn that puts
    nothing back, and a time that is at least what the observations before that learn make.
    """
    if not binding.shared:
        return False
    if not binding.stm_length and not earlier:
        return True
    end = next((i for i, entry in enumerate(following) if entry.kind != "o"), len(following))
    if end < len(following) and (following[end].kind == "c" or not leaves_nothing([*earlier, *following[:end]])):
        return False
    due = binding.time + end
    return seen.time > due or (seen.time == due and not seen.stm)


def end_of_own_history(binding: Binding, following: Sequence[Logged]) -> float:
    """Return the position of the first learn that KATO's state cannot prove, where other sessions may have been served.

    What looks like a later learn of this session may be one of theirs. Only the STM that it had is its own for certain,
    and so is the learn that emptied it. Infinity where no such learn follows.
    """
    ends = [entry for entry in following if entry.kind in ("l", "c")]
    if binding.stm_length and ends and ends[0].kind == "l":
        del ends[0]
    return next((entry.position for entry in ends if entry.kind == "l"), float("inf"))


def base_at(work: Work, binding: Binding, passed: Sequence[Logged], place: MatchingPosition, seen: ReadBack) -> int:
    """Return KATO's time when its STM was last emptied, at this position. ``passed`` are the entries up to it."""
    if place.stm_start == work.stm_start:
        return binding.base
    return max(0, seen.time - sum(e.kind == "o" and e.position > place.stm_start for e in passed))


def symbols_at(passed: Sequence[Logged], mark: int, seen: ReadBack) -> list[tuple[int, str]]:
    """Return the rows (position, JSON) of what KATO made of the vectors among ``passed`` that its STM still holds."""
    made = [e for e in passed if e.kind == "o" and e.position > mark and e.counts][-len(seen.stm) :]
    named = seen.stm[-len(made) :] if made else []
    return [(e.position, dumps(event)) for e, event in zip(made, named, strict=True) if e.has_vectors]


def results_of(
    work: Work, binding: Binding, earlier: Sequence[Logged], passed: Sequence[Logged], symbols: Symbols
) -> list[tuple[str, str]]:
    """Return what the callers of the passed events are told (event_id, JSON): computed, as KATO's answers are gone."""
    out: list[tuple[str, str]] = []
    run, at = list(earlier), binding
    for entry in passed:
        if entry.kind == "o":
            (_, observed), *_ = compute_results(work, at, [entry])
            answer: Applied = observed
            at = replace(at, time=at.time + 1, stm_length=observed.stm_length or 0)
            run.append(entry)
        else:
            common = {"session_id": work.session, "node_id": work.node_id, "event_id": entry.event_id}
            if entry.kind == "l":
                stm = [event or [] for event in expected_stm(run, symbols)]
                name = pattern_name(stm)
                status = Learned.status_of(name)
                answer = Learned(status=status, position=entry.position, pattern_name=name, **common)
            else:
                answer = Applied(status="cleared", position=entry.position, **common)
            run, at = [], replace(at, time=0, stm_length=0, base=0)
        if entry.wanted:
            out.append((entry.event_id, result_json(answer)))
    return out
