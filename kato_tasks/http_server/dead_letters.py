"""``/v1/dead-letters``: events that will not be applied, and what to do about them."""

from __future__ import annotations

from itertools import islice

from fastapi import APIRouter
from pydantic import BaseModel

from kato_tasks.api import dead_letters as letters
from kato_tasks.api.dead_letters import DeadLetter, Redriven
from kato_tasks.errors import ConfigurationError, InvalidEvent
from kato_tasks.http_server.needing import Admin, Name, Reader, Rt, check_reach, shown_as
from kato_tasks.http_server.problems import Problem
from kato_tasks.http_server.sessions import Limit

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
_LETTER = {
    "id": "0a1b2c3d4e5f",
    "session_id": "visitor-17",
    "node_id": "visitor-17",
    "lane": "visitor_17",
    "position": 3,
    "event_id": "cart-3",
    "reason": "KATO refused it",
    "last_answer": "KATO answered 422",
    "attempts": 1,
    "first_at": "2026-01-02T03:04:05.000Z",
    "last_at": "2026-01-02T03:04:05.000Z",
    "event": {"event_type": "observation", "event_id": "cart-3"},
}
_REDRIVEN = {"session_id": "visitor-17", "event_id": "cart-3~redriven-1", "position": 9, "resumed": False}


class DeadLetterPage(BaseModel):
    """Dead letters, those of each session in the order of their positions. `more` says that there are others."""

    dead_letters: list[DeadLetter]
    more: bool


@router.get("", responses=shown_as({"dead_letters": [_LETTER], "more": False}))
def read_dead_letters(rt: Rt, key: Reader, limit: Limit = 100) -> DeadLetterPage:
    """List dead letters, each with the reason and KATO's last answer."""
    reached = (letter for letter in letters.dead_letters(rt) if key.reaches(letter.session_id))
    found = list(islice(reached, limit + 1))
    return DeadLetterPage(dead_letters=found[:limit], more=len(found) > limit)


@router.get("/{letter_id}", responses=shown_as(_LETTER))
def read_dead_letter(letter_id: Name, rt: Rt, key: Reader) -> DeadLetter:
    """Show one dead letter, by its id or its `event_id`."""
    letter = letters.find(rt, letter_id)
    check_reach(key, letter.session_id)
    return letter


@router.post("/{letter_id}/redrive", responses=shown_as(_REDRIVEN))
def redrive_dead_letter(letter_id: Name, rt: Rt, key: Admin) -> Redriven:
    """Give a dead letter another chance.

    If its session is parked at this event, the session goes on with it. Otherwise the event is appended again at the
    end, as `<event_id>~redriven-<n>`. A message that a listener refused is read again.
    """
    letter = letters.find(rt, letter_id)
    check_reach(key, letter.session_id)
    try:
        return letters.redrive(rt, letter)
    except (InvalidEvent, ConfigurationError) as exc:  # a limit was lowered, or a listener's decoder is not here
        raise Problem(409, f"It stays a dead letter: {exc}") from None


@router.delete("/{letter_id}", responses=shown_as(_LETTER))
def discard_dead_letter(letter_id: Name, rt: Rt, key: Admin) -> DeadLetter:
    """Forget a dead letter. The answer shows it for the last time."""
    letter = letters.find(rt, letter_id)
    check_reach(key, letter.session_id)
    letters.discard(rt, letter)
    return letter
