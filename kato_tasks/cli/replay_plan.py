"""Show what a replay would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kato_tasks.cli.output import count, put, short_id, show_json, show_table, talk

if TYPE_CHECKING:
    from kato_tasks.api.replays.planning import ReplayPlan
    from kato_tasks.domain.replays import ReplayRequest

SHOWN_NODES = 20


def nothing_done(mode: str, *, dry_run: bool) -> dict[str, Any]:
    """Return the JSON object that stands for a replay, or for its plan, when there is nothing to replay."""
    if dry_run:
        return _plan_document(mode, 0, 0, [], 0, 0)
    empty: dict[str, Any] = {"id": None, "mode": mode, "state": "done", "events_done": 0, "events_total": 0}
    return {**empty, "differences": [], "sessions": {}}


def _plan_document(
    mode: str, lanes: int, sessions: int, nodes: list[dict[str, Any]], more: int, events: int
) -> dict[str, Any]:
    return {
        "dry_run": True,
        "mode": mode,
        "lanes_total": lanes,
        "sessions_total": sessions,
        "events_total": events,
        "nodes": nodes,
        "more_nodes": more,
    }


def show_plan(request: ReplayRequest, plan: ReplayPlan, *, as_json: bool) -> None:
    """Print which nodes would be filled with how many events."""
    shown = sorted(plan.lanes, key=lambda lane: (-lane.total, lane.lane))[:SHOWN_NODES]
    more = len(plan.lanes) - len(shown)
    if as_json:
        nodes = [
            {"node_id": lane.node, "served_by": lane.source_generation or lane.node, "events_total": lane.total}
            for lane in shown
        ]
        show_json(_plan_document(request.mode, len(plan.lanes), plan.sessions, nodes, more, plan.events))
        return
    if request.mode == "stm":
        put(f"would rebuild the short-term memory of session {request.session_id!r}, and learn nothing")
    else:
        put(
            f"would replay {count(plan.events, 'event')} of {count(plan.sessions, 'session')} "
            f"of {count(len(plan.lanes), 'lane')} into new nodes at KATO, one for each of these:"
            if request.mode == "rebuild"
            else f"would replay {count(plan.events, 'event')} of the session's lane into a new node at KATO:"
        )
        show_table(
            ("node", "served now by", "events"),
            [(short_id(lane.node), short_id(lane.source_generation or lane.node), f"{lane.total:,}") for lane in shown],
            right=frozenset({2}),
        )
        if more:
            talk(f"and {count(more, 'more node')}")
    talk("nothing was changed; leave --dry-run out to start it")
