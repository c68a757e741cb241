"""Provide ``kato-tasks up`` and ``kato-tasks demo``, which run everything on this machine with nothing but Python."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import click

from kato_tasks.cli.demo.helpdesk_data import SERVER, SESSION_CONFIG, BadData, Ticket, read_tickets
from kato_tasks.cli.lazy import BAD_INPUT, Failure
from kato_tasks.cli.output import put, show_json
from kato_tasks.cli.screen import Screen
from kato_tasks.domain.visible import shell_word
from kato_tasks.embedded.stack.archive import VARIABLE
from kato_tasks.embedded.stack.parts import NoRedis, redis_program
from kato_tasks.embedded.stack.stack import Stack, StackFailed
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import extras

CHECK_SECONDS = 0.2


class Stopped(BaseException):
    """Raised on SIGTERM or SIGHUP, to end the command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stopping_by_signal() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise Stopped in this context, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    # If hangups are ignored already (nohup), the command must survive them.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running_stack(
    screen: Screen,
    *,
    data: Path | None = None,
    ports: Mapping[str, int] | None = None,
    tended: bool = False,
    concurrency: int = 2,
    loglevel: str = "INFO",
    settings: Mapping[str, str] | None = None,
    archive_url: str | None = None,
) -> Iterator[Stack]:
    """Yield a stack that is ready, and stop it afterwards. A part that fails ends the command with exit code 1."""
    stack = Stack(
        data,
        ports=ports,
        tended=tended,
        concurrency=concurrency,
        loglevel=loglevel,
        settings=settings,
        archive_url=archive_url,
        on_ready=screen.add,
        on_line=screen.line,
    )
    started = time.monotonic()
    failure: StackFailed | None = None
    screen.begin("starting")
    try:
        stack.start()
        screen.end(f"{time.monotonic() - started:.1f} s")
        if stack.loss:
            screen.say()
            screen.say(stack.loss, fg="yellow")
        yield stack
    except StackFailed as exc:
        failure = exc
        # A part has gone, so what the others say about that is not news.
        screen.hides_warnings = True
        screen.say(f"{exc}{'; its last lines:' if exc.log else ''}", fg="red")
        screen.tail(exc.part, exc.log)
    finally:
        screen.hides_warnings = True
        if stack.pids:
            screen.say()
            screen.begin("stopping")
        started = time.monotonic()
        stack.stop()
        screen.end(f"{time.monotonic() - started:.1f} s, nothing is left running")
    if failure is not None:
        sys.exit(1)


def _require_parts(command: str) -> None:
    """Check that all parts of the stack are installed. Raises ConfigurationError, which names the missing ones."""
    missing = extras.missing("embedded")
    try:
        redis_program()
    except NoRedis:
        missing.append("a Redis server")
    if missing:
        raise ConfigurationError(extras.sentence(command, missing, "embedded"))


_concurrency_option = click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Start this many worker processes.",
)


