"""Provide ``kato-tasks replay``, which starts replays, shows them, ends them and cleans up after them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from kato_tasks.cli.lazy import BAD_INPUT, UNUSABLE, Failure, Group
from kato_tasks.cli.output import ago, count, put, short_id, show_json, show_table, talk
from kato_tasks.cli.replay_plan import nothing_done, show_plan
from kato_tasks.cli.replay_request import in_words, nothing_to_rebuild, request_of
from kato_tasks.cli.replay_screen import as_document, report, watch
from kato_tasks.cli.sections import Grouped, section
from kato_tasks.domain.visible import visible_id
from kato_tasks.errors import InvalidEvent, ReplayBusy

if TYPE_CHECKING:
    from kato_tasks.bootstrap import Runtime
    from kato_tasks.domain.replays import Replay, ReplayMode, ReplayRequest

SHOWN_NODES = 5
"""How many of the nodes that are to be emptied the question names."""
CLEAN_SECONDS = 0.3
"""How many seconds pass between two looks at a clean-up that is waited for."""


@click.group("replay", cls=Group)
def replay() -> None:
    """Build KATO's memory again from the history. ID is a replay's id, as `replay start` and `replay list` print it.

    Workers do the work, in slices between live events, so a replay goes on when this command ends, and it survives the
    death of any worker.
    """


@replay.command("start", cls=Grouped)
@section(
    "What is replayed",
    click.option(
        "--mode",
        type=click.Choice(["stm", "rebuild", "as_of"]),
        required=True,
        help="Rebuild one session's short-term memory (stm); nodes with their patterns (rebuild); or a session's node "
        "as it was at some moment, beside the live one (as_of).",
    ),
    click.option("--session", metavar="ID", help="Replay this session (stm, as_of)."),
    click.option("--node", metavar="ID", help="Rebuild this node only (default: all nodes)."),
    click.option("--flagged", is_flag=True, help="Rebuild the nodes that `status` lists as to be rebuilt."),
    click.option(
        "--position", metavar="N", type=click.IntRange(min=1), help="Stop after this position of the session (as_of)."
    ),
    click.option(
        "--time",
        "until",
        metavar="ISO8601",
        help="Leave out events with a later timestamp (as_of; a time without zone is UTC).",
    ),
)
@section(
    "How it is done",
    click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing."),
    click.option("--wait", "--watch", "wait", is_flag=True, help="Show the progress, and return when the replay ends."),
    click.option("--json", "as_json", is_flag=True, help="Print the replay as JSON, as `replay status --json` does."),
)
def start(mode: ReplayMode, dry_run: bool, wait: bool, as_json: bool, until: str | None, **words: Any) -> None:
    """Start a replay, and print its id.

    \b
    kato-tasks replay start --mode rebuild --flagged --watch
    kato-tasks replay start --mode rebuild --node shop --dry-run
    kato-tasks replay start --mode stm --session "Case 1"
    kato-tasks replay start --mode as_of --session "Case 1" --position 20

    A rebuild fills a new generation of each node, compares it with the history, and then switches to it lane by lane
    while events keep coming. If anything differs, nothing is switched.

    \b
    Exit codes: 0  the replay is done, or is still running
                1  the replay failed, or what was named cannot be replayed
                2  the options are wrong, or the store, the archive or the broker cannot be used
              130  Ctrl-C ended the watch, and the replay goes on
    """  # noqa: D301 - click wants the character itself
    from kato_tasks.api.replays.calls import plan_replay, start_replay
    from kato_tasks.bootstrap import runtime

    if dry_run and wait:
        raise Failure("--dry-run starts nothing that could be waited for: leave --wait out", UNUSABLE)
    request = request_of(mode, time=until, **words)
    rt = runtime()
    if nothing := nothing_to_rebuild(rt, request):
        if as_json:
            show_json(nothing_done(mode, dry_run=dry_run))
        talk(nothing)
        return
    try:
        if dry_run:
            show_plan(request, plan_replay(rt, request), as_json=as_json)
            return
        record = start_replay(rt, request)
    except InvalidEvent as exc:
        raise Failure(in_words(exc.field, exc.reason), BAD_INPUT) from None
    _follow(rt, record, wait=wait, as_json=as_json)


def _follow(rt: Runtime, record: Replay, *, wait: bool, as_json: bool) -> None:
    """Tell of a replay that was sent off: at once, or when it ended."""
    if unserved := _unserved(rt):
        talk(unserved)
    if wait:
        watch(rt, record.id)
        report(rt, record.id, as_json=as_json)
        return
    if as_json:
        report(rt, record.id, as_json=True)
    else:
        put(record.id)
    talk(
        f"replay {record.id} of {count(record.events_total, 'event')} of {count(record.lanes, 'lane')} is under way; "
        f"watch it with kato-tasks replay status {record.id} --watch"
    )
    for session, shadow in record.sessions.items():
        talk(f"when it is done, ask session {shadow!r} in place of {session!r}")


def _unserved(rt: Runtime) -> str:
    from kato_tasks.api.status.presence import presence_of
    from kato_tasks.domain.ids import REPLAY_QUEUE

    workers = presence_of(rt.figures.whole([], 0), rt.settings.shards).workers
    if any(REPLAY_QUEUE in worker.takes and worker.state == "live" for worker in workers):
        return ""
    return f"no running worker serves the queue {REPLAY_QUEUE}, so it waits: start one with celery -A kato_tasks worker"


@replay.command("status")
@click.argument("id_", metavar="ID")
@click.option("--watch", "--wait", "watched", is_flag=True, help="Show the progress, and return when the replay ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the replay as JSON.")
def status(id_: str, watched: bool, as_json: bool) -> None:
    """Print how far a replay is, at what rate, and what differs.

    \b
    Exit codes: 0  the replay is done, or is still running
                1  the replay failed or was cancelled, or no replay has this id
                2  the store does not answer
              130  Ctrl-C ended the watch, and the replay goes on
    """  # noqa: D301 - click wants the character itself
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    if watched:
        watch(rt, id_)
    report(rt, id_, as_json=as_json)


@replay.command("list")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Print at most N replays."
)
@click.option("--json", "as_json", is_flag=True, help="Print the replays as JSON, as `replay status --json` does.")
def list_(limit: int, as_json: bool) -> None:
    """Print replays, the newest first."""
    from kato_tasks.api.replays.calls import replay_status
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    records = list(islice(rt.replays.all(), limit + 1))
    more, records = len(records) > limit, records[:limit]
    found = [(record, replay_status(rt, record.id)) for record in records]
    if as_json:
        show_json([as_document(status) for _, status in found])
    elif found:
        now_ms = time.time() * 1000
        show_table(
            ("id", "mode", "of", "state", "events", "started"),
            [
                (
                    status.id,
                    status.mode,
                    _about(record.request),
                    status.state,
                    f"{status.events_done:,} of {status.events_total:,}",
                    ago(status.created_ms, now_ms),
                )
                for record, status in found
            ],
            right=frozenset({4}),
        )
    else:
        talk("there are no replays")
    if more:
        talk(f"there are more than {limit}; see them with --limit")


def _about(request: ReplayRequest) -> str:
    if request.mode == "rebuild":
        return "flagged nodes" if request.flagged else short_id(request.node_id or "all nodes")
    return short_id(request.session_id or "")


@replay.command("cancel")
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the replay's new state, as `replay status --json` does.")
def cancel(id_: str, as_json: bool) -> None:
    """End a replay before it is done. Lanes that are switched stay switched; nothing else changes."""
    from kato_tasks.api.replays.calls import cancel_replay, known_replay, replay_status
    from kato_tasks.bootstrap import runtime
    from kato_tasks.domain.replays import ENDED

    rt = runtime()
    if (before := known_replay(rt, id_).state) in ENDED:
        said = "was cancelled already" if before == "cancelled" else f"is {before}"
        raise Failure(f"replay {id_} {said}, so there is nothing to cancel", BAD_INPUT)
    cancel_replay(rt, id_)
    if as_json:
        show_json(as_document(replay_status(rt, id_)))
    talk(
        f"replay {id_} is cancelled; kato-tasks replay resume {id_} lets it go on where it was, "
        f"and kato-tasks replay clean {id_} erases what it left"
    )


@replay.command("resume")
@click.argument("id_", metavar="ID")
@click.option("--wait", "--watch", "wait", is_flag=True, help="Show the progress, and return when the replay ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the replay as JSON, as `replay status --json` does.")
def resume(id_: str, wait: bool, as_json: bool) -> None:
    """Let a replay that failed or was cancelled go on where it was. Lanes that failed are tried again."""
    from kato_tasks.api.replays.calls import resume_replay
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    _follow(rt, resume_replay(rt, id_), wait=wait, as_json=as_json)


@replay.command("clean")
@click.argument("id_", metavar="ID")
@click.option(
    "--old-generations",
    is_flag=True,
    help="Also erase the patterns at KATO of nodes that are out of use: those that served before a rebuild, those that "
    "a failed replay had filled, and the node of an as_of.",
)
@click.option("--yes", is_flag=True, help="Do not ask before patterns are erased at KATO.")
@click.option("--wait", is_flag=True, help="Return when everything is erased.")
def clean(id_: str, old_generations: bool, yes: bool, wait: bool) -> None:
    """Erase what a replay that has ended left: its sessions in the store and at KATO.

    A worker does the work. After a replay of mode stm or rebuild that succeeded, it happens by itself, but without
    --old-generations.
    """
    from kato_tasks.api.replays.calls import known_replay
    from kato_tasks.api.replays.cleaning import is_clean, nodes_to_empty
    from kato_tasks.bootstrap import runtime
    from kato_tasks.bootstrap.replaying import replay_starter
    from kato_tasks.domain.replays import ENDED

    rt = runtime()
    if (state := known_replay(rt, id_).state) not in ENDED:
        raise ReplayBusy(f"replay {id_} is {state}; end it first: kato-tasks replay cancel {id_}")
    if old_generations and not yes and (nodes := nodes_to_empty(rt, id_)):
        _ask(nodes)
    replay_starter().clean(id_, old_generations)
    if unserved := _unserved(rt):
        talk(unserved)
    if not wait:
        talk(f"a worker cleans up after replay {id_}")
        return
    while not all(is_clean(lane, nodes=old_generations) for lane in rt.replays.all_lanes(id_)):
        time.sleep(CLEAN_SECONDS)
    talk(f"nothing is left of replay {id_}" + ("" if old_generations else " but its patterns at KATO"))


def _ask(nodes: Sequence[str]) -> None:
    """Ask whether these nodes are to be emptied. Anything but a yes ends the command."""
    names = ", ".join(visible_id(node) for node in nodes[:SHOWN_NODES]) + (", …" if len(nodes) > SHOWN_NODES else "")
    question = f"This erases all patterns of {count(len(nodes), 'node')} at KATO for good ({names}). Go on?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise Failure("nothing was erased; answer y, or give --yes", BAD_INPUT)
