"""Provide ``kato-tasks acknowledge``, with which a person accepts what cannot be mended."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime

import click

from kato_tasks.cli.lazy import BAD_INPUT, Failure
from kato_tasks.cli.output import show_json, show_table, talk


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return socket.gethostname()


@click.command("acknowledge")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Acknowledge everything that is not acknowledged yet.")
@click.option("--note", default="", help="Say why. Status shows this text.")
@click.option("--by", default="", help="Say who acknowledges it (default: you, at this machine).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def acknowledge(ids: tuple[str, ...], everything: bool, note: str, by: str, as_json: bool) -> None:
    """Say that you know of something that cannot be mended, so that status is healthy again.

    Without ID or --all, this lists what can be acknowledged and what already is. Status goes on showing what is
    acknowledged. It becomes a reason again as soon as it happens again: when KATO loses a node's patterns another time,
    when another learn's outcome is unknown, when the store is configured in another way, or when beat comes back and is
    gone again later.
    """
    from kato_tasks.api.status import acknowledged as known
    from kato_tasks.api.status.reading import acknowledgeable
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    items = acknowledgeable(rt)
    if ids or everything:
        there = {item.id: item for item in items}
        if unknown := [id_ for id_ in ids if id_ not in there]:
            raise Failure(
                f"there is no {unknown[0]!r} to acknowledge; kato-tasks acknowledge lists what there is", BAD_INPUT
            )
        chosen = [there[id_] for id_ in dict.fromkeys(ids)]
        if everything:
            chosen += [item for item in items if not item.is_acknowledged and item not in chosen]
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        items = known.acknowledge(rt, chosen, by=by or _who(), at=now, note=note)
    if as_json:
        show_json([item.model_dump(mode="json") for item in items])
    elif ids or everything:
        for item in items:
            talk(f"acknowledged: {item.what}")
        if not items:
            talk("there was nothing left to acknowledge")
    elif items:
        show_table(
            ("id", "acknowledged", "what"),
            [(item.id, f"{item.by} {item.note}".strip() if item.is_acknowledged else "-", item.what) for item in items],
        )
    else:
        talk("there is nothing to acknowledge")
