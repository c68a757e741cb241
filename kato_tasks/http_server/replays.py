"""``/v1/replays``: start replays of history, look at them, cancel and resume them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from kato_tasks.api.replays import calls
from kato_tasks.domain.ids import MAX_ID_CHARS, MAX_NODE_CHARS
from kato_tasks.domain.replays import ReplayRequest, ReplayStatus, time_ms
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.needing import Admin, Name, Position, Reader, Rt, check_reaches_all, shown_as
from kato_tasks.http_server.problems import field_problem

router = APIRouter(prefix="/v1/replays", tags=["replays"])
Session = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, examples=["visitor-17"])]
_STARTED = {"id": "k3v9", "mode": "rebuild", "state": "running", "events_done": 0, "events_total": 427}
ONE = shown_as(_STARTED)


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StmReplay(_Wanted):
    """Rebuild the short-term memory of one session."""

    mode: Literal["stm"]
    session_id: Session

    def request(self) -> ReplayRequest:
        """Return what is asked for."""
        return ReplayRequest("stm", self.session_id, None, False, None, None)


class Rebuild(_Wanted):
    """Rebuild nodes from their history, compare, and switch to them: one node, all, or those that are flagged."""

    mode: Literal["rebuild"]
    node_id: str | None = Field(default=None, min_length=1, max_length=MAX_NODE_CHARS)
    flagged: bool = Field(default=False, strict=True)

    def request(self) -> ReplayRequest:
        """Return what is asked for."""
        return ReplayRequest("rebuild", None, self.node_id, self.flagged, None, None)


class AsOf(_Wanted):
    """Build a session's node as it was at an event of the session or at a time, to be asked beside the live one."""

    mode: Literal["as_of"]
    session_id: Session
    position: Position | None = None
    time: datetime | None = None

    def request(self) -> ReplayRequest:
        """Return what is asked for. Raises InvalidEvent."""
        until = time_ms("time", self.time.isoformat()) if self.time is not None else None
        return ReplayRequest("as_of", self.session_id, None, False, self.position, until)


class ReplayList(BaseModel):
    """Replays that are kept, the newest first."""

    replays: list[ReplayStatus]


@router.post("", status_code=202, responses={202: ONE[200]})
def start_replay(
    wanted: Annotated[StmReplay | Rebuild | AsOf, Field(discriminator="mode")], rt: Rt, key: Admin
) -> ReplayStatus:
    """Start a replay. Workers carry it out; the answer has its id."""
    check_reaches_all(key)
    try:
        record = calls.start_replay(rt, wanted.request())
    except InvalidEvent as exc:
        raise field_problem(exc.field, exc.reason, 409) from None
    return calls.replay_status(rt, record.id)


@router.get("", responses=shown_as({"replays": [_STARTED]}))
def read_replays(rt: Rt, key: Reader) -> ReplayList:
    """List the replays that are kept, the newest first."""
    check_reaches_all(key)
    return ReplayList(replays=[calls.replay_status(rt, one.id) for one in rt.replays.all()])


@router.get("/{replay_id}", responses=ONE)
def read_replay(replay_id: Name, rt: Rt, key: Reader) -> ReplayStatus:
    """Say how far a replay is, and what differs."""
    check_reaches_all(key)
    return calls.replay_status(rt, replay_id)


@router.post("/{replay_id}/cancel", responses=ONE)
def cancel_replay(replay_id: Name, rt: Rt, key: Admin) -> ReplayStatus:
    """Let a replay end before it is done. Lanes that are switched already stay switched."""
    check_reaches_all(key)
    calls.cancel_replay(rt, replay_id)
    return calls.replay_status(rt, replay_id)


@router.post("/{replay_id}/resume", responses=ONE)
def resume_replay(replay_id: Name, rt: Rt, key: Admin) -> ReplayStatus:
    """Let a replay that failed or was cancelled go on where it was."""
    check_reaches_all(key)
    calls.resume_replay(rt, replay_id)
    return calls.replay_status(rt, replay_id)
