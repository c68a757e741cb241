"""Provide ``kato-tasks serve``, which takes events over HTTP."""

from __future__ import annotations

import click

from kato_tasks.cli.output import put


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="Listen on this address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="P",
    help="Listen on this port; 0 takes any free one.",
)
def serve(host: str, port: int) -> None:
    """Take events over HTTP until SIGTERM or Ctrl-C.

    On 127.0.0.1 callers need no key until the first one is made. On any other address the server starts only if there
    is a key (kato-tasks keys create).
    """
    from kato_tasks.settings import extras, settings

    extras.require("kato-tasks serve", "http")
    from kato_tasks.http_server.serving import serve as served
    from kato_tasks.telemetry.log_events import log_to_stderr

    log_to_stderr(settings().log_format)
    served(host, port, said=lambda address: put(f"serving on {address}"))