def _port_option(name: str, part: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        f"--{name}-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help=f"Let {part} listen on this port (default: that of the last start with this --data, else any free one).",
    )


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the event log, KATO's sessions and patterns, logs and ports in this directory for the next start "
    "(default: keep nothing).",
)
@_port_option("redis", "Redis")
@_port_option("kato", "KATO")
@_port_option("flower", "Flower")
@_port_option("http", "the HTTP server")
@_concurrency_option
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings and errors of the parts' logs.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line when all is ready: addresses, settings, pids."
)
def up(
    data: Path | None,
    redis_port: int | None,
    kato_port: int | None,
    flower_port: int | None,
    http_port: int | None,
    concurrency: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the embedded stack: Redis, an embedded KATO, a worker, beat, Flower and the HTTP server.

    The stack runs until Ctrl-C. A part that dies is started again. With --data everything is kept for the next start,
    including the ports, and env.sh in that directory tells other shells where the stack is.

    History goes to an archive: a SQLite file in that directory, or the database that KATO_TASKS_ARCHIVE_URL names.
    If that setting is empty, there is no archive.
    """
    _require_parts("kato-tasks up")
    archive_url = _archive_of_the_user()
    screen = Screen(quiet=quiet)
    wanted = {"redis": redis_port, "kato": kato_port, "flower": flower_port, "http": http_port}
    ports = {name: port for name, port in wanted.items() if port is not None}
    ready = False
    try:
        with (
            stopping_by_signal(),
            running_stack(
                screen, data=data, ports=ports, tended=True, concurrency=concurrency, archive_url=archive_url
            ) as stack,
        ):
            ready = True
            _tell(screen, stack, as_json=as_json)
            while True:
                for sentence in stack.tend():
                    screen.say(sentence, fg="yellow")
                time.sleep(CHECK_SECONDS)
    except (KeyboardInterrupt, Stopped) as exc:
        # A signal is the normal end of a server. A server that did not come up has failed.
        if not ready:
            sys.exit(128 + (exc.number if isinstance(exc, Stopped) else signal.SIGINT))


def _archive_of_the_user() -> str | None:
    """Return what KATO_TASKS_ARCHIVE_URL says in the environment or in .env, or None if it is set in neither."""
    from kato_tasks.settings import Settings
    from kato_tasks.settings.sources import read_settings

    return read_settings(Settings.model_fields).texts.get("archive_url")


def _tell(screen: Screen, stack: Stack, *, as_json: bool) -> None:
    screen.say()
    for name, where in stack.urls.items():
        screen.field(name, where or f"running, pid {stack.pids[name]}")
    screen.field("archive", stack.archive or "none, Redis keeps everything")
    screen.field("logs", str(stack.data / "logs"))
    screen.say()
    if as_json:
        parts = {name: {"url": url, "pid": stack.pids[name]} for name, url in stack.urls.items()}
        told = {"parts": parts, "archive": stack.archive, "environment": stack.environment, "data": str(stack.data)}
        show_json(told, indent=None)
    else:
        sourced = f", or with   . {shell_word(str(stack.env_file))}" if stack.env_file else ""
        screen.say(f"  Use it from another shell{sourced}:")
        screen.say()
        for name, value in stack.environment.items():
            put(f"export {name}={shell_word(value)}")
        if VARIABLE not in stack.environment:
            screen.say(f"  The archive is yours: that shell needs your {VARIABLE}, too.")
        screen.say()
    sys.stdout.flush()
    screen.say("  Ctrl-C stops everything.")
    screen.say()


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Learn and predict this help-desk log: a CSV with the columns timestamp, case_id, activity (and resource).",
)
@_concurrency_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on stdout. Tables then go to stderr.")
def demo(data: Path | None, concurrency: int, as_json: bool) -> None:
    """Start the embedded stack, put events through it, print what KATO predicts, and stop everything.

    Without --data, the events are made up: they are visits to three web shops. At the end the log is replayed: the
    nodes are rebuilt, compared and switched to, and KATO is asked what it expected at an earlier moment.
    """
    _require_parts("kato-tasks demo")
    screen = Screen(quiet=True, data_on_stdout=as_json)
    tickets = _tickets(data) if data else []
    settings = {}
    if tickets:
        settings = {**SERVER, "KATO_TASKS_KATO_SESSION_CONFIG": json.dumps(SESSION_CONFIG)}
    figures = None
    try:
        with (
            stopping_by_signal(),
            running_stack(screen, concurrency=concurrency, loglevel="WARNING", settings=settings) as stack,
        ):
            # From here on, this process is a client of the stack, like any application.
            os.environ.update(stack.environment)
            figures = _demonstrate(stack, screen, tickets)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Stopped as exc:
        sys.exit(128 + exc.number)
    if as_json:
        show_json(figures)


def _tickets(path: Path) -> list[Ticket]:
    try:
        return read_tickets(path)
    except BadData as exc:
        raise Failure(str(exc), BAD_INPUT) from None


def _demonstrate(stack: Stack, screen: Screen, tickets: list[Ticket]) -> dict[str, Any]:
    # These are imported late, because both read the settings, which must be those of the stack.
    if tickets:
        from kato_tasks.cli.demo.helpdesk import helpdesk_demo

        return helpdesk_demo(stack, screen, tickets)
    from kato_tasks.cli.demo.webshop import sample_demo

    return sample_demo(stack, screen)


if __name__ == "__main__":
    click.Group(commands={"up": up, "demo": demo})()
