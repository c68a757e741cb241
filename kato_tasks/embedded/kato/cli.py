"""The command line of the embedded KATO."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from kato_tasks.embedded.kato.app import create_app
from kato_tasks.embedded.kato.kept_file import Unusable
from kato_tasks.embedded.kato.server import base_url, listen, make_server

JOURNAL_DEFAULT = 1_000_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kato_tasks.embedded", description="Serve the embedded KATO until SIGTERM or Ctrl-C."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any (default %(default)s)")
    parser.add_argument(
        "--latency-ms", type=float, default=0.0, help="service time of every call (default %(default)g)"
    )
    parser.add_argument(
        "--visible-after-ms",
        type=float,
        default=50.0,
        help="how late a new pattern is seen (default %(default)g)",
    )
    parser.add_argument(
        "--journal",
        type=int,
        nargs="?",
        const=JOURNAL_DEFAULT,
        default=0,
        metavar="N",
        help=f"keep the newest N observation ids per node (default without N: {JOURNAL_DEFAULT})",
    )
    parser.add_argument(
        "--history",
        type=int,
        default=1000,
        metavar="N",
        help="keep the newest N observation ids per session (default %(default)s)",
    )
    parser.add_argument(
        "--rank-sort-algo",
        default=os.environ.get("RANK_SORT_ALGO", "potential"),
        metavar="FIELD",
        help="the field that predictions are ranked by (default: RANK_SORT_ALGO of the environment, else potential)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="keep sessions and patterns in DIR, for the next start (default: in memory only)",
    )
    parser.add_argument("--access-log", action="store_true", help="log each request on stderr")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; answers the exit code: 0, or 2 for what cannot work."""
    arguments = _parser().parse_args(argv)
    try:
        app = create_app(
            latency=arguments.latency_ms / 1000,
            visible_after=arguments.visible_after_ms / 1000,
            journal=arguments.journal,
            history=arguments.history,
            rank_sort_algo=arguments.rank_sort_algo,
            data=arguments.data,
        )
        bound = listen(arguments.host, arguments.port)
    except (ValueError, OSError, OverflowError, Unusable) as exc:
        sys.stderr.write(f"the embedded KATO cannot start: {exc}\n")
        return 2
    try:
        server = make_server(
            app,
            access_log=arguments.access_log,
            ready=lambda: _say(f"embedded KATO on {base_url(bound)}"),
        )
    except ModuleNotFoundError as exc:
        sys.stderr.write(
            f"the embedded KATO needs {exc.name}, which is not installed: pip install 'kato-tasks[http]'\n"
        )
        return 2
    # uvicorn stops on these, then raises them again for the handler before it, of which there is none.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # Sessions and patterns are long-lived and hold no cycles worth a frequent search.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    server.run(sockets=[bound])
    bound.close()
    app.state.close()
    return 0
