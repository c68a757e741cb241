"""Make a request for a replay of what the command line said, or end the command with one sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kato_tasks.cli.lazy import BAD_INPUT, UNUSABLE, Failure

if TYPE_CHECKING:
    from kato_tasks.bootstrap import Runtime
    from kato_tasks.domain.replays import ReplayMode, ReplayRequest


def request_of(
    mode: ReplayMode, *, session: str | None, node: str | None, flagged: bool, position: int | None, time: str | None
) -> ReplayRequest:
    """Return the request. Options that do not go together and a session that is not known end the command."""
    from kato_tasks.domain.replays import ReplayRequest

    if mode == "rebuild":
        if session is not None:
            raise _wrong("--session does not go with --mode rebuild: patterns belong to a node, so give --node")
        if node is not None and flagged:
            raise _wrong("--node names one node, and --flagged means every flagged one: give one of the two")
    else:
        if node is not None or flagged:
            name = "--node" if node is not None else "--flagged"
            raise _wrong(f"{name} goes with --mode rebuild: --mode {mode} is about one --session")
        if session is None:
            raise _wrong(f"--mode {mode} is about one session: add --session ID")
    if mode != "as_of" and (position is not None or time is not None):
        name = "--position" if position is not None else "--time"
        raise _wrong(f"{name} goes with --mode as_of: --mode {mode} replays everything")
    if position is not None and time is not None:
        raise _wrong("--position and --time are two moments: give one of them")
    if node == "":
        raise _wrong("--node is empty: name a node, or leave --node out for all nodes")
    until_ms = None if time is None else milliseconds(time)
    known = None if session is None else _known(session)
    return ReplayRequest(mode, known, node, flagged, position, until_ms)


def _wrong(sentence: str) -> Failure:
    return Failure(sentence, UNUSABLE)


def milliseconds(text: str) -> int:
    """Return a time in ISO 8601 in milliseconds since 1970. A time without a zone is UTC, as in events."""
    try:
        when = datetime.fromisoformat(text)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Failure(
            f"--time {text!r} is no time in ISO 8601; write for instance 2026-05-01T12:00:00Z", BAD_INPUT
        ) from None


def _known(session: str) -> str:
    from kato_tasks.bootstrap import runtime
    from kato_tasks.cli.sessions import as_meant
    from kato_tasks.domain.generations import is_shadow_session

    meant = as_meant(session)
    if is_shadow_session(meant):
        raise Failure(f"--session: {session!r} is a replay's own session; name the one that it stands for", BAD_INPUT)
    if runtime().sessions.node_of(meant) is None:
        raise Failure(
            f"--session: {session!r} is not known; kato-tasks sessions list shows the sessions that are", BAD_INPUT
        )
    return meant


def nothing_to_rebuild(rt: Runtime, request: ReplayRequest) -> str:
    """Return a sentence that says why a rebuild has nothing to do; '' if it has."""
    if request.mode != "rebuild" or request.node_id is not None:
        return ""
    if request.flagged:
        flagged = rt.figures.lost_lanes().open | rt.figures.doubtful_lanes()
        return "" if flagged else "no node is flagged for a rebuild, so there is nothing to replay"
    return "" if any(rt.sessions.pages()) else "there are no sessions, so there is nothing to replay"


def in_words(field: str, reason: str) -> str:
    """Return what is wrong with a request in the command line's words."""
    remedies = {
        "position": "give one up to there, or leave --position out",
        "time": "give a later one, or leave --time out",
        "node_id": "kato-tasks sessions list shows each session's node",
    }
    name = {"session_id": "--session", "node_id": "--node"}.get(field, f"--{field}")
    more = f"; {remedies[field]}" if field in remedies else ""
    return f"{name}: {reason}{more}"
