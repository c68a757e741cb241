"""Provide the command line of the embedded KATO."""

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
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="listen on this port; 0 takes any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="make every call take this much longer (default: %(default)g)",
    )
    parser.add_argument(
        "--visible-after-ms",
        type=float,
        default=50.0,
        metavar="MS",
        help="show a new pattern only after this time (default: %(default)g)",
    )
    parser.add_argument(
        "--journal",
        type=int,
        nargs="?",
        const=JOURNAL_DEFAULT,
        default=0,
        metavar="N",
        help=f"keep the newest N observation ids of each node; N is {JOURNAL_DEFAULT} if left out (default: keep none)",
    )
    parser.add_argument(
        "--history",
        type=int,
        default=1000,
        metavar="N",
        help="keep the newest N observation ids of each session (default: %(default)s)",
    )
    parser.add_argument(
        "--rank-sort-algo",
        default=os.environ.get("RANK_SORT_ALGO", "potential"),
        metavar="FIELD",
        help="rank predictions by this field (default: RANK_SORT_ALGO of the environment, or else potential)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="keep sessions and patterns in DIR for the next start (default: keep them in memory only)",
    )
    parser.add_argument("--access-log", action="store_true", help="log each request to stderr")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Returns the exit code: 0, or 2 if the server cannot start."""
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
    # uvicorn stops on these signals, and then raises them again for the handler from before. It must do nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # Sessions and patterns are long-lived and hold no cycles worth a frequent search.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    server.run(sockets=[bound])
    bound.close()
    app.state.close()
    return 0
