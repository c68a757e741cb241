"""Provide ``kato-tasks keys``, which makes, lists and revokes the keys of HTTP callers."""

from __future__ import annotations

import time

import click

from kato_tasks.cli.lazy import Group
from kato_tasks.cli.output import moment, put, show_json, show_table, talk
from kato_tasks.domain.api_keys import SCOPES


@click.group(cls=Group)
def keys() -> None:
    """Make, list and revoke the API keys of HTTP callers."""


@keys.command()
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What the key allows; may be given several times. admin allows everything.",
)
@click.option("--name", default="", metavar="TEXT", help="Say whose key it is.")
@click.option(
    "--session-prefix", default="", metavar="TEXT", help="Let it reach only sessions whose ids begin with TEXT."
)
@click.option(
    "--requests-per-second",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="N",
    help="Allow it at most N requests per second to each server (default: no limit).",
)
@click.option(
    "--backlog",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Let it append nothing while more than N events wait to be applied (default: no limit).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the key and what it allows as JSON.")
def create(
    scopes: tuple[str, ...], name: str, session_prefix: str, requests_per_second: float, backlog: int, as_json: bool
) -> None:
    """Make a key and print it once. It is kept as a hash only, so it cannot be shown again."""
    from kato_tasks.api.keys import create_key
    from kato_tasks.bootstrap import runtime

    key, text = create_key(
        runtime(),
        scopes,  # type: ignore[arg-type]  # click has checked them
        name=name,
        session_prefix=session_prefix,
        requests_per_second=requests_per_second,
        backlog=backlog,
    )
    if as_json:
        show_json({"key": text, **key.shown()})
        return
    put(text)
    talk(
        f"key {key.id} allows {', '.join(key.scopes)}; send it as Authorization: Bearer …, "
        "and keep it: it is not shown again"
    )


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
def list_(as_json: bool) -> None:
    """Print the keys, without their secrets."""
    from kato_tasks.api.keys import list_keys
    from kato_tasks.bootstrap import runtime

    found = list_keys(runtime())
    if as_json:
        show_json([key.shown() for key in found])
    elif found:
        now_ms = time.time() * 1000
        show_table(
            ("id", "name", "scopes", "sessions", "requests/s", "backlog", "created"),
            [
                (
                    key.id,
                    key.name or "-",
                    ",".join(key.scopes),
                    f"{key.session_prefix}…" if key.session_prefix else "all",
                    f"{key.requests_per_second:g}" if key.requests_per_second else "-",
                    key.backlog or "-",
                    moment(key.created_ms, now_ms),
                )
                for key in found
            ],
            right=frozenset({4, 5}),
        )
    else:
        talk("there are no keys")


@keys.command()
@click.argument("id_", metavar="ID")
def revoke(id_: str) -> None:
    """Revoke a key. Servers accept it for at most two more seconds."""
    from kato_tasks.api.keys import revoke_key
    from kato_tasks.bootstrap import runtime

    revoke_key(runtime(), id_)
    talk(f"key {id_} is revoked")
